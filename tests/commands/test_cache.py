"""`vidcli cache` shows what vidcli keeps for later runs, and deletes that and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.bench import infer_speed
from vidcli.bench.sample_videos import _HOUR, _KINDS
from vidcli.commands.app import app
from vidcli.commands.cache import CacheKind
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.data.caches import CACHE_KINDS, list_caches, open_cache
from vidcli.data.items import VideoItem
from vidcli.data.store import Store
from vidcli.synthetic import MotionVideoOptions


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["cache", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with a file of every kind."""
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    motion = make_motion_data(
        options=MotionDataOptions(1, 0, 0, 0, MotionVideoOptions((32, 32), num_frames=8))
    )
    video = VideoItem(next(motion.glob("train/left/*.mp4")), "left")
    Store("frames", [], 2**30).write(video, {"frames": np.zeros((2, 4, 4, 3), np.uint8)})
    Store("features", [], 2**30).write(video, {"features": np.zeros((2, 3), np.float32)})
    (open_cache("bench") / f"{_KINDS[-1].name}{_KINDS[-1].suffix}").write_bytes(b"a video")
    model = open_cache("bench-infer") / "resnet18-224"
    (model / "onnx-int8").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"a model")
    (model / "onnx-int8" / "model.onnx").write_bytes(b"a model")
    fetched = open_cache("fetched") / ("0123456789" * 4)
    fetched.mkdir()
    (fetched / "model.safetensors").write_bytes(b"a model")
    (open_cache("outputs") / f"{'0123456789' * 4}.csv").write_bytes(b"results")
    return tmp_path / "cache"


def test_what_waits_to_be_sent_is_deleted_only_by_name(folder: Path) -> None:
    run("--clear")
    assert [row["kind"] for row in map(json.loads, run("--json").splitlines())] == ["outputs"]
    run("outputs", "--clear")
    assert run("--json") == ""


KINDS = ["frames", "features", "bench", "bench", "fetched", "outputs", "motion"]
"""Of the folders of `folder`, in order."""


def test_every_kind_is_shown(folder: Path) -> None:
    rows = [json.loads(line) for line in run("--json").splitlines()]
    assert [row["kind"] for row in rows] == KINDS
    assert [row["num_files"] for row in rows] == [1, 1, 1, 2, 1, 1, 9]
    frames = next(folder.glob("frames/*/*.npy"))
    assert rows[0]["path"] == str(folder / "frames")
    assert rows[0]["bytes"] == frames.stat().st_size
    table = run()
    assert str(folder) in table
    assert all(kind in table for kind in CACHE_KINDS)
    assert [row["kind"] for row in map(json.loads, run("frames", "motion", "--json").splitlines())] == [
        "frames",
        "motion",
    ]


def test_the_names_of_all_bench_videos_are_known(folder: Path) -> None:
    for kind in (*_KINDS, _HOUR):
        (folder / "bench" / f"{kind.name}{kind.suffix}").touch()
    (bench,) = (cache for cache in list_caches() if cache.path.name == "bench")
    assert len(list(bench.files())) == len(_KINDS) + 1


def test_the_names_of_all_networks_of_the_bench_are_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "bench-infer"
    before = {*place.rglob("*")}
    monkeypatch.setattr(infer_speed, "export_model", lambda checkpoint, items, out, *more: out.mkdir())
    monkeypatch.setattr(infer_speed, "save_checkpoint", lambda path, checkpoint: path.touch())
    monkeypatch.setattr(infer_speed, "load_checkpoint", lambda path: None)
    infer_speed.make_bench_models(place, infer_speed.NETWORKS, 224, lambda text: None)
    made = {path for path in place.rglob("*") if path.is_file()} - before
    assert sum(path.name == "model.safetensors" for path in made) == len(infer_speed.NETWORKS)
    (cache,) = (cache for cache in list_caches() if cache.path == place)
    assert made <= {path for path, _ in cache.files()}


def test_kinds_are_the_same_everywhere() -> None:
    assert tuple(kind.value for kind in CacheKind) == CACHE_KINDS


def test_only_what_was_asked_for_is_deleted(folder: Path) -> None:
    assert "deleted 1 file" in run("frames", "--clear")
    assert [cache.kind for cache in list_caches()] == KINDS[1:]
    assert not (folder / "frames").exists()


def test_all_is_deleted_but_what_is_not_ours(folder: Path) -> None:
    (motion,) = folder.glob("motion-v*")
    (bench,) = folder.glob("bench")
    mine = [
        folder / "notes.txt",
        motion / "train" / "left" / "holiday.mp4",
        bench / "holiday_1920x1080.mp4",
        folder / "features" / "mine" / ("0123456789" * 4 + ".npy"),
        folder / "motion-v9-mine" / "train" / "left" / "left_0001.mp4",
    ]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    target = next(folder.glob("frames/*/*.npy"))
    link = target.with_name("f" * 40 + ".npy")
    link.symlink_to(folder / "notes.txt")
    run(*CACHE_KINDS, "--clear")
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(
        [
            *mine,
            link,
            bench / ".vidcli-cache",
            folder / "features/.vidcli-cache",
            folder / "frames/.vidcli-cache",
        ]
    )
    run("--clear")
    assert all(path.read_text() == "mine" for path in mine)


def test_an_empty_cache_says_where_it_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "nothing"))
    assert f"{tmp_path / 'nothing'} holds nothing" in run().replace("\n", " ")
    assert not (tmp_path / "nothing").exists()
