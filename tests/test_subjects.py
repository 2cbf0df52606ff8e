"""Two subjects of one picture: a model learns from windows around each, and answers each by itself."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.config import load_config
from vidcli.data.manifest import load_items
from vidcli.sheets import csv_text
from vidcli.video import encode_video

FPS, SECONDS, BLOCK = 10, 24, 3
HEIGHT, WIDTH, SIDE = 64, 128, 18


def _doing(subject: int, seconds: float, seed: int) -> str:
    """Return what a subject does: both change every three seconds, each in its own way."""
    block = int(seconds // BLOCK)
    return ("flash", "turn")[int(np.random.default_rng([seed, subject]).integers(2, size=20)[block])]


def _place(subject: int, seconds: float) -> tuple[float, float]:
    """Return x and y of the middle of a subject: they go round each other, and so change sides."""
    angle = 2 * np.pi * seconds / 16 + np.pi * subject
    return 64 + 40 * np.cos(angle), 32 + 18 * np.sin(angle)


def _draw(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.full((FPS * SECONDS, HEIGHT, WIDTH, 3), 90.0)
    for number, frame in enumerate(frames):
        for subject in (0, 1):
            seconds = number / FPS
            x, y = _place(subject, seconds)
            doing = _doing(subject, seconds, seed)
            angle = 0.9 * number if doing == "turn" else 0.6
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = -(columns - x) * np.sin(angle) + (rows - y) * np.cos(angle)
            shade = 230 if doing == "turn" or number % 2 else 130
            frame[(np.abs(along) < SIDE / 2) & (np.abs(across) < 4)] = shade
    return np.clip(frames + rng.normal(0, 3, frames.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four recordings, `labels.csv` and `boxes.csv`; `b` leaves the last one early."""
    folder = tmp_path_factory.mktemp("subjects")
    labels, boxes = [], []
    for seed in range(4):
        path = folder / f"day{seed}.mp4"
        encode_video(path, _draw(seed), FPS, options={"crf": "18"})
        split = ("train", "train", "val", "test")[seed]
        for subject, name in enumerate("ab"):
            for start in range(0, SECONDS, BLOCK):
                doing = _doing(subject, start, seed)
                labels.append((path.name, doing, split, path.stem, start, start + BLOCK, name))
            last = FPS * 14 if (seed, name) == (3, "b") else FPS * SECONDS
            for frame in range(last):
                x, y = _place(subject, frame / FPS)
                boxes.append((path.name, frame, name, x - SIDE / 2, y - SIDE / 2, SIDE, SIDE))
    header = ("path", "label", "split", "group", "start", "end", "track")
    (folder / "labels.csv").write_text(csv_text([header, *labels]))
    (folder / "boxes.csv").write_text(csv_text([("video", "frame", "track", "x", "y", "w", "h"), *boxes]))
    return folder


