"""Everything stays on the machine: no command opens a connection, and no model file tells where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
from typer.testing import CliRunner

import vidcli
from vidcli.cli import app
from vidcli.config import Config, config_to_yaml

_SCRIPT = """
import json, os, socket, sys
def refuse(*args, **kwargs):
    print("a connection was opened", file=sys.stderr, flush=True)
    os._exit(1)  # whatever would be caught, or is in a thread
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
if sys.argv[1] == "--try":
    socket.create_connection(("localhost", 9))
from vidcli.cli import app
for command in json.loads(sys.argv[1]):
    try:
        app(command, prog_name="vidcli")
    except SystemExit as leaving:
        if leaving.code:
            sys.exit(f"{command}: {leaving.code}")
"""


def run_offline(argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, argument],
        capture_output=True, text=True, check=False, timeout=300, cwd=Path(vidcli.__file__).parents[1],
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run after everything that can be done with one, where no connection can be opened."""
    folder = tmp_path_factory.mktemp("offline")
    run, recipe = folder / "run", folder / "recipe.yaml"
    recipe.write_text(config_to_yaml(small_config()))
    video = next((motion_data / "test" / "left").iterdir())
    commands = (
        ("train", motion_data, "--out", run, "--config", recipe),
        ("eval", "--model", run, "--out", folder / "eval"),
        ("predict", video, "--model", run, "--format", "json"),
        ("explain", video, "--model", run, "--out", folder / "why"),
        ("export", "--model", run, "--format", "openvino", "--out", folder / "exported"),
        ("predict", video, "--model", folder / "exported"),
        ("check", motion_data),
        ("models", "show", run),
    )
    done = run_offline(json.dumps([list(map(str, command)) for command in commands]))
    assert done.returncode == 0, (done.stderr, done.stdout)
    return run


def test_the_guard_can_fail() -> None:
    assert "a connection was opened" in run_offline("--try").stderr


def test_no_command_opens_a_connection(trained: Path) -> None:
    folder = trained.parent
    made = ("run/model.safetensors", "eval/eval.json", "why/sheet.png", "exported/model.xml")
    assert [name for name in made if not (folder / name).is_file()] == []


def test_model_files_tell_no_paths(trained: Path, motion_data: Path) -> None:
    content = (trained / "model.safetensors").read_bytes()
    assert str(motion_data).encode() not in content
    assert str(trained).encode() not in content
    assert next((motion_data / "train" / "left").iterdir()).name.encode() not in content


def test_models_show_tells_all_that_is_inside(trained: Path) -> None:
    done = CliRunner().invoke(app, ["models", "show", str(trained)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    with safetensors.safe_open(trained / "model.safetensors", framework="pt") as file:
        stored = json.loads(file.metadata()["vidcli"])
        names = set(file.keys())
    assert {key: told[key] for key in stored} == stored
    assert set(told["weights"]) == names
