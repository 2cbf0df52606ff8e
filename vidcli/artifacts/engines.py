"""The engines that compute an exported model: ONNX Runtime and OpenVINO.

An engine receives the bytes of a model that were checked, never a path, so that it can read no other file.
No engine that is loaded here reports its use to its maker.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from vidcli.arrays import Float32
from vidcli.artifacts.foreign_graphs import clean_ir, clean_onnx
from vidcli.artifacts.graph_parts import FEATURES_NAME, WHOLE, Part, cut_onnx, cut_openvino
from vidcli.errors import ExportError
from vidcli.runtime.compat import onnx_messages
from vidcli.runtime.threads import num_computing_threads

Run: TypeAlias = Callable[[Float32], Float32]
"""Takes clips (B, T, C, H, W); returns logits (B, K). Or computes a part of a network: see `graph_parts`."""

NETWORK_FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch-export": ("model.pt2",),
}
"""The files of an exported network, by format."""


def import_runtime(name: str) -> ModuleType:
    """Import a library of the extra `export`.

    Raises:
        ExportError: the library is not installed.
    """
    # ONNX Runtime, which other libraries import too, would report its use to its maker over the network.
    # It reads this variable once, when it is first loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if name == "nncf":
        # NNCF looks for a CUDA compiler when it is imported, and warns if there is none.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    if name in ("openvino", "nncf"):
        # Both send usage statistics to their maker on import if they find this package, which they do
        # not need otherwise.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(name, error) from error


def _missing(name: str, error: ImportError) -> ExportError:
    return ExportError(
        f"{name} is not installed, or does not load ({error}); install it with: pip install 'vidcli[export]'"
    )


def open_onnx(files: Mapping[str, bytes], num_callers: int = 1, part: Part = WHOLE) -> Run:
    """Return a function that computes a model with ONNX Runtime.

    Args:
        files: content of the files `NETWORK_FILES["onnx"]` by name.
        num_callers: number of threads that call the function at the same time and share the cores.
        part: what of the model is computed.

    Raises:
        ExportError: ONNX Runtime is not installed.
        ValueError: the model holds something that is never run.
        Exception: ONNX Runtime cannot load the model.
    """
    runtime = import_runtime("onnxruntime")
    (content,) = (files[name] for name in NETWORK_FILES["onnx"])
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = max(1, num_computing_threads() // num_callers)
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        messages = onnx_messages()
    except ImportError as error:
        raise _missing("onnx", error) from error
    cleaned = cut_onnx(clean_onnx(content, messages), part, messages)
    session = runtime.InferenceSession(cleaned, options, providers=["CPUExecutionProvider"])
    _check_ends([value.name for value in session.get_inputs()], [v.name for v in session.get_outputs()], part)
    source, result = part

    def run(clip_BTCHW: Float32) -> Float32:
        logits_BK: Float32 = session.run([result], {source: clip_BTCHW})[0]
        return logits_BK

    return run


def open_openvino(files: Mapping[str, bytes], num_callers: int = 1, part: Part = WHOLE) -> Run:
    """Return a function that computes a model with OpenVINO.

    Args:
        files: content of the files `NETWORK_FILES["openvino"]` by name.
        num_callers: number of threads that call the function at the same time and share the cores.
        part: what of the model is computed.

    Raises:
        ExportError: OpenVINO is not installed.
        ValueError: the model holds something that is never run.
        Exception: OpenVINO cannot load the model.
    """
    runtime = import_runtime("openvino")
    xml, weights = (files[name] for name in NETWORK_FILES["openvino"])
    model = _core(runtime).read_model(clean_ir(xml, len(weights)), weights)
    return compile_openvino(cut_openvino(model, part, runtime), num_callers, part)


@functools.lru_cache(maxsize=1)
def _core(runtime: ModuleType) -> Any:
    """Return what reads and compiles models; each one made looks for devices anew."""
    return runtime.Core()


def compile_openvino(model: Any, num_callers: int = 1, part: Part = WHOLE) -> Run:
    """Return a function that computes an `openvino.Model`, which stays unchanged.

    Args:
        model: the model.
        num_callers: number of threads that call the function at the same time and share the cores.
        part: what the model takes and gives.

    Raises:
        Exception: OpenVINO cannot compile the model.
    """
    # Without the hint the plugin may round to half precision if the processor has it.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": num_computing_threads(),
        "NUM_STREAMS": num_callers,
    }
    with signal_stack_kept():
        compiled = _core(import_runtime("openvino")).compile_model(model, "CPU", settings)
    _check_ends(
        [value.any_name for value in compiled.inputs], [value.any_name for value in compiled.outputs], part
    )

    requests = threading.local()  # one that is in work takes no other clip

    def run(clip_BTCHW: Float32) -> Float32:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return np.array(requests.own.infer(clip_BTCHW)[compiled.outputs[0]], dtype=np.float32)

    return run


def _check_ends(inputs: list[str], outputs: list[str], part: Part) -> None:
    source, result = part
    # A whole network may give features beside logits.
    if inputs != [source] or outputs[:1] != [result] or outputs[1:] not in ([], [FEATURES_NAME]):
        raise ValueError(f"does not make {result} of a {source} alone")


class _SignalStack(ctypes.Structure):
    """The structure `stack_t` of Linux."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Undo a change of the stack on which this thread handles signals.

    OpenVINO's CPU plugin sets a stack that is just large enough for the registers of the processor and
    leaves no room for Python's handlers. The next Ctrl-C, or the end of a child process, would crash the
    program.
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