SETTINGS = {
    "clip.length": 6,
    "clip.size": 32,
    "clip.sampling": "dense",
    "clip.stride_seconds": 0.1,
    "data.clips_per_span": 5,
    "data.workers": 2,
    "model.backbone": "compact_cnn",
    "model.shift": "off",
    "model.width": 24,
    "model.hidden": 24,
    "train.epochs": 5,
    "train.lr": 3e-3,
    "train.plots": False,
}


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def run(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    boxes = "--boxes", recordings / "boxes.csv"
    _run("train", recordings / "labels.csv", *boxes, *settings, "--out", out, "--device", "cpu")
    return out


def test_two_subjects_of_one_video_get_different_answers(recordings: Path, run: Path):
    boxes = "--boxes", recordings / "boxes.csv"
    lines = _run("timeline", recordings / "day3.mp4", *boxes, "--model", run, "--format", "json")
    first, second = map(json.loads, lines.splitlines())
    assert (first["track"], second["track"]) == ("a", "b")

    def share_right(timeline: dict, subject: int, end: float) -> float:
        moments = np.arange(0.5, end, 0.25)
        said = [
            next((s["label"] for s in timeline["segments"] if s["start"] <= at < s["end"]), "")
            for at in moments
        ]
        return float(
            np.mean([name == _doing(subject, at, 3) for name, at in zip(said, moments, strict=True)])
        )

    assert share_right(first, 0, 23) > 0.85
    assert share_right(second, 1, 13.5) > 0.85
    assert max(segment["end"] for segment in second["segments"]) == pytest.approx(14.0, abs=0.01)


def test_predict_answers_for_each_subject(recordings: Path, run: Path, tmp_path: Path):
    usual = ["predict", recordings / "day0.mp4", "--boxes", recordings / "boxes.csv", "--model", run]
    rows = [json.loads(line) for line in _run(*usual, "--format", "json").splitlines()]
    assert [row["track"] for row in rows] == ["a", "b"]
    assert rows[0]["predictions"] != rows[1]["predictions"]
    for name in ("answers.csv", "answers.jsonl", "answers.parquet"):
        _run(*usual, "--output", tmp_path / name)
        again = CliRunner().invoke(app, [str(part) for part in (*usual, "--output", tmp_path / name)])
        assert again.exit_code == 0  # both are there
    lines = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [line["track"] for line in lines if line["rank"] == "1"] == ["a", "b"]
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    table = pyarrow.parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert {row["track"] for row in table} == {"a", "b"}


def test_timelines_are_scored_for_each_subject(recordings: Path, run: Path, tmp_path: Path):
    out = "--out", tmp_path / "scores"
    scores = json.loads(_run("eval", "--timeline", "--model", run, "--json", *out))
    assert scores["num_recordings"] == 2  # two subjects of one recording
    assert scores["frame_accuracy"] > 0.85
    assert scores["frame_accuracy_interval"] is None  # of one recording
    rows = list(csv.DictReader((tmp_path / "scores" / "segments.csv").read_text().splitlines()))
    assert {row["track"] for row in rows} == {"a", "b"}
    assert max(float(row["end"]) for row in rows if row["track"] == "b") == pytest.approx(14, abs=0.01)
    spans = json.loads(_run("eval", "--model", run, "--json", "--split", "test", "--out", tmp_path / "spans"))
    assert spans["top1"] > 0.8


def test_bouts_count_the_time_in_the_picture(recordings: Path, run: Path, tmp_path: Path):
    boxes = "--boxes", recordings / "boxes.csv"
    _run("timeline", recordings / "day3.mp4", *boxes, "--model", run, "--bouts", tmp_path / "bouts.csv")
    rows = list(csv.DictReader((tmp_path / "bouts.csv").read_text().splitlines()))
    shares = {name: sum(float(row["share_of_time"]) for row in rows if row["track"] == name) for name in "ab"}
    assert shares == {"a": pytest.approx(1, abs=1e-6), "b": pytest.approx(1, abs=1e-6)}


def test_one_subject_has_a_picture_and_several_have_none(recordings: Path, run: Path, tmp_path: Path):
    usual = ["timeline", recordings / "day3.mp4", "--boxes", recordings / "boxes.csv", "--model", run]
    usual += ["--picture", tmp_path / "a.png"]
    several = CliRunner().invoke(app, [str(part) for part in usual])
    assert several.exit_code == 2
    assert "--track NAME takes one subject" in " ".join(several.stderr.split())
    _run(*usual, "--track", "b")
    assert (tmp_path / "a.png").is_file()


def test_without_boxes_whole_pictures_are_seen_and_that_is_told(recordings: Path, run: Path):
    result = CliRunner().invoke(app, ["predict", str(recordings / "day3.mp4"), "--model", str(run)])
    assert result.exit_code == 0
    assert "sees whole pictures now; --boxes names boxes" in " ".join(result.stderr.split())


def test_a_run_keeps_where_its_boxes_are(recordings: Path, run: Path):
    config = load_config(str(run / "config.yaml"))
    assert config.subject.boxes == str(recordings / "boxes.csv")
    assert {item.track for item in load_items(run / "spans.csv")} == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--boxes", "none.csv"], "none.csv: cannot be read"),
        (["--boxes", "BOXES", "--track", "c"], "no boxes of 'c'; there is a, b"),
        (["--track", "a"], "is a subject of --boxes"),
    ],
)
def test_a_wrong_command_line_is_told(recordings: Path, run: Path, arguments: list[str], told: str):
    words = [str(recordings / "boxes.csv") if word == "BOXES" else word for word in arguments]
    result = CliRunner().invoke(app, ["timeline", str(recordings / "day3.mp4"), "--model", str(run), *words])
    assert result.exit_code == (2 if "is a subject of" in told else 1)
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_an_evaluation_names_the_subject_of_each_row(recordings: Path, run: Path, tmp_path: Path):
    told = json.loads(_run("eval", "--model", run, "--out", tmp_path / "told", "--json"))
    with open(tmp_path / "told" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["track"] for row in rows} == {"a", "b"}
    assert (
        len({(row["start"], row["track"]) for row in rows}) == len(rows) > len({row["start"] for row in rows})
    )
    assert {row["track"] for row in told["most_confused"]} == {"a", "b"}
    _run("report", run, "--out", tmp_path / "page.html", "--device", "cpu")
    shown = re.findall(
        r'day3\.mp4</span><span class="soft">, ([ab]) \d', (tmp_path / "page.html").read_text()
    )
    assert set(shown) == {"a", "b"}


