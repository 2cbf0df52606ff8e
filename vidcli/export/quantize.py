"""Quantise a model to static int8: convolutions and matrix products compute in whole numbers.

Weights are rounded per channel, activations per tensor with the ranges that calibration clips have. The
library NNCF does this to the ONNX graph, from which OpenVINO's is made. If too much accuracy is lost, the
layers to which the results are most sensitive stay in float, the worst first (NNCF's accuracy control).

A layer has one range for all that it reads: ONNX Runtime knows no others, and computed depthwise convolutions
with a range a channel in float, or refused them. What lies outside of all layers, such as the differences of
frames, stays in float, so that what they are joined with is rounded once, just before the first convolution.

Weights take half of their range. Processors without VNNI add products in pairs of 16 bits, which would
overflow: descriptors of EfficientNet-Lite0 had two to four times the error, and answers were others than
elsewhere.

Shape suffixes: V views, T frames, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidcli.arrays import Float32
from vidcli.artifacts.engines import (
    NETWORK_FILES,
    Run,
    compile_openvino,
    import_runtime,
    signal_stack_kept,
)
from vidcli.artifacts.exported import open_network
from vidcli.artifacts.graph_parts import INPUT_NAME
from vidcli.errors import ExportError
from vidcli.export.conversion import to_openvino
from vidcli.export.dequantize_late import dequantize_late
from vidcli.export.labelled_views import LabelledViews
from vidcli.models.calibration import Calibration

LAYER_TYPES = frozenset({"Conv", "Gemm", "MatMul"})
_OUTSIDE = "model"
"""What the names of nodes outside of all layers begin with."""


@dataclass(frozen=True)
class Quantized:
    """An int8 model.

    Attributes:
        model: an `onnx.ModelProto`.
        accuracy: share of validation videos whose classes are all right.
        float_layers: names of the layers that stay in float to keep the accuracy.
        first_accuracy: the accuracy with every layer in int8.
    """

    model: Any
    accuracy: float
    float_layers: tuple[str, ...]
    first_accuracy: float


def quantize_all(
    model: Any, videos: Sequence[LabelledViews], exact: Sequence[str] = (), exact_names: Sequence[str] = ()
) -> Any:
    """Return a model with all layers in int8 but some.

    Args:
        model: an `onnx.ModelProto` in float.
        videos: training videos, whose first views give the ranges of activations.
        exact: the layers that stay in float: what their names begin with.
        exact_names: the whole names of others.

    Raises:
        ExportError: nncf is not installed.
    """
    nncf = import_runtime("nncf")
    nncf.set_log_level(logging.ERROR)
    with _quiet():
        rounded = nncf.quantize(
            model,
            _dataset(videos),
            subset_size=len(videos),
            ignored_scope=_ignored(exact, exact_names),
            advanced_parameters=_parameters(),
        )
    return dequantize_late(rounded)


def _ignored(exact: Sequence[str] = (), exact_names: Sequence[str] = ()) -> Any:
    """Return what stays in float in any case; see `quantize_all`."""
    patterns = [f"{re.escape(name)}/.*" for name in (_OUTSIDE, *exact)]
    return import_runtime("nncf").IgnoredScope(names=[*exact_names], patterns=patterns, validate=False)


def _parameters() -> Any:
    """Return the parameters of NNCF with which all engines compute int8, and all processors the same."""
    nncf = import_runtime("nncf")
    kinds = nncf.quantization.advanced_parameters
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE,
        activations_quantization_params=kinds.QuantizationParameters(per_channel=False),
    )


def quantize(
    model: Any,
    form: str,
    videos: Sequence[LabelledViews],
    validation: Sequence[LabelledViews],
    calibration: Calibration,
    accuracy: float,
    max_drop: float,
) -> Quantized:
    """Quantise a model so that it loses at most `max_drop` of its accuracy.

    Args:
        model: an `onnx.ModelProto` in float.
        form: `onnx` or `openvino`, which computes it.
        videos: training videos, whose first views give the ranges of activations.
        validation: videos that were not trained on.
        calibration: how logits become probabilities.
        accuracy: accuracy of the float model on the validation videos.
        max_drop: the most accuracy to lose, as a share of the videos, such as 0.005.

    Raises:
        ExportError: the accuracy cannot be kept, or nncf is not installed.
    """
    all_int8 = quantize_all(model, videos)
    nncf = import_runtime("nncf")
    first = measure_accuracy(open_graph(all_int8, form), validation, calibration)[0]
    if accuracy - first <= max_drop:
        return Quantized(all_int8, first, (), first)

    def validate(candidate: Any, _: object) -> tuple[float, list[float]]:
        return measure_accuracy(open_graph(candidate, form), validation, calibration)

    with _quiet():
        kept = nncf.quantize_with_accuracy_control(
            model,
            _dataset(videos),
            nncf.Dataset(validation, lambda video: {INPUT_NAME: video.views_VTCHW}),
            validate,
            max_drop=max_drop,
            subset_size=len(videos),
            ignored_scope=_ignored(),
            advanced_quantization_parameters=_parameters(),
        )
    kept = dequantize_late(kept)
    reached = measure_accuracy(open_graph(kept, form), validation, calibration)[0]
    in_float = tuple(sorted(quantized_layers(all_int8) - quantized_layers(kept)))
    if accuracy - reached > max_drop:
        raise ExportError(
            f"int8 loses {accuracy - first:.4f} of accuracy {accuracy:.4f}, more than --max-drop "
            f"{max_drop:g}, and still {accuracy - reached:.4f} with these layers left in float: "
            f"{', '.join(in_float) or 'none'}. Allow more, or export without --int8"
        )
    return Quantized(kept, reached, in_float, first)


def _dataset(videos: Sequence[LabelledViews]) -> Any:
    return import_runtime("nncf").Dataset(videos, lambda video: {INPUT_NAME: video.views_VTCHW[:1]})


def measure_accuracy(
    run: Callable[[Float32], Float32], videos: Sequence[LabelledViews], calibration: Calibration
) -> tuple[float, list[float]]:
    """Return the share of videos whose classes are all right, and 1.0 or 0.0 for each video.

    Args:
        run: computes the model.
        videos: the videos.
        calibration: how logits become probabilities.
    """
    hits = []
    for video in videos:
        probabilities_K = calibration.probabilities(run(video.views_VTCHW).astype(np.float64))
        found = (
            {int(probabilities_K.argmax())}
            if calibration.thresholds is None
            else set(np.flatnonzero(probabilities_K >= np.array(calibration.thresholds)).tolist())
        )
        hits.append(float(found == video.labels))
    return float(np.mean(hits)), hits


def quantized_layers(model: Any) -> set[str]:
    """Return the names of the convolutions and matrix products that compute in int8."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.name for node in model.graph.node if node.op_type in LAYER_TYPES and node.input[0] in dequantized
    }


