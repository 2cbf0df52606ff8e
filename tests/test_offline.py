"""Everything stays on the machine: no command opens a connection, and no model file tells where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors

import vidcli
from vidcli.config import Config, config_to_yaml

_SCRIPT = """
import socket, sys
def refuse(*args, **kwargs):
    raise SystemExit("a connection was opened")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
if sys.argv[1] == "--try":
    socket.create_connection(("localhost", 9))
from vidcli.cli import app
app(sys.argv[1:], prog_name="vidcli")
"""


def run_offline(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, *(str(arg) for arg in args)],
        capture_output=True, text=True, check=False, timeout=300, cwd=Path(vidcli.__file__).parents[1],
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("offline")
    (folder / "recipe.yaml").write_text(config_to_yaml(small_config()))
    done = run_offline("train", motion_data, "--out", folder / "run", "--config", folder / "recipe.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_guard_can_fail() -> None:
    assert "a connection was opened" in run_offline("--try").stderr


def test_no_command_opens_a_connection(trained: Path, motion_data: Path, tmp_path: Path) -> None:
    video = next((motion_data / "test" / "left").iterdir())
    commands = (
        ("eval", "--model", trained, "--out", tmp_path / "eval"),
        ("predict", video, "--model", trained, "--format", "json"),
        ("explain", video, "--model", trained, "--out", tmp_path / "why"),
        ("export", "--model", trained, "--format", "openvino", "--out", tmp_path / "exported"),
        ("predict", video, "--model", tmp_path / "exported"),
        ("check", motion_data),
        ("models", "show", trained),
    )
    for command in commands:
        done = run_offline(*command)
        assert done.returncode == 0, (command, done.stderr, done.stdout)


def test_model_files_tell_no_paths(trained: Path, motion_data: Path) -> None:
    content = (trained / "model.safetensors").read_bytes()
    assert str(motion_data).encode() not in content
    assert str(trained).encode() not in content
    assert next((motion_data / "train" / "left").iterdir()).name.encode() not in content


def test_models_show_tells_all_that_is_inside(trained: Path) -> None:
    done = run_offline("models", "show", trained)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with safetensors.safe_open(trained / "model.safetensors", framework="pt") as file:
        stored = json.loads(file.metadata()["vidcli"])
        names = set(file.keys())
    assert {key: told[key] for key in stored} == stored
    assert set(told["weights"]) == names
