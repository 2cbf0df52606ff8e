"""Exported models, read back: folders that commands take wherever they take a model.

    FOLDER/vidcli.json                     what a model file's metadata holds, and how it was exported
    FOLDER/model.onnx                      `onnx`, run by ONNX Runtime
    FOLDER/model.xml, model.bin            `openvino`, run by OpenVINO
    FOLDER/model.pt2                       `torch-export`, run by torch

All of them compute on the CPU. Nothing in a folder is ever executed or unpickled, and no runtime
that is loaded here reports to its maker.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import inspect
import io
import json
import logging
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vidcli.checkpoint import EXPORT_FILE, Checkpoint, load_checkpoint, parse_description
from vidcli.errors import CheckpointError, ExportError
from vidcli.models.recurrence import recurrent_layer

Floats = npt.NDArray[np.float32]

NETWORK_FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch-export": ("model.pt2",),
}
INPUT_NAME, OUTPUT_NAME = "clip", "logits"

_NAME = re.compile(r"[^\W\d]\w*|__")
_SYMBOL = re.compile(r"\b[su]\d+\b")
_SIZE_WORDS = {
    *("Symbol", "Integer", "Add", "Mul", "Pow", "Max", "Min", "Mod", "FloorDiv", "CleanDiv", "PythonMod"),
    *("Eq", "Ne", "Le", "Lt", "Ge", "Gt", "positive", "integer", "nonnegative", "True", "False"),
}
"""What torch writes in the expressions of a program's sizes, beside symbols such as s39."""


class ExportedNetwork(nn.Module):
    """A network that another runtime computes, with the face of a `VideoClassifier`.

    Attributes:
        form: onnx, openvino or torch-export.
        precision: float32 or int8.
    """

    digest: Tensor

    def __init__(self, run: Callable[[Floats], Floats], form: str, precision: str, digest: str) -> None:
        super().__init__()
        # Its state tells networks apart, as weights would.
        self.register_buffer("digest", torch.frombuffer(bytearray(digest.encode()), dtype=torch.uint8))
        self._run = run
        self.form, self.precision = form, precision

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """Return logits_BK, computed on the CPU."""
        logits_BK = self._run(clip_BTCHW.detach().float().cpu().numpy())
        return torch.from_numpy(logits_BK).to(clip_BTCHW.device)


def load_network(path: Path) -> tuple[nn.Module, Checkpoint]:
    """Load a model file, or a folder that `vidcli export` wrote.

    Returns:
        the network in evaluation mode, and what it is; of an exported one without weights.

    Raises:
        CheckpointError: missing, damaged, or written by something else.
        ExportError: what would run it is not installed.
    """
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        return checkpoint.build(), checkpoint
    about = read_export(path)
    form, precision = about["export"]["format"], about["export"]["precision"]
    checkpoint = Checkpoint({}, **parse_description(about, path / EXPORT_FILE))
    digest = "".join(about["export"]["files"].values())
    return ExportedNetwork(open_network(path, form), form, precision, digest).eval(), checkpoint


def read_export(folder: Path) -> dict[str, Any]:
    """Return what `vidcli.json` of an exported model says, after checking that the files are its own.

    Raises:
        CheckpointError: a file is missing, damaged or of another export.
    """
    source = folder / EXPORT_FILE
    try:
        about = json.loads(source.read_text(encoding="utf-8"))
        digests: dict[str, str] = about["export"]["files"]
        expected = set(NETWORK_FILES[about["export"]["format"]])
        assert isinstance(about["export"]["precision"], str)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise CheckpointError(
            f"{source}: is not readable as the description of an exported model ({error}); "
            "export again with `vidcli export`"
        ) from error
    for name in expected:
        try:
            digest = digest_file(folder / name)
        except OSError as error:
            raise CheckpointError(
                f"{folder}: lacks {name} ({error.strerror}); copy the whole folder, or export again"
            ) from error
        if digests.get(name) != digest:
            raise CheckpointError(
                f"{folder / name}: is not the file that {EXPORT_FILE} beside it describes; it is damaged or "
                "of another export. Copy the whole folder, or export again"
            )
    return dict(about)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_network(folder: Path, form: str) -> Callable[[Floats], Floats]:
    """Return a function from clips (B, T, C, H, W) to logits (B, K).

    Raises:
        CheckpointError: the runtime does not take the file.
        ExportError: the runtime is not installed.
    """
    path = folder / NETWORK_FILES[form][0]
    openers = {"onnx": _open_onnx, "openvino": _open_openvino, "torch-export": _open_torch}
    try:
        return openers[form](path)
    except (CheckpointError, ExportError):
        raise
    except Exception as error:  # each runtime has errors of its own kind
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be loaded ({first_line}); export it again here") from error


