"""Names that run, steer, turn or hide: through every command, to every place where they are shown."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vidcli import fonts
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.commands.app import app
from vidcli.config import Config
from vidcli.models import build_model
from vidcli.models.calibration import Calibration
from vidcli.sheets import unescape_cell

CLASSES = ("=1+1", "a\u202egnp", "b\x1b[31mred", "c\n-->\nd <i>&", "行走", "'-x", "-1")
VIDEOS = ("=cmd.mp4", "x\u2066y.mp4", "z\x1b[2J.mp4", "new\nline.mp4", "plain.mp4")


@pytest.fixture(scope="module")
def save_model(
    small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Write a model that was never trained."""

    def save(name: str, calibration: Calibration, **settings: object) -> Path:
        torch.manual_seed(0)
        config = small_config(**settings)
        path = tmp_path_factory.mktemp("wild") / f"{name}.safetensors"
        weights = build_model(config.model, len(CLASSES)).state_dict()
        save_checkpoint(path, Checkpoint(weights, config, CLASSES, calibration=calibration))
        return path

    return save


@pytest.fixture(scope="module")
def model(save_model: Callable[..., Path]) -> Path:
    return save_model("one", Calibration())


@pytest.fixture(scope="module")
def multi_label_model(save_model: Callable[..., Path]) -> Path:
    """A model for which every class holds at every moment but the last two, which never do."""
    thresholds = (0.0,) * (len(CLASSES) - 2) + (1.0, 1.0)
    return save_model("many", Calibration(thresholds=thresholds), data__multi_label=True)


@pytest.fixture(scope="module")
def videos(write_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    source = write_video(folder / VIDEOS[0], 24)
    for name in VIDEOS[1:]:
        shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave a machine with our own font only."""
    monkeypatch.setattr(fonts, "_installed", list)
    fonts._fonts_for.cache_clear()
    yield
    fonts._fonts_for.cache_clear()


def run(*args: object) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})
    assert result.exit_code in (0, 1), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout, result.stderr


def assert_harmless(text: str) -> None:
    bad = {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"}
    bad |= {
        c
        for c in text
        if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI", "PDI", "PDF")
    }
    assert not bad


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("timeline", [(), ("--timeline", "--window", "1")])
def test_what_predict_prints_is_harmless(
    form: str, timeline: tuple[str, ...], model: Path, videos: Path
) -> None:
    out, err = run("predict", videos, "--model", model, "--format", form, "--device", "cpu", *timeline)
    assert_harmless(out + err)
    if form == "csv":
        for row in csv.reader(io.StringIO(out)):
            assert not any(re.match(r"[=+@]|-(?!\d)", cell) for cell in row)
        assert {unescape_cell(row[0]).rpartition("/")[2] for row in csv.reader(io.StringIO(out))} >= {
            "plain.mp4"
        }
    if form == "json":
        assert {Path(json.loads(line)["video"]).name for line in out.splitlines()} == set(VIDEOS)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_whole_whatever_the_names(form: str, multi_label_model: Path, videos: Path) -> None:
    video = videos / "plain.mp4"
    given = ("--timeline", "--window", "1", "--format", form, "--device", "cpu")
    out, _ = run("predict", video, "--model", multi_label_model, *given)
    assert_harmless(out)
    assert out.count("-->") == len(CLASSES) - 2
    blocks = out.removeprefix("WEBVTT\n\n").strip().split("\n\n")
    assert [len(block.splitlines()) for block in blocks] == [3 if form == "srt" else 2] * (len(CLASSES) - 2)


def test_results_go_on_whatever_the_names(model: Path, videos: Path, tmp_path: Path) -> None:
    for name in ("r.csv", "r.jsonl"):
        output = tmp_path / name
        given = ("predict", videos, "--model", model, "--output", output, "--device", "cpu")
        run(*given)
        content = output.read_bytes()
        assert_harmless(content.decode())
        _, err = run(*given)
        assert f"{len(VIDEOS)} of {len(VIDEOS)} videos are there already" in err.replace("\n", "")
        assert output.read_bytes() == content


def test_all_classes_that_hold_are_told(
    no_other_fonts: None, multi_label_model: Path, videos: Path, tmp_path: Path
) -> None:
    picture, annotated = tmp_path / "t.png", tmp_path / "t.mp4"
    given = ("predict", videos / "plain.mp4", "--model", multi_label_model, "--device", "cpu")
    out, err = run(*given, "--timeline", "--window", "1", "--format", "json", "--picture", picture)
    assert [row["label"] for row in json.loads(out)["segments"]] == list(CLASSES[:-2])
    assert "#5 = 行走" in err  # no font of these machines has it, and no box is drawn
    run(*given, "--timeline", "--window", "1", "--annotate", annotated)
    assert annotated.stat().st_size > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_and_check_show_nothing_that_steers(videos: Path, tmp_path: Path) -> None:
    for number, name in enumerate(CLASSES):
        (tmp_path / name.replace("/", "")).mkdir()
        for copy in range(3):
            target = tmp_path / name.replace("/", "") / f"{number}{copy}\x1b[7m\u202e.mp4"
            shutil.copy(videos / "plain.mp4", target)
    for args in (
        ("train", tmp_path, "--dry-run"),
        ("check", tmp_path),
        ("check", tmp_path, "--format", "json"),
    ):
        out, err = run(*args, "--set", "model.backbone=compact_cnn")
        assert_harmless(out + err)
        assert "\\x1b[31mred" in out or "\\u001b[31mred" in out


def test_explain_takes_a_class_as_it_is_typed(
    no_other_fonts: None, model: Path, videos: Path, tmp_path: Path
) -> None:
    out, err = run(
        "explain", videos / "x\u2066y.mp4", "--model", model, "--label", "行走", "--out", tmp_path / "why"
    )
    assert_harmless(out + err)
    assert "#1 = 行走" in err
    assert (tmp_path / "why" / "sheet.png").exists()