def test_subjects_are_embedded_each_by_itself(recordings: Path, run: Path, tmp_path: Path):
    _run("embed", recordings / "labels.csv", "--model", run, "--split", "test", "-o", tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as file:
        tracks, vectors = file["track"].tolist(), file["embeddings"]
        starts = file["start"].tolist()
    assert set(tracks) == {"a", "b"}
    first, second = (
        vectors[next(n for n, key in enumerate(zip(tracks, starts, strict=True)) if key == (track, 3.0))]
        for track in "ab"
    )
    assert not np.allclose(first, second, atol=0.01)
    usual = "embed", recordings / "day3.mp4", "--unlabelled", "--model", run, "-o"
    boxes = "--boxes", recordings / "boxes.csv"
    lines = _run(*usual, tmp_path / "whole.npz", *boxes, "--neighbours", "1").splitlines()
    assert [row["track"] + row["neighbour_track"] for row in csv.DictReader(lines)] == ["ab", "ba"]
    result = CliRunner().invoke(app, [*map(str, usual), str(tmp_path / "none.npz")])
    assert "sees whole pictures now; --boxes names boxes" in " ".join(result.stderr.split())


def test_a_subject_is_explained_in_the_window_around_it(recordings: Path, run: Path, tmp_path: Path):
    video, boxes = recordings / "day0.mp4", ("--boxes", recordings / "boxes.csv")
    usual = ["explain", video, "--model", run, "--format", "json", *boxes]
    answers = _run("predict", video, *boxes, "--model", run, "--format", "json").splitlines()
    for subject, (track, line) in enumerate(zip("ab", answers, strict=True)):
        told = json.loads(_run(*usual, "--track", track, "--out", tmp_path / track))
        assert told["track"] == track
        best = json.loads(line)["predictions"][0]
        assert (told["predicted"], told["probability"]) == (best["label"], pytest.approx(best["probability"]))
        for frame in told["frames"]:
            x, y = _place(subject, frame["seconds"])
            across, down = frame["focus"]
            assert abs(across * WIDTH - x) < SIDE
            assert abs(down * HEIGHT - y) < SIDE
    result = CliRunner().invoke(app, [*map(str, usual), "--out", str(tmp_path / "both")])
    assert result.exit_code == 2
    assert "has boxes of 2 subjects (a, b); --track NAME explains one" in " ".join(result.stderr.split())
    assert not (tmp_path / "both").exists()


def test_another_subject_is_explained_in_a_folder_of_its_own(recordings, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for track in ("a", "b", "a"):
        boxes = "--boxes", recordings / "boxes.csv", "--track", track
        _run("explain", recordings / "day0.mp4", "--model", run, *boxes)
    tracks = {
        path.name: json.loads((path / "explanation.json").read_text())["track"] for path in tmp_path.iterdir()
    }
    assert tracks == {"explain-day0": "a", "explain-day0-2": "b"}
