"""`vidcli embed`: files, neighbours, clusters, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


def embed(*args):
    return CliRunner().invoke(app, ["embed", *map(str, args), "--device", "cpu"], env={"COLUMNS": "200"})


def test_the_runs_own_videos_are_embedded(run, in_tmp_path):
    result = embed("--model", run, "-o", "e.npz", "--split", "test")
    assert result.exit_code == 0, result.stderr
    assert "wrote 16 embeddings to e.npz" in result.stderr
    assert "the nearest video has the same label for" in result.stderr
    assert result.stdout == ""
    with np.load("e.npz") as file:
        assert file["embeddings"].shape == (16, 16)
        assert all("/test/" in path for path in file["path"])


def test_neighbours_are_results(run, motion_data, in_tmp_path):
    arguments = (motion_data, "--model", run, "-o", "e.npz", "--split", "val", "--neighbours", "2")
    result = embed(*arguments)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 32
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "1", "2"]
    again = embed(*arguments, "--json", "--overwrite")
    told = [json.loads(line) for line in again.stdout.splitlines()]
    assert [row["neighbour"] for row in told] == [row["neighbour"] for row in rows]
    assert isinstance(told[0]["similarity"], float)


def test_a_contact_sheet_shows_clusters(run, in_tmp_path, monkeypatch):
    from vidcli.report import contact_sheet

    seen = []
    real = contact_sheet.draw_contact_sheet
    monkeypatch.setattr(
        contact_sheet, "draw_contact_sheet", lambda rows, path: (seen.extend(rows), real(rows, path))
    )
    arguments = (
        "--model",
        run,
        "-o",
        "e.npz",
        "--split",
        "test",
        "--contact-sheet",
        "c.png",
        "--clusters",
        "3",
    )
    result = embed(*arguments)
    assert result.exit_code == 0, result.stderr
    assert (in_tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert sum(len(row.pictures) for row in seen) == 16
    assert [row.title.partition(":")[0] for row in seen] == ["cluster 1", "cluster 2", "cluster 3"]
    with np.load("e.npz") as file:
        assert set(file["cluster"]) == {1, 2, 3}


def test_any_folder_of_videos_is_embedded_without_labels(run, motion_data, in_tmp_path):
    loose = in_tmp_path / "loose"
    loose.mkdir()
    for number, path in enumerate(sorted((motion_data / "test").rglob("*.mp4"))[:3]):
        shutil.copy(path, loose / f"{number}.mp4")
    (loose / "broken.mp4").write_bytes(b"no video")
    result = embed(loose, "--unlabelled", "--model", run, "-o", "e.npz")
    assert result.exit_code == 1
    assert "left out: loose/broken.mp4" in result.stderr or "broken.mp4" in result.stderr
    assert "the nearest video" not in result.stderr
    with np.load("e.npz") as file:
        assert len(file["embeddings"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-o", "e.csv"], 2, "expected a name that ends with .npz or .parquet"),
        (["-o", "e.npz", "--json"], 2, "it goes with --neighbours"),
        (["-o", "e.npz", "--clusters", "3"], 2, "--clusters goes with --contact-sheet"),
        (["-o", "e.npz", "--unlabelled"], 2, "--unlabelled is about DATA"),
        (["-o", "e.npz", "--split", "tests"], 2, "--split tests: expected train, val, test or all"),
        (["-o", "e.npz", "--contact-sheet", "c.png", "--clusters", "9999"], 2, "there are only 64 videos"),
        (["nowhere", "-o", "e.npz"], 1, "nowhere: no such folder or manifest"),
    ],
)
def test_wrong_usage_is_refused_and_writes_nothing(arguments, code, told, run, in_tmp_path):
    result = embed(*arguments, "--model", run)
    assert result.exit_code == code, result.stderr
    assert told in " ".join(result.stderr.split())
    assert list(in_tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(run, in_tmp_path):
    (in_tmp_path / "e.npz").write_bytes(b"mine")
    result = embed("--model", run, "-o", "e.npz")
    assert result.exit_code == 2
    assert "--output e.npz: exists" in result.stderr
    assert (in_tmp_path / "e.npz").read_bytes() == b"mine"


def test_exported_models_are_refused_with_the_reason(run, in_tmp_path):
    pytest.importorskip("onnx")
    made = CliRunner().invoke(app, ["export", "--model", str(run), "--format", "onnx", "--out", "exported"])
    assert made.exit_code == 0, made.stderr
    result = embed("--model", "exported", "-o", "e.npz")
    assert result.exit_code == 2
    assert "exported: is an exported network" in result.stderr
