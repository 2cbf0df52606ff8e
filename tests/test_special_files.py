"""Pipes, devices, sockets and folders in the place of files are named at once, and never waited for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.config import Config, config_to_yaml
from vidcli.data.items import VideoItem
from vidcli.data.store import Store, StoredArrays
from vidcli.runtime.files import open_regular, read_at_most, read_regular, require_regular

KINDS = {"pipe": "a pipe", "device": "a device", "socket": "a socket", "folder": "a folder"}


@pytest.fixture(autouse=True)
def impatience() -> Iterator[None]:
    """Fail a test that waits for the other end of a pipe."""

    def give_up(*_: object) -> None:
        raise AssertionError("waited")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def make(kind: str, path: Path) -> Path:
    """Put something there that is no regular file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path may have a hundred bytes only
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(here)
    return path


def run(*args: object, feed: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=feed, env={"COLUMNS": "500"})


@pytest.fixture(scope="module")
def trained(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("special") / "run"
    recipe = folder.with_name("recipe.yaml")
    recipe.write_text(config_to_yaml(small_config()))
    result = run("train", motion_data, "--out", folder, "--config", recipe)
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path / "x")
    for read in (require_regular, open_regular, lambda path: read_regular(path, 10)):
        with pytest.raises(OSError, match=f"is {KINDS[kind]}, where a regular file was expected"):
            read(path)


def test_what_is_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="holds more than"):
        read_regular(path, 4)
    with open_regular(path) as file, pytest.raises(OSError, match="holds more than"):
        read_at_most(file, 4, "x")
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole
    with pytest.raises(OSError, match="holds more than 1 MiB"):
        read_regular(path, 2**20)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
@pytest.mark.parametrize(
    ("command", "suffix"),
    [
        ("predict {video} --model {x}", ""),
        ("predict {video} --model {x}", ".safetensors"),
        ("eval {data} --model {x}", ".safetensors"),
        ("eval --model {run} --against {x}", ""),
        ("explain {video} --model {x}", ""),
        ("export --model {x}", ""),
        ("models show {x}", ""),
        ("bench infer --model {x}", ".safetensors"),
        ("train {data} --config {x} --out {out}", ".yaml"),
        ("train {data} --set model.weights={x} --out {out}", ".safetensors"),
        ("train {data} --set model.weights={x} --out {out}", ".pth"),
        ("train {x} --out {out}", ".csv"),
        ("train {x} --out {out}", ".mp4"),
        ("check {x}", ".csv"),
        ("eval {x} --model {run}", ".tsv"),
        ("export --model {run} --format onnx --data {x}", ".csv"),
        ("predict {x} --model {run}", ".mp4"),
        ("predict {x} --model {run}", ".csv"),
        ("predict {x} --timeline --model {run}", ".mp4"),
        ("explain {x} --model {run} --out {out}", ".mp4"),
    ],
)
def test_every_input_of_every_command(
    command: str, suffix: str, kind: str, trained: Path, motion_data: Path, tmp_path: Path
) -> None:
    video = next((motion_data / "test" / "left").iterdir())
    given = {
        "x": make(kind, tmp_path / f"x{suffix}"),
        "video": video,
        "data": motion_data,
        "run": trained,
        "out": tmp_path / "out",
    }
    result = run(*(word.format(**given) for word in command.split()))
    assert result.exit_code in (1, 2), result.output
    assert "regular file" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_a_special_file_among_videos(kind: str, trained: Path, motion_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(motion_data / "train", data)
    odd = make(kind, data / "left" / "odd.mp4")
    video = next((motion_data / "test" / "left").iterdir())
    table = tmp_path / "table.csv"
    table.write_text(f"path,label\n{video},left\n{odd},up\n")
    for command in (["predict", data / "left"], ["predict", table]):
        result = run(*command, "--model", trained, "--format", "json")
        assert result.exit_code == 1
        assert f"{odd}: is not a regular file" in result.stderr
        assert '"predictions": [{' in result.stdout
    listed = run("eval", table, "--model", trained, "--split", "all", "--out", tmp_path / "e")
    assert listed.exit_code == 1
    assert f"{odd}: is no regular file" in listed.stderr
    checked = run("check", data, "--format", "json")
    assert checked.exit_code == 1
    assert "is not a regular file" in checked.output


def test_a_list_may_come_through_a_pipe(trained: Path, motion_data: Path) -> None:
    video = next((motion_data / "test" / "left").iterdir())
    command = f"{sys.executable} -m vidcli predict --from-list <(sleep 1; echo {video}) --model {trained}"
    done = subprocess.run(
        ["bash", "-c", f"{command} --format json"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert str(video) in done.stdout


@pytest.mark.parametrize("kind", ["device", "socket", "folder"])
def test_a_list_that_is_none(kind: str, trained: Path, tmp_path: Path) -> None:
    result = run("predict", "--from-list", make(kind, tmp_path / "list"), "--model", trained)
    assert result.exit_code == 1
    assert f"cannot be read (is {KINDS[kind]}, where a regular file was expected)" in result.stderr


def test_a_pipe_that_nobody_writes_to_is_an_empty_list(trained: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    result = run("predict", "--from-list", tmp_path / "list", "--model", trained)
    assert result.exit_code == 1
    assert "names no videos" in result.stderr


def test_lists_without_end_are_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcli.predict.inputs._MAX_LIST_BYTES", 2**20)
    monkeypatch.setattr("vidcli.predict.inputs._MAX_LIST_PATHS", 1000)
    (tmp_path / "long").write_bytes(b"a" * (2**20 + 1))
    (tmp_path / "many").write_bytes(b"a\n" * 1001)
    for name, told in (("long", "holds more than 1 MiB"), ("many", "holds more than 1000 lines")):
        result = run("predict", "--from-list", tmp_path / name, "--model", trained)
        assert result.exit_code == 1
        assert told in result.stderr
    fed = run("predict", "--from-list", "-", "--model", trained, feed=b"a" * (2**20 + 1))
    assert fed.exit_code == 1
    assert "holds more than 1 MiB" in fed.stderr


def test_cache_files_that_are_none(
    trained: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="is a pipe"):
        StoredArrays(make("pipe", tmp_path / "x.npy"))
    video = next((motion_data / "test" / "left").iterdir())
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "features"))
    kept, item = Store("features", ["x"], 2**30), VideoItem(video, "left")
    kept.write(item, {"features": np.zeros((2, 3), np.float32)})
    assert kept.read(item, lambda stored: stored.take("features")) is not None
    (file,) = kept.folder.iterdir()
    file.unlink()
    os.mkfifo(file)
    assert kept.read(item, lambda stored: stored.take("features")) is None
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "frames"))
    settings = [f"--set={name}" for name in ("data.cache=disk", "train.epochs=1", "train.plots=false")]
    command = ("train", motion_data, "--config", trained / "config.yaml", *settings, "--out")
    assert run(*command, tmp_path / "one").exit_code == 0
    stored = sorted((tmp_path / "frames").rglob("*.npy"))
    assert stored
    for path in stored:
        path.unlink()
        os.mkfifo(path)
    again = run(*command, tmp_path / "two")
    assert again.exit_code == 0, again.output
    assert "is a pipe, where a regular file was expected); videos that are not in it yet" in again.stderr
