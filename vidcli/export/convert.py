"""A network to a file that another runtime reads: ONNX, OpenVINO or an exported torch program.

    model -> torch.export -> model.pt2
                  │
                  └-> ONNX -> model.onnx
                        │
                        └-> OpenVINO -> model.xml, model.bin

Shape suffixes: B clips, T frames, C channels, H W pixels. B is always free, T where asked for.
"""

from __future__ import annotations

import inspect
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidcli.artifacts.exported import INPUT_NAME, NETWORK_FILES, OUTPUT_NAME, Floats, Run, import_runtime
from vidcli.errors import ExportError
from vidcli.models.networks import exportable_masks
from vidcli.models.recurrence import make_exportable
from vidcli.runtime.files import temporary_file

_OPSET = 18
_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


def trace(model: nn.Module, clip_length: int, height: int, width: int, any_length: bool) -> Any:
    """Return a model as a `torch.export.ExportedProgram`, without a trace of where it was made.

    Args:
        model: takes clips (B, T, 3, H, W).
        clip_length: T; with `any_length` only an example.
        any_length: leave T free.

    Raises:
        ExportError: torch cannot trace the model.
    """
    free = torch.export.Dim.DYNAMIC
    # Sizes of 0 and 1 would be taken for constants.
    example_BTCHW = torch.zeros(2, max(2, clip_length), 3, height, width)
    shapes = {0: free, 1: free} if any_length else {0: free}
    try:
        with torch.no_grad(), exportable_masks(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own future, not about this model
            program = torch.export.export(
                make_exportable(model), (example_BTCHW,), dynamic_shapes=(shapes,), strict=False
            )
    except Exception as error:  # torch's tracer raises what the code it traces raises
        raise ExportError(f"the model cannot be traced for export ({_first_line(error)})") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def network_files(network: Any, form: str, folder: Path) -> dict[str, bytes]:
    """Return the files of a converted model, by name.

    Args:
        network: `torch.export.ExportedProgram`, `onnx.ModelProto` or `openvino.Model`.
        form: torch-export, onnx or openvino.
        folder: for two temporary files of OpenVINO, which writes nowhere else.
    """
    if form == "openvino":
        return _openvino_files(network, folder)
    (name,) = NETWORK_FILES[form]
    if form == "onnx":
        return {name: network.SerializeToString()}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own future, not about this model
        torch.export.save(network, buffer)
    return {name: buffer.getvalue()}


def _openvino_files(model: Any, folder: Path) -> dict[str, bytes]:
    model.set_rt_info({}, "conversion_parameters")  # which tells where it was made
    # The weights go beside the graph, under its name.
    with temporary_file(folder, ".xml") as graph:
        weights = graph.with_suffix(".bin")
        try:
            import_runtime("openvino").save_model(model, str(graph), compress_to_fp16=False)
            paths = (graph, weights)
            return {
                name: path.read_bytes() for name, path in zip(NETWORK_FILES["openvino"], paths, strict=True)
            }
        finally:
            weights.unlink(missing_ok=True)


def open_program(program: Any) -> Run:
    """Return what torch makes of a program that this process has traced."""
    # Tracing notes that neither T nor T - 1 was 1, for strides' sake; the operators take any T.
    takes_guards = "check_guards" in inspect.signature(program.module).parameters
    network = program.module(check_guards=False) if takes_guards else program.module()

    def run(clip_BTCHW: Floats) -> Floats:
        logits_BK: Floats = network(torch.from_numpy(clip_BTCHW)).detach().numpy()
        return logits_BK

    return run


def to_onnx(program: Any) -> Any:
    """Return a traced model as an `onnx.ModelProto`, its layers named as in the torch model.

    Raises:
        ExportError: onnx or onnxscript is not installed, or does not know an operation.
    """
    onnx = import_runtime("onnx")
    import_runtime("onnxscript")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the exporter's own future, not about this model
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                opset_version=_OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                custom_translation_table=_onnx_translations(),
            )
    except Exception as error:  # the exporter raises what its passes raise
        raise ExportError(f"the model cannot be written as ONNX ({_first_line(error)})") from error
    assert exported is not None
    proto = exported.model_proto
    _name_layers(proto)
    onnx.checker.check_model(proto)
    return proto


def to_openvino(proto: Any, folder: Path) -> Any:
    """Return an ONNX model as an `openvino.Model`; `folder` is for a temporary file.

    Raises:
        ExportError: openvino is not installed, or does not know an operation.
    """
    openvino = import_runtime("openvino")
    try:
        with temporary_file(folder, ".onnx") as temporary:
            import_runtime("onnx").save(proto, str(temporary))
            return openvino.convert_model(str(temporary))
    except RuntimeError as error:
        raise ExportError(f"OpenVINO does not take the model ({_first_line(error)})") from error


def _onnx_translations() -> dict[Any, Any]:
    """Return how the operator of recurrent layers is written in ONNX."""
    from onnxscript import opset18 as op

    def translate(x: Any, weight: Any, recurrent_weight: Any, bias: Any, kind: str) -> Any:
        shared = {
            "hidden_size": recurrent_weight.shape[2],
            "direction": "bidirectional" if weight.shape[0] == 2 else "forward",
        }
        if kind == "LSTM":
            states, last, _ = op.LSTM(x, weight, recurrent_weight, bias, **shared)
        elif kind == "GRU":
            states, last = op.GRU(x, weight, recurrent_weight, bias, linear_before_reset=1, **shared)
        else:
            states, last = op.RNN(x, weight, recurrent_weight, bias, **shared)
        return states, last

    return {torch.ops.vidcli.recurrent_layer.default: translate}


def _name_layers(proto: Any) -> None:
    """Name every node after the layer it came from, and drop the rest of what the exporter noted.

    The notes hold paths of this machine; names such as `backbone.layer1.0.conv1` let messages say
    which layer they are about.
    """
    taken: set[str] = set()
    for node in proto.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _NAME_SCOPES), "[]")
        parts = scopes.strip("[]'").split("', '")[:-1]
        layer = next((part for part in reversed(parts) if part and not part.startswith("_")), "")
        name, number = f"{layer or 'model'}/{node.op_type}", 1
        while name in taken:
            number += 1
            name = f"{layer or 'model'}/{node.op_type}_{number}"
        taken.add(name)
        node.name = name
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
        value.doc_string = ""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    for function in proto.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
