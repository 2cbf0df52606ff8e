"""`vidcli check`: streams, formats, exit codes and the quarantine file."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.data.manifest import load_items

QUICK = ("--set", "clip.length=8", "--set", "clip.size=32", "--set", "data.workers=2")


def run(*args, columns="120"):
    arguments = ["check", *(str(arg) for arg in args), *QUICK]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": columns})


@pytest.fixture
def bad(tmp_path, write_manifest):
    (tmp_path / "broken.mp4").write_text("no video")
    return write_manifest({"path": "broken.mp4", "label": "left", "split": "train"})


def test_clean_data_exits_with_0(write_manifest):
    result = run(write_manifest())
    assert result.exit_code == 0, result.output
    assert "0 errors, 0 warnings, 0 notes" in result.stdout
    assert "6 in 6 files" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("columns", ["80", "200"])
def test_error_exits_with_1_and_fits_the_terminal(bad, columns):
    result = run(bad, columns=columns)
    assert result.exit_code == 1
    assert "1 error" in result.stdout
    assert "unreadable" in result.stdout
    assert "broken.mp4" in result.stdout
    assert "what to do" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= int(columns)


def test_json_is_an_object_a_line_and_a_summary_last(bad, tmp_path):
    result = run(bad, "--format", "json")
    assert result.exit_code == 1
    problem, last = (json.loads(line) for line in result.stdout.splitlines())
    assert problem == {
        "severity": "error",
        "kind": "unreadable",
        "video": str(tmp_path / "broken.mp4"),
        "subject": "broken.mp4",
        "detail": problem["detail"],
        "others": [],
        "picture": None,
    }
    assert "not a known video format" in problem["detail"]
    assert last["summary"]["num_found"] == {"error": 1, "warning": 0, "note": 0}
    assert last["summary"]["seconds"]["median"] > 1


def test_quarantine_leaves_out_what_has_errors_and_touches_no_video(bad, tmp_path, clean_videos):
    result = run(bad, "--quarantine", tmp_path / "new" / "good.csv")
    assert result.exit_code == 1
    assert [item.path for item in load_items(tmp_path / "new" / "good.csv")] == clean_videos
    assert (tmp_path / "broken.mp4").read_text() == "no video"
    assert "6 of 7 videos" in result.stderr
    assert run(tmp_path / "new" / "good.csv").exit_code == 0


def test_quarantine_never_replaces_the_data_itself(bad):
    before = bad.read_text()
    result = run(bad, "--quarantine", bad)
    assert result.exit_code == 2
    assert "is an input of this command, which is never replaced" in result.stderr
    assert bad.read_text() == before


def test_quarantine_of_nothing_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.mp4").touch()
    result = run(tmp_path / "data", "--quarantine", tmp_path / "good.csv")
    assert result.exit_code == 1
    assert "nothing written" in result.stderr
    assert not (tmp_path / "good.csv").exists()


def test_usage_errors_exit_with_2(write_manifest):
    manifest = write_manifest()
    assert run(manifest, "--set", "clip.lenght=3").exit_code == 2
    assert run(manifest, "--format", "csv").exit_code == 2
    assert run().exit_code == 2


def test_nothing_there_is_one_clean_message(tmp_path):
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "no such folder or manifest" in result.stderr
    assert result.stdout == ""


def test_progress_is_shown_in_a_terminal_before_the_total_is_known(write_manifest):
    on_terminal = {"COLUMNS": "80", "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    result = CliRunner().invoke(app, ["check", str(write_manifest()), *QUICK], env=on_terminal)
    assert result.exit_code == 0
    assert "decoding" in result.stderr


def test_many_of_a_kind_are_counted_not_hidden(tmp_path, write_manifest):
    rows = [{"path": f"gone{n}.mp4", "label": "left", "split": "train"} for n in range(30)]
    result = run(write_manifest(*rows))
    assert result.stdout.count("no such file") == 20
    assert "… and 10 more" in result.stdout
    assert (
        run(write_manifest(*rows), "--format", "json").stdout.count('"missing"') == 30 + 1
    )  # and its advice
