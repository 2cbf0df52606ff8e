"""The runtimes that compute an exported model: bytes of its files to a function from clips to logits.

A runtime is given bytes, never a path: what it computes is what was checked, and there is nothing
beside it that it could read. No runtime that is loaded here reports to its maker.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from vidcli.artifacts.foreign_graphs import clean_ir, clean_onnx
from vidcli.errors import ExportError

Floats = npt.NDArray[np.float32]
Run: TypeAlias = Callable[[Floats], Floats]
"""From clips (B, T, C, H, W) to logits (B, K)."""

NETWORK_FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch-export": ("model.pt2",),
}
INPUT_NAME, OUTPUT_NAME = "clip", "logits"


def import_runtime(name: str) -> ModuleType:
    """Import one of the libraries of the extra `export`.

    Raises:
        ExportError: it is not installed; gives the command that installs it.
    """
    # ONNX Runtime, which others of them import too, would report its use to its maker, and open
    # connections for it. It reads this once, when it is first loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
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


def open_onnx(files: Mapping[str, bytes]) -> Run:
    """Return what ONNX Runtime makes of a model.

    Args:
        files: content of `NETWORK_FILES["onnx"]` by name.

    Raises:
        ExportError: the runtime is not installed.
        ValueError: the file holds what is never run.
        Exception: the runtime does not take it.
    """
    runtime = import_runtime("onnxruntime")
    (content,) = (files[name] for name in NETWORK_FILES["onnx"])
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.load_model_format", "ONNX")
    cleaned = clean_onnx(content, import_runtime("onnx"))
    session = runtime.InferenceSession(cleaned, options, providers=["CPUExecutionProvider"])
    _check_ends([value.name for value in session.get_inputs()], [v.name for v in session.get_outputs()])

    def run(clip_BTCHW: Floats) -> Floats:
        logits_BK: Floats = session.run([OUTPUT_NAME], {INPUT_NAME: clip_BTCHW})[0]
        return logits_BK

    return run


def open_openvino(files: Mapping[str, bytes]) -> Run:
    """Return what OpenVINO makes of a model.

    Args:
        files: content of `NETWORK_FILES["openvino"]` by name.

    Raises:
        ExportError: the runtime is not installed.
        ValueError: the files hold what is never run.
        Exception: the runtime does not take them.
    """
    runtime = import_runtime("openvino")
    xml, weights = (files[name] for name in NETWORK_FILES["openvino"])
    model = runtime.Core().read_model(clean_ir(xml, len(weights)), weights)
    return compile_openvino(model)


def compile_openvino(model: Any) -> Run:
    """Return what OpenVINO makes of an `openvino.Model`, which is left as it is.

    Raises:
        Exception: the runtime does not take it.
    """
    # Without the hint the plugin may round to half precision where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    with signal_stack_kept():
        compiled = import_runtime("openvino").Core().compile_model(model, "CPU", settings)
    _check_ends([value.any_name for value in compiled.inputs], [value.any_name for value in compiled.outputs])

    def run(clip_BTCHW: Floats) -> Floats:
        return np.array(compiled(clip_BTCHW)[0], dtype=np.float32)

    return run


def _check_ends(inputs: list[str], outputs: list[str]) -> None:
    if (inputs, outputs) != ([INPUT_NAME], [OUTPUT_NAME]):
        raise ValueError(f"does not make {OUTPUT_NAME} of a {INPUT_NAME}, and of nothing else")


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
