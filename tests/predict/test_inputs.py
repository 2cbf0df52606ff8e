"""What the command line names becomes a list of videos, of which every part is taken once."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, DataError, VideoError
from vidcli.predict.inputs import (
    Shard,
    collect_items,
    collect_videos,
    explain_failure,
    is_results,
    parse_shard,
    read_list,
    shard_of_launcher,
)
from vidcli.video import probe


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Empty files; the current folder is the one above."""
    for name in ("in/b/two.mkv", "in/b/one.mp4", "in/a.avi", "in/notes.txt", "in/[x].mp4", "in/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths_of(*named):
    return [str(item.path) for item in collect_items(named)]


def test_files_folders_and_patterns_in_the_order_given(folder):
    assert paths_of("gone.mp4", "in/b", "in/a.avi") == [
        "gone.mp4",
        "in/b/one.mp4",
        "in/b/two.mkv",
        "in/a.avi",
    ]
    assert paths_of("in/**/*.m*") == ["in/[x].mp4", "in/b/one.mp4", "in/b/two.mkv", "in/x.mp4"]
    assert paths_of("i?") == paths_of("in")  # a folder that matches is searched
    assert paths_of("in/[x].mp4") == ["in/[x].mp4"]  # a file of exactly that name


def test_a_pattern_that_matches_nothing_stays_and_is_explained(folder):
    assert paths_of("in/*.webm") == ["in/*.webm"]
    assert explain_failure(Path("in/*.webm"), "no such file") == "no file matches this pattern"
    assert explain_failure(Path("in/[x].mp4"), "is empty") == "is empty"
    assert explain_failure(Path("gone.mp4"), "no such file") == "no such file"


def test_a_manifest_gives_its_spans(folder):
    (folder / "in/list.csv").write_text("path,label,start,end\na.avi,x,1.5,2\ngone.mp4,y,,\n")
    assert collect_items(["in/list.csv"]) == [
        VideoItem(Path("in/a.avi"), "x", start_seconds=1.5, end_seconds=2.0),
        VideoItem(Path("in/gone.mp4"), "y"),
    ]
    (folder / "in/bad.csv").write_text("recorded\na.avi\n")
    with pytest.raises(DataError, match="unknown column 'recorded'"):
        collect_items(["in/bad.csv"])


@pytest.mark.parametrize(
    "content",
    [b"a b.mp4\nc.mp4", b"a b.mp4\r\n\r\nc.mp4\r\n", b"a b.mp4\0c.mp4\0", b"\na b.mp4\n  \nc.mp4\n"],
)
def test_a_list_is_lines_or_nul_separated(folder, monkeypatch, content):
    (folder / "list").write_bytes(content)
    assert read_list("list") == [Path("a b.mp4"), Path("c.mp4")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_list("-") == [Path("a b.mp4"), Path("c.mp4")]


def test_a_list_keeps_names_that_are_no_text_and_line_ends_inside_of_names(folder):
    (folder / "list").write_bytes(b"bad\xff.mp4\0new\nline.mp4\0")
    assert [str(path) for path in read_list("list")] == ["bad\udcff.mp4", "new\nline.mp4"]


def test_a_list_that_is_empty_or_gone(folder):
    (folder / "list").write_text("\n\n")
    with pytest.raises(DataError, match="names no videos; expected one path a line"):
        read_list("list")
    with pytest.raises(DataError, match="--from-list gone: cannot be read"):
        read_list("gone")


@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_are_the_whole_in_order_and_equal_but_for_one(num_items, count):
    items = list(range(num_items))
    parts = [Shard(number, count).take(items) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_are_named():
    assert parse_shard("2/4") == Shard(2, 4)
    assert Shard(2, 4).name_file(Path("out/results.csv")) == Path("out/results-2of4.csv")
    for text in ("0/4", "5/4", "1", "1/0", "a/b", "-1/2"):
        with pytest.raises(ConfigError, match="expected I/N"):
            parse_shard(text)


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "2", "WORLD_SIZE": "3"}, Shard(3, 3)),
        ({"RANK": "3", "WORLD_SIZE": "3"}, None),
        ({"RANK": "x", "WORLD_SIZE": "3"}, None),
    ],
)
def test_the_launcher_tells_the_shard(environment, shard):
    assert shard_of_launcher(environment) == shard


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (
            {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "5"},
            Shard(3, 4),
        ),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, Shard(1, 4)),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "4"}, Shard(4, 4)),
        ({"RANK": "2", "WORLD_SIZE": "3"}, Shard(3, 3)),
    ],
)
def test_a_scheduler_tells_the_shard(environment, shard, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parse_shard("auto") == shard


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "found no SLURM_ARRAY_TASK_ID"),
        ({"JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETION_INDEX=3 tell no part.*set JOB_COMPLETIONS"),
        ({"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_COUNT": "4"}, "one of SLURM_ARRAY_TASK_COUNT"),
    ],
)
def test_a_scheduler_that_tells_no_shard(environment, message, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        parse_shard("auto")


# --- lists and results from elsewhere -------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfin/a.avi\nin/x.mp4\n",
        "in/a.avi\r\nin/x.mp4\r\n".encode("utf-16"),
        b"\xfe\xff" + "in/a.avi\nin/x.mp4".encode("utf-16-be"),
        b"\"in/a.avi\"\n'in/x.mp4'  \n",
        b"in/a.avi \t\r\n  in/x.mp4\n",
        b"in/a.avi\rin/x.mp4\r",
    ],
    ids=["mark", "utf-16", "utf-16-be", "quotes", "blanks", "old Mac"],
)
def test_a_list_from_another_program(folder, content):
    (folder / "list").write_bytes(content)
    assert read_list("list") == [Path("in/a.avi"), Path("in/x.mp4")]


