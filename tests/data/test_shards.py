"""Videos in tar files: `vidcli pack` and back, from a disk and from afar, and tar files of other programs."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.conftest import Run
from tests.forks import Forked
from vidcli.commands import app
from vidcli.config import Config
from vidcli.data.manifest import load_items, read_data
from vidcli.data.shards import expand_braces, read_shards
from vidcli.data.splits import assign_splits
from vidcli.errors import DataError, OutputError, VideoError
from vidcli.predict.inputs import collect_items
from vidcli.predict.view_loader import item_of
from vidcli.runtime.outputs import OutputFolder
from vidcli.storage.addresses import StoredPath, path_of
from vidcli.storage.sources import open_source
from vidcli.storage.tar_members import INDEX_NAME
from vidcli.video import decode_frames


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def pack(data: Path, out: Path, *options: object) -> Result:
    return run("pack", data, "-o", out, "--short-side", 32, "--videos-per-shard", 6, "--quality", 1, *options)


@pytest.fixture
def shards(pair_data: Path, tmp_path: Path) -> Path:
    told = pack(pair_data, tmp_path / "shards")
    assert told.exit_code == 0, told.stderr
    assert "wrote" in told.stderr
    assert "times as fast" in told.stderr
    return tmp_path / "shards"


@pytest.mark.parametrize("column", ["track,mouse", "box,0 0 8 8"])
def test_rows_about_a_part_of_the_picture_are_refused(column: str, pair_data: Path, tmp_path: Path) -> None:
    name, cell = column.split(",")
    items = load_items(pair_data)
    rows = [
        f"{item.path},{item.label},{item.split},{cell if place else ''}" for place, item in enumerate(items)
    ]
    (tmp_path / "data.csv").write_text("\n".join([f"path,label,split,{name}", *rows]) + "\n")
    told = pack(tmp_path / "data.csv", tmp_path / "shards")
    assert told.exit_code != 0
    assert f"{len(items) - 1} rows have a track or a box" in told.stderr
    assert not (tmp_path / "shards").exists()


def test_a_member_stays_one_wherever_a_video_is_named(shards: Path) -> None:
    member = load_items(shards)[0].path
    for named in (member, member.as_posix()):
        found = item_of(named).path
        assert isinstance(found, StoredPath)
        assert found == member


def test_labels_splits_and_order_are_those_of_the_source(shards: Path, pair_data: Path) -> None:
    near, packed = load_items(pair_data), load_items(shards)
    assert [(item.label, item.split) for item in packed] == [(item.label, item.split) for item in near]
    for source, copy in zip(near, packed, strict=True):
        frames = decode_frames(copy.path).frames.astype(int)
        assert np.abs(frames - decode_frames(source.path).frames).mean() < 8
    assert sorted(path.name for path in shards.glob("*.tar")) == [f"{number:06}.tar" for number in range(3)]
    assert not (shards / ".vidcli-pack").exists()


def test_groups_and_spans_stay_and_splits_are_drawn_as_train_draws_them(
    write_video: Callable[..., Path], tmp_path: Path
) -> None:
    rows = ["path,label,group,start,end"]
    for number in range(12):
        write_video(tmp_path / f"{number}.mp4", num_frames=16, seed=number)
        rows.append(f"{number}.mp4,{'ab'[number % 2]},g{number // 2},,1")
        rows.append(f"{number}.mp4,{'ab'[(number + 1) % 2]},g{number // 2},1,2")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    assert pack(tmp_path / "data.csv", tmp_path / "shards").exit_code == 0
    listing = read_data(tmp_path / "data.csv")
    expected = assign_splits(listing.items, Config().data)
    packed = load_items(tmp_path / "shards")
    names = ("label", "split", "group", "start_seconds", "end_seconds")
    assert [[getattr(item, name) for name in names] for item in packed] == [
        [getattr(item, name) for name in names] for item in expected
    ]
    assert len({item.path for item in packed}) == 12


def test_training_and_predicting_read_shards(
    shards: Path, small_config: Callable[..., Config], train_run: Callable[..., Run], tmp_path: Path
) -> None:
    first, second = (
        train_run(small_config(data__cache=cache), shards, cache, None) for cache in ("off", "memory")
    )
    assert [row.train_loss for row in first.rows] == [row.train_loss for row in second.rows]
    assert "000000.tar/" in (first.folder / "splits.csv").read_text()
    own = json.loads(run("eval", "--model", first.folder, "--json").stdout)
    given = json.loads(run("eval", shards, "--model", first.folder, "--json").stdout)
    assert (own["top1"], own["num_videos"], own["num_failed"]) == (given["top1"], 4, 0)
    pattern = shards / "{000000..000002}.tar"
    told = run("predict", pattern, "--model", first.folder, "--format", "json")
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(rows) == 16
    assert not any("error" in row for row in rows)
    (shards / "000001.tar").unlink()
    lost = run("predict", pattern, "--model", first.folder, "--format", "json")
    assert (lost.exit_code, "000001.tar: no such file" in lost.stderr) == (1, True)


def test_patterns_stand_for_names() -> None:
    assert list(expand_braces("a/{008..011}.tar")) == ["a/008.tar", "a/009.tar", "a/010.tar", "a/011.tar"]
    assert list(expand_braces("{b,c}-{1..2}.tar")) == ["b-1.tar", "b-2.tar", "c-1.tar", "c-2.tar"]
    assert list(expand_braces("{2..1}")) == ["2", "1"]
    assert list(expand_braces("{x}.tar")) == ["{x}.tar"]


def stop_once_there(pattern: str, pair_data: Path, out: Path) -> int:
    """Pack, send Ctrl-C when a file that fits is there, and return the exit code."""
    command = ["-m", "vidcli", "pack", pair_data, "-o", out]
    options = ["--short-side", "32", "--videos-per-shard", "6", "--quality", "1", "--quiet"]
    with Forked([*command, *options]) as process:
        for _ in range(12_000):
            if any(out.glob(pattern)) or process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    return process.returncode


def test_a_command_that_was_stopped_before_its_first_shard_goes_on(pair_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    assert stop_once_there(".vidcli-pack/*.mp4", pair_data, out) in (0, 130)
    if not any(out.glob("*.tar")):  # else it was quicker than the signal
        assert any((out / ".vidcli-pack").glob("*.mp4"))
        with pytest.raises(DataError, match="holds no"):
            read_shards(out)
    assert pack(pair_data, out).exit_code == 0
    assert pack(pair_data, tmp_path / "other").exit_code == 0
    assert (out / "000000.tar").read_bytes() == (tmp_path / "other" / "000000.tar").read_bytes()


def test_a_folder_that_was_begun_is_known_again(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out", "pack", ["a"], subject="this") as output:
        output.begin()
        (output.folder / "half").write_text("something to go on with")
    OutputFolder(tmp_path / "out", "pack", ["a"], subject="this")
    with pytest.raises(OutputError, match="wrote about this"):
        OutputFolder(tmp_path / "out", "pack", ["a"], subject="that")


def test_a_stopped_command_goes_on(pair_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    assert stop_once_there("000000.tar", pair_data, out) in (0, 130)
    first = (out / "000000.tar").stat().st_mtime_ns
    assert pack(pair_data, out).exit_code == 0
    assert (out / "000000.tar").stat().st_mtime_ns == first
    assert pack(pair_data, tmp_path / "other").exit_code == 0
    for name in ("000000.tar", "000001.tar", "000002.tar"):
        assert (out / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_other_shards_are_not_replaced(shards: Path, pair_data: Path) -> None:
    before = (shards / "000000.tar").read_bytes()
    next((pair_data / "train" / "left").iterdir()).unlink()
    told = pack(pair_data, shards)
    assert told.exit_code == 2
    assert "holds what `vidcli pack` wrote about 16 videos" in told.stderr
    assert (shards / "000000.tar").read_bytes() == before


def test_a_bad_video_is_named_and_the_others_are_packed(pair_data: Path, tmp_path: Path) -> None:
    bad = next((pair_data / "test" / "left").iterdir())
    bad.write_bytes(b"no video")
    told = pack(pair_data, tmp_path / "shards")
    assert told.exit_code == 1
    assert told.stderr.count("failed:") == 1
    assert str(bad) in told.stderr
    assert len(load_items(tmp_path / "shards")) == 15


def test_webdataset_reads_the_shards(shards: Path) -> None:
    pytest.importorskip("webdataset")
    script = (
        "import json, sys, webdataset\n"
        "for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):\n"
        "    print(json.loads(sample['json'])['label'], sample['mp4'][4:8].decode())"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(shards / "{000000..000002}.tar")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(told) == ["left ftyp"] * 8 + ["right ftyp"] * 8


def write_foreign(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def test_tar_files_of_other_programs(write_video: Callable[..., Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4").read_bytes()
    tar = write_foreign(
        tmp_path / "x.tar",
        {
            "k/1.mp4": video,
            "k/1.cls": b"jump\n",
            "k/2.mp4": video,
            "k/2.json": b'{"label": "sit"}',
            "k/3.json": b"{}",
            "k/4.mp4": video,
            "k/4.txt": b"run",
        },
    )
    assert [(item.path.name, item.label) for item in load_items(tar)] == [
        ("1.mp4", "jump"),
        ("2.mp4", "sit"),
        ("4.mp4", "run"),
    ]
    assert len(decode_frames(load_items(tar)[0].path).frames) == 8
    bare = write_foreign(tmp_path / "y.tar", {"1.mp4": video})
    with pytest.raises(DataError, match="1 of 1 videos have no label"):
        load_items(bare)
    assert len(collect_items(bare)) == 1


UNTRUE_INDEX = {"format": "vidcli-shard-1", "members": {}, "videos": [{"path": "a.mp4"}]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no whole tar file|holds no videos"),
        (b"no tar" * 200, "no whole tar file"),
        ({INDEX_NAME: b"{}"}, "expected the format vidcli-shard-1"),
        (
            {INDEX_NAME: b'{"format": "vidcli-shard-1", "members": {}, "videos": [{"path": "a"}]}'},
            "not in it",
        ),
        ({"../a.mp4": b"x", "../a.cls": b"x"}, "a member called"),
        ({"a.txt": b"x"}, "holds no videos"),
    ],
)
def test_a_damaged_shard_is_one_error(content: bytes | dict[str, bytes], told: str, tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    if isinstance(content, bytes):
        tar.write_bytes(content)
    else:
        write_foreign(tar, content)
    with pytest.raises(DataError, match=told):
        read_shards(tar)


def test_a_member_that_is_not_there_is_told(shards: Path) -> None:
    with pytest.raises(VideoError, match=r"nine\.mp4: no such file in 000000\.tar"):
        decode_frames(StoredPath(shards / "000000.tar" / "nine.mp4"))


def test_a_folder_called_like_a_tar_is_a_folder(write_video: Callable[..., Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "odd.tar" / "a.mp4")
    path = path_of(str(video))
    assert isinstance(path, StoredPath)
    assert path.exists()
    with open_source(path) as file:
        assert file.read() == video.read_bytes()
    assert len(decode_frames(path).frames) == 8
