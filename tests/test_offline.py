"""Everything stays on the machine: no command opens a socket, and no model file tells where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
from typer.testing import CliRunner

import vidcli
from tests.socket_guard import NO_GUARD
from vidcli.commands.app import app
from vidcli.config import Config, config_to_yaml

EXPORTS = (  # to int8 by way of float
    ("onnx", ("--int8", "--max-drop", 1)),
    ("openvino", ("--int8", "--max-drop", 1)),
    ("torch-export", ()),
)


def run_guarded(argument: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(vidcli.__file__).parents[1]),
        "COLUMNS": "200",
        # Where a machine has opted out of a library's reports, this test would see nothing of them.
        "ORT_DISABLE_TELEMETRY": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.socket_guard", argument],
        capture_output=True, text=True, check=False, timeout=600, cwd=cwd, env=environment,
    )  # fmt: skip
    if done.returncode == NO_GUARD:
        pytest.skip("this kernel does not let a process filter its own system calls")
    return done


@pytest.fixture(scope="module")
def trained(
    two_classes: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run after everything that can be done with one, where no socket can be opened."""
    folder = tmp_path_factory.mktemp("offline")
    run, recipe = folder / "run", folder / "recipe.yaml"
    recipe.write_text(config_to_yaml(small_config(train__plots=True)))
    video, other = sorted((two_classes / "test" / "left").iterdir())[:2]
    small = [f"--set={name}" for name in ("model.width=16", "model.hidden=16", "train.epochs=1")]
    commands: list[tuple[object, ...]] = [
        ("train", two_classes, "--dry-run", "--config", recipe),
        ("train", two_classes, "--out", run, "--config", recipe),
        ("train", "--resume", run),
        (
            "train",
            two_classes,
            "--out",
            folder / "auto",
            "--set",
            "train.contender=off",
            "--set",
            "clip.size=96x32",
            "--set",
            "clip.length=2",
        ),
        ("predict", video, "--model", folder / "auto"),
        ("eval", "--model", run, "--out", folder / "eval"),
        ("eval", "--model", run, "--against", run, "--json", "--out", folder / "against"),
        ("eval", "--model", run, "--views-sweep", "--out", folder / "sweep"),
        ("predict", video, "--model", run, "--format", "json", "--views", 2),
        ("predict", video, other, "--model", run, "--output", folder / "results.parquet"),
        ("predict", video, "--model", run, "--annotate", folder / "annotated.mp4"),
        ("predict", video, "--timeline", "--model", run, "--picture", folder / "timeline.png"),
        ("explain", video, "--model", run, "--out", folder / "why"),
        ("report", run, "--out", folder / "report.html"),
        ("check", two_classes / "test"),
        ("models",),
        ("models", "show", run),
        ("settings",),
        ("cache",),
        ("demo", "--count", 1, "--length", 8, "--size", 32, "--out", folder / "demo", *small),
        ("bench", "predict", two_classes / "test", "--model", run, "--rounds", 1),
    ]
    for number, (form, options) in enumerate(EXPORTS):
        exported = folder / f"export{number}"
        commands.append(("export", "--model", run, "--format", form, *options, "--out", exported))
        if form != "torch-export":
            commands.append(("predict", video, "--model", exported, "--format", "csv"))
    commands += [
        ("bench", "infer", "--model", run, "--model", folder / "export0", "--rounds", 1, "--no-compile"),
        ("eval", two_classes, "--model", folder / "export1", "--out", folder / "of-export"),
    ]
    done = run_guarded(json.dumps([list(map(str, command)) for command in commands]), folder)
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return run


def test_the_guard_can_fail(tmp_path: Path) -> None:
    """A socket that is opened as a C library does it, unseen by Python, ends the process."""
    assert run_guarded("--open", tmp_path).returncode == -signal.SIGSYS


def test_no_command_opens_a_socket(trained: Path) -> None:
    folder = trained.parent
    made = (
        "run/model.safetensors",
        "eval/eval.json",
        "why/sheet.png",
        "export0/model.onnx",
        "report.html",
        "auto/model.safetensors",
    )
    assert [name for name in made if not (folder / name).is_file()] == []


def test_a_runtime_may_not_report_whatever_the_environment_says() -> None:
    script = "from vidcli.artifacts.engines import import_runtime; import os; import_runtime('onnxruntime')"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(os.environ['ORT_DISABLE_TELEMETRY'])"],
        capture_output=True, text=True, check=True, env={**os.environ, "ORT_DISABLE_TELEMETRY": "0"},
    )  # fmt: skip
    assert done.stdout.strip() == "1"


def test_model_files_tell_no_paths(trained: Path, two_classes: Path) -> None:
    content = (trained / "model.safetensors").read_bytes()
    assert str(two_classes).encode() not in content
    assert str(trained).encode() not in content
    assert next((two_classes / "train" / "left").iterdir()).name.encode() not in content


def test_models_show_tells_all_that_is_inside(trained: Path) -> None:
    done = CliRunner().invoke(app, ["models", "show", str(trained)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    with safetensors.safe_open(trained / "model.safetensors", framework="pt") as file:
        stored = json.loads(file.metadata()["vidcli"])
        names = set(file.keys())
    assert {key: told[key] for key in stored} == stored
    assert set(told["weights"]) == names