@pytest.mark.parametrize("name", ["x.mp4 ", '"x.mp4"', "#x.mp4", "'x.mp4'", " x.mp4", "# comment"])
def test_a_line_that_is_a_file_as_it_stands_is_that_file(folder, name):
    (folder / name).touch()
    (folder / "x.mp4").touch()
    (folder / "list").write_text(f"{name}\n")
    assert read_list("list") == [Path(name)]


def test_names_that_nul_parts_stay_as_they_are(folder):
    (folder / "list").write_bytes(b'"in/a.avi" \0in/x.mp4\n\0')
    assert read_list("list") == [Path('"in/a.avi" '), Path("in/x.mp4\n")]


def test_a_damaged_list_is_named(folder):
    (folder / "list").write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match="begins like UTF-16"):
        read_list("list")


RESULTS = {
    "r.csv": "video,rank,label,probability,error,start,end,unknown,chosen,model,settings\n",
    "excel.csv": "\ufeffvideo;rank;label;probability;error\n",
    "t.csv": "video,start,end,label,confidence,error\n",
    "p.csv": "video,start,end,label,predicted,probability,correct,error,a,b\n",
    "unusable.csv": "video,error\n",
    "cv.csv": "recipe,path,start,end,label,group,fold,seed,predicted,correct,error,a,b\n",
    "near.csv": "path,label,group,rank,neighbour,neighbour_label,neighbour_group,similarity\n",
    "r.json": '{"video": "a.mp4", "predictions": []}\n',
    "r.jsonl": '{"video": "a.mp4", "error": "is gone"}\n',
    "e.json": '{\n "top1": 0.5,\n',
    "why.json": '{\n "video": "a.mp4",\n',
    "r.parquet": "PAR1 and then vidcli PAR1",
    "r.parquet.partial": '{"video": "a.mp4", "predictions": []}\n',
}


