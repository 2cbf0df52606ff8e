"""`vidcli import` and `vidcli export-labels`: what they write, say and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.data.annotations import samples
from vidcli.commands.app import app
from vidcli.data.annotations import Span, read_annotations
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def media(write_video: Callable[..., Path], in_tmp_path: Path) -> Path:
    """A folder with one video of 8 s at 8 frames a second, and annotation files beside it."""
    write_video(in_tmp_path / "videos" / "cage1.mp4", num_frames=64)
    (in_tmp_path / "day.boris").write_text(samples.boris())
    segments = [{"start": 0.0, "end": 2.0, "label": "groom", "confidence": 0.75}]
    line = json.dumps({"video": "videos/cage1.mp4", "duration": 8.0, "segments": segments})
    (in_tmp_path / "day.json").write_text(line + "\n")
    return in_tmp_path


def test_a_project_of_boris_becomes_a_manifest(media: Path) -> None:
    result = run("import", "day.boris", "--media", "videos", "-o", "out/day.csv", "--background", "other")
    assert result.exit_code == 0, result.stderr
    path = media / "videos/cage1.mp4"
    assert load_items(media / "out/day.csv") == [
        VideoItem(path, "other", None, "cage1", 0.0, 1.0),
        VideoItem(path, "groom", None, "cage1", 1.0, 2.5),
        VideoItem(path, "rest", None, "cage1", 2.0, 4.0),
        VideoItem(path, "other", None, "cage1", 4.0, None),
    ]
    told = " ".join(result.stderr.split())
    assert "day.boris: BORIS project" in told
    assert "1 spans are moments and are left out" in told
    assert "1 spans overlap, such as groom and rest at 2 s" in told
    assert "wrote out/day.csv: 4 spans of 3 classes in 1 videos (other 2, groom 1, rest 1)" in told
    assert result.stdout == ""


def test_several_files_and_a_video_that_is_missing(media: Path) -> None:
    (media / "b.csv").write_text("video,label,start,end\ngone.mp4,rest,0,1\ncage1.avi,rest,6,7\n")
    result = run("import", "day.boris", "b.csv", "--media", "videos", "-o", "m.csv")
    assert result.exit_code == 1
    assert "b.csv: no video for gone.mp4 (1 spans)" in " ".join(result.stderr.split())
    assert [item.label for item in load_items(media / "m.csv")] == ["groom", "rest", "rest"]


def test_nothing_is_written_where_a_file_is_bad(media: Path) -> None:
    (media / "b.csv").write_text("video,label,start,end\ncage1,rest,2,1\n")
    (media / "c.csv").write_text("")
    result = run("import", "day.boris", "b.csv", "c.csv", "--media", "videos", "-o", "m.csv")
    assert result.exit_code == 1
    assert "b.csv: line 2: 'rest' ends at 1, before its start at 2" in result.stderr
    assert "c.csv: is empty" in result.stderr
    assert not (media / "m.csv").exists()


def test_outputs_are_not_replaced(media: Path) -> None:
    (media / "m.csv").write_text("mine")
    refused = run("import", "day.boris", "--media", "videos", "-o", "m.csv")
    assert (refused.exit_code, (media / "m.csv").read_text()) == (2, "mine")
    assert "--output m.csv: exists; choose another file, or replace it with --overwrite" in refused.stderr
    assert run("import", "day.boris", "--media", "videos", "-o", "m.csv", "--overwrite").exit_code == 0
    own = run("import", "day.boris", "--media", "videos", "-o", "day.boris", "--overwrite")
    assert (own.exit_code, "is an input of this command" in own.stderr) == (2, True)
    video = run("export-labels", "day.json", "--format", "via", "-o", "videos/cage1.mp4", "--overwrite")
    assert (video.exit_code, "is an input of this command" in video.stderr) == (2, True)


@pytest.mark.parametrize("form", ["boris", "boris-events", "elan", "label-studio", "cvat", "via", "csv"])
def test_a_timeline_goes_to_another_program_and_back(form: str, media: Path) -> None:
    result = run("export-labels", "day.json", "--format", form, "-o", "day.out")
    assert result.exit_code == 0, result.stderr
    assert "wrote day.out: 1 spans of 1 videos" in result.stderr
    assert run("import", "day.out", "--media", "videos", "-o", "m.csv").exit_code == 0
    assert load_items(media / "m.csv") == [
        VideoItem(media / "videos/cage1.mp4", "groom", None, "cage1", 0.0, 2.0)
    ]


def test_a_format_with_a_file_for_each_video_fills_a_folder(
    media: Path, write_video: Callable[..., Path]
) -> None:
    write_video(media / "videos" / "cage2.mp4", num_frames=64)
    (media / "two.csv").write_text("video,label,start,end\ncage1,rest,0,1\ncage2,groom,1,2\n")
    result = run("export-labels", "two.csv", "--media", "videos", "--format", "elan", "-o", "eaf")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (media / "eaf").iterdir()) == [
        ".vidcli-export-labels.json", "cage1.eaf", "cage2.eaf",
    ]  # fmt: skip
    assert read_annotations(media / "eaf/cage2.eaf").recordings[0].spans == (Span("groom", 1.0, 2.0),)


def test_a_video_that_is_not_there_is_told(media: Path) -> None:
    (media / "a.csv").write_text("video,label,start,end\ngone,rest,0,1\n")
    result = run("export-labels", "a.csv", "--format", "boris", "-o", "a.boris")
    assert result.exit_code == 0
    assert "1 videos are not there, such as gone; --media DIR names their folder" in " ".join(
        result.stderr.split()
    )
    refused = run("export-labels", "a.csv", "--format", "cvat", "-o", "a.xml")
    assert refused.exit_code == 1
    assert "CVAT needs the size of its pictures; give --media DIR" in " ".join(refused.stderr.split())
    assert not (media / "a.xml").exists()
