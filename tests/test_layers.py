"""The layer table holds, and what must be light is light."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidcli
from vidcli import models
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.config import load_config
from vidcli.models import build_model

PACKAGE = Path(vidcli.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Each module imports only modules of the lines above its own, and of its own folder.
LAYERS = (
    ("names", "arrays"),
    ("errors",),
    ("runtime",),
    ("storage",),
    ("sheets", "fonts", "palette", "sampling"),
    ("config",),
    ("video",),
    ("transforms",),
    ("models",),
    ("synthetic",),
    ("data",),
    ("features",),
    ("artifacts",),
    ("predict",),
    ("__init__",),
    ("evaluate", "explain", "serve"),
    ("report",),
    ("train",),
    ("doctor", "export", "studies"),
    ("review",),
    ("bench",),
    ("console",),
    ("commands",),
    ("__main__",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
# The same within vidcli/video: the parts of one line do not import each other.
VIDEO_LAYERS = (("codecs",), ("open",), ("exact",), ("live", "write"), ("__init__",))
VIDEO_HEIGHT = {name: height for height, names in enumerate(VIDEO_LAYERS) for name in names}
VIDEO_FILES = [file for file in FILES if file.is_relative_to(PACKAGE / "video")]
# A heavy library, and the only module that may import it.
OWNERS = {
    "av": "video",
    "rich": "console",
    "typer": "commands",
    "jinja2": "report",
    "fastapi": "serve",
    "uvicorn": "serve",
    "ray": "predict",
}
WITHOUT_TORCH = (
    "transforms",
    "models",
    "models.calibration",
    "models.timeline_rules",
    "data.frames",
    "artifacts.exported",
    "artifacts.description",
    "predict",
    "predict.results",
    "predict.live",
    "predict.saved_frames",
    "predict.timeline",
    "commands.videos",
    "console.prediction_writers",
    "console.timeline_writers",
    "runtime.threads",
    "runtime.devices",
)
"""What `predict`, `timeline` and `live` import for an exported model."""
HEAVY = ("torch", "torchvision", "av", "pydantic", "matplotlib", "rich")


def name_of(file: Path) -> str:
    """Return the first name below the package: `sheets` for sheets.py, `video` for video/probe.py."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports_of(source: str) -> list[str]:
    """Return the dotted names that a module imports anywhere, functions and type checks included."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return found


def layers_used_by(source: str) -> set[str]:
    """Return the modules of vidcli that a source imports."""
    dotted = [name.split(".") for name in imports_of(source)]
    return {parts[1] for parts in dotted if parts[0] == "vidcli" and len(parts) > 1}


def test_the_parser_sees_every_kind_of_import() -> None:
    source = (
        "import av.error\nfrom vidcli import train as t\ndef f():\n    from vidcli.data.frames import C\n"
    )
    assert imports_of(source) == ["av.error", "vidcli.train", "vidcli.data.frames.C"]
    assert layers_used_by(source) == {"train", "data"}


def test_every_module_has_a_layer() -> None:
    assert {name_of(file) for file in FILES} == set(HEIGHT)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_modules_import_only_those_above_them(file: Path) -> None:
    own = name_of(file)
    used = layers_used_by(file.read_text(encoding="utf-8")) - {own}
    wrong = {name for name in used if name not in HEIGHT or HEIGHT[name] >= HEIGHT.get(own, -1)}
    assert not wrong


def part_of_video(file: Path) -> str:
    """Return the first name below vidcli/video: `open` for open/probe.py."""
    return file.relative_to(PACKAGE / "video").parts[0].removesuffix(".py")


def test_every_part_of_video_has_a_layer() -> None:
    assert {part_of_video(file) for file in VIDEO_FILES} == set(VIDEO_HEIGHT)


@pytest.mark.parametrize("file", VIDEO_FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_parts_of_video_import_only_those_above_them(file: Path) -> None:
    own = part_of_video(file)
    dotted = [name.split(".") for name in imports_of(file.read_text(encoding="utf-8"))]
    used = {parts[2] for parts in dotted if parts[:2] == ["vidcli", "video"]} - {own}
    wrong = {name for name in used if VIDEO_HEIGHT.get(name, len(VIDEO_LAYERS)) >= VIDEO_HEIGHT[own]}
    assert not wrong


@pytest.mark.parametrize(("library", "owner"), OWNERS.items())
def test_one_module_owns_each_library(library: str, owner: str) -> None:
    importers = {
        name_of(file)
        for file in FILES
        if any(name.split(".")[0] == library for name in imports_of(file.read_text(encoding="utf-8")))
    }
    assert importers == {owner}


def heavy_imports_of(statement: str) -> list[str]:
    """Run a statement in a fresh interpreter and return the heavy libraries that it imported."""
    script = (
        f"import sys\ntry:\n    {statement}\nexcept SystemExit as leaving:\n    assert not leaving.code\n"
        f"print('HEAVY', *(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return done.stdout.splitlines()[-1].split()[1:]


def test_the_check_for_heavy_imports_can_fail() -> None:
    assert heavy_imports_of("import vidcli.config") == ["pydantic"]


def test_importing_the_package_is_light() -> None:
    assert heavy_imports_of("import vidcli") == []


@pytest.mark.parametrize(
    "statement",
    [
        "import vidcli.commands",
        "import runpy; sys.argv = ['vidcli', '--help']; runpy.run_module('vidcli', run_name='__main__')",
    ],
    ids=["import", "help"],
)
def test_the_command_line_is_light(statement: str) -> None:
    # typer itself brings rich where it formats help.
    assert set(heavy_imports_of(statement)) <= {"rich"}


def test_predicting_with_a_model_of_ours_needs_no_torchvision(motion_data: Path, tmp_path: Path) -> None:
    config = load_config(None, ["model.backbone=compact_cnn", "model.shift=on"])
    model = build_model(config.model, 3)
    checkpoint = Checkpoint(model.state_dict(), config, ("a", "b", "c"))
    save_checkpoint(tmp_path / "model.safetensors", checkpoint)
    video = next((motion_data / "test").rglob("*.mp4"))
    arguments = ["predict", str(video), "--model", str(tmp_path / "model.safetensors"), "--device", "cpu"]
    statement = f"from vidcli.commands import app; app({arguments})"
    assert set(heavy_imports_of(statement)) == {"torch", "av", "pydantic", "rich"}


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_exported_models_need_imports_no_torch(module: str) -> None:
    assert "torch" not in heavy_imports_of(f"import vidcli.{module}")


def test_no_module_of_models_hides_a_name_that_is_imported_from_there() -> None:
    modules = {file.stem for file in FILES if file.parent.name == "models"}
    assert modules.isdisjoint(models.__all__)
    assert all(hasattr(models, name) for name in models.__all__)


def test_no_module_is_called_utils() -> None:
    assert [file for file in FILES if "util" in file.stem or "helper" in file.stem] == []


def public_definitions(file: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield the module, and its public classes, their public methods and its public functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    yield "module", tree
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for member in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", member


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_everything_public_says_what_it_is(file: Path) -> None:
    silent = [
        name
        for name, node in public_definitions(file)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and not ast.get_docstring(node)
    ]
    assert silent == []
