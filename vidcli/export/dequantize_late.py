"""Let quantised graphs move whole numbers, so that the layers after the move compute in int8 too.

    before   Quantize -> Dequantize -> Reshape -> Slice, Pad, Concat -> Conv   the convolution stays in float
    after    Quantize -> Reshape -> Slice, Pad, Concat -> Dequantize -> Conv   it computes in int8

An engine fuses a layer with the dequantisation just before it and the quantisation just after it. Temporal
shift takes features apart and joins them in between, and so does what turns maps into tokens. Moving values
needs no real numbers: the pieces are moved as they lie in int8, a quarter of the bytes, and the results are
the same to the bit. A clamp before a quantisation that clamps just as much is left out for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.artifacts.engines import import_runtime

_Numbers: TypeAlias = npt.NDArray[Any]

_MOVES = frozenset(
    {"Concat", "Flatten", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operations after which every value is one that was there before, or the padding's."""
_INT8 = "_int8"
"""What the name of moved whole numbers ends in."""


class _Rounded(NamedTuple):
    """Whole numbers that stand for a tensor: the name of them, of their scale, and of their zero point."""

    values: str
    scale: str
    zero_point: str


def dequantize_late(proto: Any) -> Any:
    """Return a quantised graph that dequantises values only where they are computed with.

    Args:
        proto: an `onnx.ModelProto` with pairs of `QuantizeLinear` and `DequantizeLinear`.
    """
    onnx = import_runtime("onnx")
    late = onnx.ModelProto()
    late.CopyFrom(proto)
    graph = late.graph
    numbers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _leave_clamps_out(graph.node, numbers)
    computed = {name for node in graph.node for name in node.output}
    rounded: dict[str, _Rounded] = {}
    nodes: list[Any] = []
    for node in graph.node:
        source = None
        if node.op_type == "DequantizeLinear" and node.input[0] in computed and len(node.input) == 3:
            found = _Rounded(*node.input)
            if numbers[found.scale].size == 1:  # channels of their own scale may not be joined with others
                rounded[node.output[0]] = found
        elif node.op_type in _MOVES:
            source = _common_source(node, rounded, numbers)
        if source is None:
            nodes.append(node)
            continue
        nodes.append(_moved(node, rounded, source, onnx))
        for name in node.output:
            rounded[name] = source._replace(values=name + _INT8)
            nodes.append(
                onnx.helper.make_node(
                    "DequantizeLinear", [*rounded[name]], [name], name=f"{node.name}/DequantizeLinear/{name}"
                )
            )
    kept = _needed(nodes, {value.name for value in graph.output})
    del graph.node[:]
    graph.node.extend(kept)
    return late


def _common_source(
    node: Any, rounded: Mapping[str, _Rounded], numbers: Mapping[str, _Numbers]
) -> _Rounded | None:
    """Return how all that a node moves is rounded; None where some of it is not, or otherwise."""
    sources = [rounded.get(name) for name in _moved_inputs(node)]
    first = sources[0]
    if first is None or not _pads_with_zero(node, numbers):
        return None
    if node.op_type == "MaxPool" and len(node.output) > 1:
        return None  # the second output says where values were
    for source in sources:
        if source is None or any(
            not np.array_equal(numbers[one], numbers[other])
            for one, other in zip(source[1:], first[1:], strict=True)
        ):
            return None
    return first


def _moved_inputs(node: Any) -> Sequence[str]:
    """Return the names of the inputs whose values a node moves; the others say where to."""
    return list(node.input) if node.op_type == "Concat" else [node.input[0]]


def _pads_with_zero(node: Any, numbers: Mapping[str, _Numbers]) -> bool:
    """Whether a node adds nothing but zeros, which the zero point stands for."""
    if node.op_type != "Pad" or len(node.input) < 3 or not node.input[2]:
        return True
    return node.input[2] in numbers and not numbers[node.input[2]].any()


def _moved(node: Any, rounded: Mapping[str, _Rounded], source: _Rounded, onnx: Any) -> Any:
    """Return a node that does to whole numbers what another does to the values that they stand for."""
    moved = onnx.NodeProto()
    moved.CopyFrom(node)
    for place, name in enumerate(_moved_inputs(node)):
        moved.input[place] = rounded[name].values
    if node.op_type == "Pad":
        rest = [*node.input, "", ""][3:4]
        del moved.input[2:]
        moved.input.extend([source.zero_point, *filter(None, rest)])
    for place, name in enumerate(node.output):
        moved.output[place] = name + _INT8
    return moved


def _leave_clamps_out(nodes: Sequence[Any], numbers: Mapping[str, _Numbers]) -> None:
    """Let quantisations read what a clamp reads, where they clamp as much themselves."""
    clamps = {node.output[0]: node for node in nodes if node.op_type == "Clip"}
    for node in nodes:
        clamp = clamps.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if clamp is None:
            continue
        scale, zero_point = numbers[node.input[1]], numbers[node.input[2]]
        limits = np.iinfo(zero_point.dtype)
        least, most = (scale * (limit - zero_point.astype(np.float64)) for limit in (limits.min, limits.max))
        low, high = _bounds(clamp, numbers)
        # Within half a step both round to the same number.
        if (least >= low - scale / 2).all() and (most <= high + scale / 2).all():
            node.input[0] = clamp.input[0]


def _bounds(clamp: Any, numbers: Mapping[str, _Numbers]) -> tuple[float, float]:
    """Return the least and the greatest value of a clamp; of unknown ones those that nothing keeps to."""
    bounds = []
    for name, absent in zip([*clamp.input[1:3], "", ""], (-math.inf, math.inf), strict=False):
        unknown = absent if not name else -absent
        bounds.append(float(numbers[name]) if name in numbers else unknown)
    return bounds[0], bounds[1]


def _needed(nodes: Sequence[Any], outputs: set[str]) -> list[Any]:
    """Return the nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
