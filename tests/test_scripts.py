"""The scripts do what their first line says, on the smallest data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scripts import cross_validate, docs_pictures, pack_speed, render_scenes
from vidcli.data.items import VideoItem
from vidcli.video import probe


def test_scenes_are_written_for_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_scenes, "CLASSES", ("left", "still"))
    render_scenes.main([str(tmp_path), "--train", "2", "--val", "1"])
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mp4"))
    assert names == [
        "train/left/0000.mp4", "train/left/0001.mp4", "train/still/0000.mp4", "train/still/0001.mp4",
        "val/left/0000.mp4", "val/still/0000.mp4",
    ]  # fmt: skip
    about = probe(tmp_path / names[0])
    assert (about.height, about.width) == (render_scenes.HEIGHT, render_scenes.WIDTH)


@pytest.mark.parametrize("name", render_scenes.CLASSES)
def test_scenes_are_the_same_for_the_same_seed(name: str) -> None:
    first, again = (render_scenes.render_scene(name, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (render_scenes.NUM_FRAMES, render_scenes.HEIGHT, render_scenes.WIDTH, 3)
    assert np.array_equal(first, again)


def test_epochs_from_shards_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"HEIGHT": 320, "WIDTH": 480, "FPS": 8}.items():
        monkeypatch.setattr(pack_speed, name, value)
    settings = ("--set", "clip.size=32", "--set", "clip.length=4", "--set", "model.width=16")
    pack_speed.main(["--videos", "8", "--seconds", "1", "--epochs", "2", *settings])
    told = json.loads(capsys.readouterr().out)
    assert told["ratio"] > 0
    assert told["bytes_shards"] > 0


def test_groups_stay_whole_and_folds_are_even() -> None:
    sizes = {"a": 5, "b": 3, "c": 2}
    items = [
        VideoItem(Path(f"{group}{n}.mp4"), "x", group=group)
        for group, size in sizes.items()
        for n in range(size)
    ]
    fold_of = cross_validate.deal_groups(items, 2)
    assert fold_of == {"a": 0, "b": 1, "c": 1}


def test_cross_validation_predicts_each_training_video_once(
    motion_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    videos = sorted((motion_data / "train").rglob("*.mp4"))
    rows = [f"{video},{video.parent.name},train,g{number % 2}" for number, video in enumerate(videos)]
    manifest = tmp_path / "data.csv"
    manifest.write_text("\n".join(["path,label,split,group", *rows]), encoding="utf-8")
    settings = ["clip.size=32", "clip.length=4", "train.epochs=1", "model.width=16", "train.plots=false"]
    assignments = [word for setting in settings for word in ("--set", setting)]
    cross_validate.main([str(manifest), "--config", "demo", "--folds", "2", *assignments])
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert len(summary["folds"]) == 2
    assert 0 <= summary["top1"] <= 1
    told = [int(line.split()[2]) for line in printed.err.splitlines() if line.startswith("fold ")]
    assert sum(told) == len(videos)


def test_the_picture_of_the_classes_is_drawn(tmp_path: Path) -> None:
    docs_pictures.draw_motion_classes(tmp_path / "motion.png")
    assert (tmp_path / "motion.png").read_bytes().startswith(b"\x89PNG")