def first_and_depthwise(model: Any) -> list[str]:
    """Return the names of the first convolution of each network and of all whose channels are not mixed.

    They have few weights for much that they read, so that their rounding does not average out, and gain the
    least from whole numbers.

    Args:
        model: an `onnx.ModelProto` in float.
    """
    shapes = {value.name: value.dims for value in model.graph.initializer}
    convolved: set[str] = set()  # values that a convolution has had part in
    found: list[str] = []
    for node in model.graph.node:
        is_first = convolved.isdisjoint(node.input)
        if node.op_type == "Conv":
            is_depthwise = _num_groups(node) > 1 and shapes[node.input[1]][1] == 1
            found += [node.name] if is_first or is_depthwise else []
        if node.op_type == "Conv" or not is_first:
            convolved.update(node.output)
    return found


def _num_groups(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def open_graph(model: Any, form: str, num_callers: int = 1) -> Run:
    """Return a function that computes a model, which stays unchanged.

    Args:
        model: an `onnx.ModelProto`.
        form: `onnx` or `openvino`, which computes it.
        num_callers: number of threads that call the function at the same time and share the cores.
    """
    if form == "openvino":
        return compile_openvino(to_openvino(model), num_callers)
    return open_network(Path("int8"), form, {NETWORK_FILES[form][0]: model.SerializeToString()}, num_callers)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress out of stdout, which belongs to results, and restore the stack of signals."""
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"), signal_stack_kept():
        yield