def import_runtime(name: str) -> ModuleType:
    """Import one of the libraries of the extra `export`.

    Raises:
        ExportError: it is not installed; gives the command that installs it.
    """
    if name == "nncf":
        # It looks for a CUDA compiler when imported, and warns where there is none.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    if name in ("openvino", "nncf"):
        # Both send usage statistics to their maker as soon as they are imported, where this package
        # is found. It has no part in computing.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"{name} is not installed, or does not load ({error}); install it with: "
            "pip install 'vidcli[export]'"
        ) from error


def _open_onnx(path: Path) -> Callable[[Floats], Floats]:
    runtime = import_runtime("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(clip_BTCHW: Floats) -> Floats:
        logits_BK: Floats = session.run([OUTPUT_NAME], {INPUT_NAME: clip_BTCHW})[0]
        return logits_BK

    return run


def _open_openvino(path: Path) -> Callable[[Floats], Floats]:
    runtime = import_runtime("openvino")
    # Without the hint the plugin may round to half precision where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    with signal_stack_kept():
        compiled = runtime.Core().compile_model(runtime.Core().read_model(str(path)), "CPU", settings)

    def run(clip_BTCHW: Floats) -> Floats:
        return np.array(compiled(clip_BTCHW)[0], dtype=np.float32)

    return run


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Undo a change of the stack on which this thread handles signals.

    OpenVINO's CPU plugin sets one as large as the registers of the processor take, which leaves
    nothing for Python's own handlers: the next Ctrl-C, or child that ends, would crash the program.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    library, before = ctypes.CDLL(None), _SignalStack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)


def _open_torch(path: Path) -> Callable[[Floats], Floats]:
    _refuse_code(path)
    assert recurrent_layer is not None  # the operator that a program may call is registered by its import
    program = torch.export.load(path)
    # Tracing notes that neither T nor T - 1 was 1, for strides' sake; the operators take any T.
    takes_guards = "check_guards" in inspect.signature(program.module).parameters
    network = program.module(check_guards=False) if takes_guards else program.module()

    def run(clip_BTCHW: Floats) -> Floats:
        logits_BK: Floats = network(torch.from_numpy(clip_BTCHW)).detach().numpy()
        return logits_BK

    return run


def _refuse_code(path: Path) -> None:
    """Refuse a program that holds more than plain tensors and operators.

    torch would unpickle the objects in it, and evaluates the expressions of its sizes.

    Raises:
        CheckpointError: there is such, or the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            harmless = len(set(names)) == len(names)
            for name in names:
                if name.endswith(".json"):
                    harmless &= all(_is_harmless(entry) for entry in _walk(json.loads(archive.read(name))))
                elif name.endswith(".pt"):
                    with archive.open(name) as file:
                        torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True)
    except Exception as error:  # garbage makes the readers raise all kinds
        raise CheckpointError(
            f"{path}: is not a program of plain tensors and operators; export the model again"
        ) from error
    if not harmless:
        raise CheckpointError(f"{path}: holds code or pickled objects, which are never loaded")


def _walk(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping in a JSON value."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(child)


def _is_harmless(entry: Mapping[str, Any]) -> bool:
    expression = str(entry.get("expr_str", ""))
    return (
        not entry.get("use_pickle")
        and not str(entry.get("path_name", "")).startswith(("custom_obj", "opaque_obj"))
        and set(_NAME.findall(expression)) <= _SIZE_WORDS | set(_SYMBOL.findall(expression))
    )
