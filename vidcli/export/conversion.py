"""Convert a network to a file for another runtime: ONNX, OpenVINO or an exported torch program.

    model -> torch.export -> model.pt2
                  │
                  └-> ONNX -> model.onnx
                        │
                        └-> OpenVINO -> model.xml, model.bin

Shape suffixes: B clips, T frames, C channels, H W pixels, E features, K classes. B may have any size, T on
request and where frames are seen one by one.
"""

from __future__ import annotations

import ast
import inspect
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidcli.arrays import Float32
from vidcli.artifacts.engines import NETWORK_FILES, Run, import_runtime
from vidcli.artifacts.graph_parts import FEATURES_NAME, INPUT_NAME, OUTPUT_NAME
from vidcli.errors import ExportError
from vidcli.models import VideoClassifier
from vidcli.models.networks import exportable_masks
from vidcli.models.recurrence import make_exportable
from vidcli.models.shift import shifted_convolutions
from vidcli.runtime.files import temporary_file

_OPSET = 18
_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


class _FrameByFrame(nn.Module):
    """A network whose frames do not see each other: it gives their features too, which windows can share."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, VideoClassifier)
        self.network = network

    def forward(self, clip_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits_BK and features_BTE."""
        features_BTE = self.network.features(clip_BTCHW)
        return self.network.head(features_BTE), features_BTE


def sees_frame_by_frame(model: nn.Module) -> bool:
    """Whether what a network says of a frame is the same in all clips that hold it."""
    return isinstance(model, VideoClassifier) and not model.sees_neighbours


def trace(
    model: nn.Module,
    clip_length: int,
    height: int,
    width: int,
    any_length: bool,
    with_features: bool = False,
    for_torch: bool = False,
) -> Any:
    """Return a model as a `torch.export.ExportedProgram` that holds no paths of this machine.

    Args:
        model: takes clips (B, T, 3, H, W).
        clip_length: number of frames T of a clip; with `any_length` only an example.
        height: height H of a clip in pixels.
        width: width W of a clip in pixels.
        any_length: allow clips of any number of frames.
        with_features: give the features of frames beside logits; for a model that sees frame by frame.
        for_torch: as torch computes it fastest, not as other runtimes do.

    Raises:
        ExportError: torch cannot trace the model.
    """
    free = torch.export.Dim.DYNAMIC
    # Torch would take sizes of 0 and 1 for constants.
    example_BTCHW = torch.zeros(2, max(2, clip_length), 3, height, width)
    shapes = {0: free, 1: free} if any_length else {0: free}
    exportable = make_exportable(model)
    for convolution in shifted_convolutions(exportable):
        convolution.is_in_order = not for_torch
    try:
        with torch.no_grad(), exportable_masks(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these warnings are about torch, not about the model
            program = torch.export.export(
                _FrameByFrame(exportable) if with_features else exportable,
                (example_BTCHW,),
                dynamic_shapes=(shapes,),
                strict=False,
            )
    except Exception as error:  # the tracer passes on any error of the code that it traces
        raise ExportError(f"the model cannot be traced for export ({_first_line(error)})") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def network_files(network: Any, form: str, folder: Path) -> dict[str, bytes]:
    """Return the content of each file of a converted model by name.

    Args:
        network: a `torch.export.ExportedProgram`, `onnx.ModelProto` or `openvino.Model`.
        form: `torch-export`, `onnx` or `openvino`.
        folder: where OpenVINO, which writes files only, may write two temporary ones.
    """
    if form == "openvino":
        return _openvino_files(network, folder)
    (name,) = NETWORK_FILES[form]
    if form == "onnx":
        return {name: network.SerializeToString()}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these warnings are about torch, not about the model
        torch.export.save(network, buffer)
    return {name: buffer.getvalue()}


def _openvino_files(model: Any, folder: Path) -> dict[str, bytes]:
    model.set_rt_info({}, "conversion_parameters")  # these hold paths of this machine
    # OpenVINO writes the weights beside the graph, under the same name.
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
    """Return a function that computes a program which this process has traced."""
    # The trace demands that neither T nor T - 1 is 1, because of strides, but the operators take any T.
    takes_guards = "check_guards" in inspect.signature(program.module).parameters
    network = program.module(check_guards=False) if takes_guards else program.module()

    def run(clip_BTCHW: Float32) -> Float32:
        logits_BK: Float32 = network(torch.from_numpy(clip_BTCHW)).detach().numpy()
        return logits_BK

    return run


def to_onnx(program: Any) -> Any:
    """Return a traced model as an `onnx.ModelProto` whose nodes are named after the torch layers.

    Raises:
        ExportError: onnx or onnxscript is not installed or does not support an operation.
    """
    onnx = import_runtime("onnx")
    import_runtime("onnxscript")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these warnings are about the exporter, not about the model
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                opset_version=_OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME, FEATURES_NAME][: len(program.graph_signature.user_outputs)],
                custom_translation_table=_onnx_translations(),
            )
    except Exception as error:  # the exporter passes on any error of its passes
        raise ExportError(f"the model cannot be written as ONNX ({_first_line(error)})") from error
    assert exported is not None
    proto = exported.model_proto
    _name_layers(proto)
    onnx.checker.check_model(proto)
    return proto


def to_openvino(proto: Any) -> Any:
    """Return an ONNX model as an `openvino.Model`.

    Raises:
        ExportError: openvino is not installed or does not support an operation.
    """
    openvino = import_runtime("openvino")
    try:
        return openvino.convert_model(io.BytesIO(proto.SerializeToString()))
    except RuntimeError as error:
        raise ExportError(f"OpenVINO does not take the model ({_first_line(error)})") from error


def _onnx_translations() -> dict[Any, Any]:
    """Return the translation of our operator of recurrent layers into ONNX."""
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
    """Name every node after its torch layer, and remove all other metadata of the exporter.

    The metadata holds paths of this machine. Names such as `backbone.layer1.0.conv1` let messages name a
    layer.
    """
    taken: set[str] = set()
    for node in proto.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _NAME_SCOPES), "[]")
        parts = ast.literal_eval(scopes)[:-1]
        layer = next((part for part in reversed(parts) if part and not part.startswith("_")), "")
        layer = layer.removeprefix("network").removeprefix(".")
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