def test_results_of_earlier_calls_are_no_videos(folder):
    for name, text in RESULTS.items():
        (folder / "in" / name).write_text(text, encoding="utf-8")
    told = []
    named = sorted(str(path.relative_to(folder)) for path in (folder / "in").iterdir() if path.is_file())
    found = [str(item.path) for item in collect_items(named, told.append)]
    assert found == ["in/[x].mp4", "in/a.avi", "in/notes.txt", "in/x.mp4"]
    assert [text.partition(":")[0] for text in told] == [
        f"{len(RESULTS)} results that vidcli wrote are passed over"
    ]
    assert not any(name.endswith(".csv") for name in paths_of("in/*"))  # a pattern finds them too


def test_folders_of_results_and_what_lies_in_them_are_no_videos(folder):
    for name in ("explanation.json", "sheet.png", "overlay.mp4"):
        (folder / "explain-x").mkdir(exist_ok=True)
        (folder / "explain-x" / name).touch()
    for name in ("config.yaml", "splits.csv", "model.safetensors", "curves.png"):
        (folder / "run").mkdir(exist_ok=True)
        (folder / "run" / name).write_text("path,label\n../in/a.avi,x\n")
    assert paths_of("explain-x", "run", "in/a.avi") == ["in/a.avi"]
    assert paths_of("run/*") == ["run/../in/a.avi"]  # the table of a run is a manifest
    assert paths_of("*/*.[ma]*") == ["in/[x].mp4", "in/a.avi", "in/x.mp4"]
    (folder / "overlay.mp4").touch()
    assert paths_of("overlay.mp4") == ["overlay.mp4"]  # of somebody else
    (folder / "run/other.mp4").touch()
    assert paths_of("run") == ["run/other.mp4"]  # a folder that holds videos of others too


def test_results_alone_are_refused(folder):
    (folder / "r.csv").write_text(RESULTS["r.csv"])
    with pytest.raises(DataError, match="holds results that vidcli wrote; expected videos"):
        collect_items(["r.csv"])


def test_what_every_form_of_predict_writes_is_known(folder):
    from vidcli.evaluate import predictions_csv
    from vidcli.predict.prediction import CSV_COLUMNS
    from vidcli.predict.segments import SEGMENT_COLUMNS

    for header in (",".join(CSV_COLUMNS), ",".join(SEGMENT_COLUMNS), predictions_csv([], [], ["a"])):
        (folder / "x.csv").write_text(header)
        assert is_results(folder / "x.csv")
    (folder / "x.csv").write_text("path,label\n")
    assert not is_results(folder / "x.csv")


def test_one_path_is_one_path(folder):
    assert collect_videos("in/a.avi") == collect_videos(Path("in/a.avi")) == [Path("in/a.avi")]
    assert collect_items("in/a.avi") == [VideoItem(Path("in/a.avi"), "")]


def test_a_folder_that_cannot_be_read_fails_and_the_rest_goes_on(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    for name in ("a.mp4", "locked/b.mp4", "z.mp4"):
        (tmp_path / name).touch()
    scandir, listdir = os.scandir, os.listdir

    def refuse(look):
        def refusing(path="."):
            if os.fspath(path).endswith("locked"):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return look(path)

        return refusing

    # Rights do not hold back the root user, as whom tests may run.
    monkeypatch.setattr(os, "scandir", refuse(scandir))
    monkeypatch.setattr(os, "listdir", refuse(listdir))
    found = collect_videos([tmp_path])
    assert [path.name for path in found] == ["a.mp4", "z.mp4", "locked"]
    with pytest.raises(VideoError, match=r"locked: cannot be read \(Permission denied\)"):
        probe(found[-1])


def test_a_folder_that_is_too_deep_fails_and_the_rest_goes_on(tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.mp4").touch()
    monkeypatch.chdir(tmp_path / "tree")
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    monkeypatch.chdir(tmp_path)
    found = collect_videos([tmp_path / "tree"])
    assert found[0] == tmp_path / "tree" / "a.mp4"
    assert len(found) == 2
    with pytest.raises(VideoError, match="File name too long"):
        probe(found[-1])
