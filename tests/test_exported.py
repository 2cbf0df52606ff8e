"""Exported folders are read with care: whole, unchanged, and without running anything in them."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from vidcli import exported
from vidcli.errors import CheckpointError, ExportError
from vidcli.exported import import_runtime, open_network, read_export


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported program whose batch is free."""
    folder = tmp_path_factory.mktemp("program")
    free = {0: torch.export.Dim.DYNAMIC}
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    torch.export.save(
        torch.export.export(model, (torch.zeros(2, 12),), dynamic_shapes=(free,)), folder / "model.pt2"
    )
    return folder


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def rewrite(source: Path, target: Path, changes: dict[str, bytes]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            short = name.partition("/")[2]
            new.writestr(name, changes.get(short, old.read(name)))


def test_an_honest_program_runs(program: Path) -> None:
    assert open_network(program, "torch-export")(torch.zeros(3, 12).numpy()).shape == (3, 2)


def test_pickled_inputs_are_never_loaded(program: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    rewrite(
        program / "model.pt2",
        tmp_path / "model.pt2",
        {"data/sample_inputs/model.pt": pickle.dumps(Canary(canary))},
    )
    with pytest.raises(CheckpointError, match="plain tensors"):
        open_network(tmp_path, "torch-export")
    assert not canary.exists()


def test_pickled_weights_are_never_loaded(program: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with zipfile.ZipFile(program / "model.pt2") as archive:
        name = next(name for name in archive.namelist() if name.endswith("weights_config.json"))
        config = json.loads(archive.read(name))
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    changes = {
        name.partition("/")[2]: json.dumps(config).encode(),
        f"data/weights/{entry['path_name']}": pickle.dumps(Canary(canary)),
    }
    rewrite(program / "model.pt2", tmp_path / "model.pt2", changes)
    with pytest.raises(CheckpointError, match="never loaded"):
        open_network(tmp_path, "torch-export")
    assert not canary.exists()


def test_expressions_of_sizes_are_not_evaluated(program: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with zipfile.ZipFile(program / "model.pt2") as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith("models/model.json"))).decode()
    symbol = text.split('"expr_str": "', 1)[1].split('"', 1)[0]
    hostile = f"__import__('os').mkdir('{canary}')"
    rewrite(
        program / "model.pt2",
        tmp_path / "model.pt2",
        {"models/model.json": text.replace(symbol, hostile).encode()},
    )
    with pytest.raises(CheckpointError, match="never loaded"):
        open_network(tmp_path, "torch-export")
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("form", ["onnx", "openvino", "torch-export"])
def test_garbage_is_named(form: str, content: bytes, tmp_path: Path) -> None:
    for name in exported.NETWORK_FILES[form]:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="export"):
        open_network(tmp_path, form)


@pytest.mark.parametrize(
    "about", ["", "[]", "{}", '{"export": {"format": "tflite", "files": {}, "precision": ""}}']
)
def test_a_foreign_description_is_named(about: str, tmp_path: Path) -> None:
    (tmp_path / "vidcli.json").write_text(about)
    with pytest.raises(CheckpointError, match=r"vidcli\.json"):
        read_export(tmp_path)


def test_a_missing_or_changed_file_is_named(program: Path, tmp_path: Path) -> None:
    shutil.copy(program / "model.pt2", tmp_path)
    digest = exported.digest_file(tmp_path / "model.pt2")
    about = {"export": {"format": "torch-export", "precision": "float32", "files": {"model.pt2": digest}}}
    (tmp_path / "vidcli.json").write_text(json.dumps(about))
    assert read_export(tmp_path) == about
    with (tmp_path / "model.pt2").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        read_export(tmp_path)
    (tmp_path / "model.pt2").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model\.pt2"):
        read_export(tmp_path)


def test_a_missing_library_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'vidcli\[export\]'"):
        import_runtime("onnxruntime")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signal stacks as on Linux")
def test_openvino_leaves_the_stack_for_signals_alone(tmp_path: Path) -> None:
    """A handler on the small stack that its plugin sets would crash the program at Ctrl-C."""
    from vidcli.export.convert import to_onnx, to_openvino, trace, write_openvino

    class Sums(nn.Module):
        def forward(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
            return clip_BTCHW.sum(dim=(2, 3, 4))

    def signal_stack() -> tuple[int | None, int, int]:
        stack = exported._SignalStack()
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
        return stack.ss_sp, stack.ss_flags, stack.ss_size

    before = signal_stack()
    write_openvino(to_openvino(to_onnx(trace(Sums(), 2, 4, 4, False)), tmp_path), tmp_path)
    run = open_network(tmp_path, "openvino")
    assert run(torch.ones(1, 2, 3, 4, 4).numpy()).tolist() == [[48.0, 48.0]]
    assert signal_stack() == before
