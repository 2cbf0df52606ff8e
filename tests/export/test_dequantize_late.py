"""Moved whole numbers are the same to the bit, and nothing is moved that would not be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vidcli.config import load_config
from vidcli.export.conversion import to_onnx, trace
from vidcli.export.dequantize_late import dequantize_late
from vidcli.export.labelled_views import LabelledViews
from vidcli.export.quantize import quantize_all, quantized_layers
from vidcli.models import VideoClassifier, build_model

SCALE, ZERO_POINT = 0.05, 17


def rounding(name: str, scale: float | Sequence[float] = SCALE, zero_point: int = ZERO_POINT) -> list[Any]:
    """Return the pair of nodes that rounds `name` to `name_d`, and its numbers."""
    zero_points = np.full(np.shape(scale), zero_point, np.uint8)
    axis = {} if np.ndim(scale) == 0 else {"axis": 1}
    return [
        helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"], **axis),
        helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"], **axis),
        numpy_helper.from_array(np.array(scale, np.float32), f"{name}_s"),
        numpy_helper.from_array(zero_points, f"{name}_z"),
    ]


def graph(parts: Sequence[Any], inputs: Sequence[str], shape: Sequence[int]) -> onnx.ModelProto:
    """Return a model of nodes and numbers that gives `y`; all inputs have the same shape."""
    numbers = [part for part in parts if isinstance(part, onnx.TensorProto)]
    nodes = [part for part in parts if isinstance(part, onnx.NodeProto)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "g", ends, [result], numbers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def number(name: str, value: Any, dtype: Any = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def compute(model: onnx.ModelProto, **inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Compute a graph as it stands: an optimiser might hide what it says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    found: np.ndarray[Any, Any] = session.run(["y"], inputs)[0]
    return found


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def random_input(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)


def shift_parts(pad: float | None = None) -> list[Any]:
    """Return nodes that take x_d apart along its channels, move a part by one frame, and join both."""
    padding = ["x_a", "pads"] if pad is None else ["x_a", "pads", "pad"]
    numbers = [] if pad is None else [number("pad", pad, np.float32)]
    slices = {"zero": [0], "one": [1], "last": [-1], "all": [99], "axis0": [0], "axis1": [1]}
    return [
        *numbers,
        *(number(name, value) for name, value in slices.items()),
        number("pads", [1, 0, 0, 0, 0, 0, 0, 0]),
        number("shape", [3, 4, 30]),
        helper.make_node("MaxPool", ["x_d"], ["x_p"], kernel_shape=[2, 2]),
        helper.make_node("Slice", ["x_p", "zero", "one", "axis1"], ["x_f"]),
        helper.make_node("Slice", ["x_f", "zero", "last", "axis0"], ["x_a"]),
        helper.make_node("Pad", padding, ["x_b"]),
        helper.make_node("Slice", ["x_p", "one", "all", "axis1"], ["x_c"]),
        helper.make_node("Concat", ["x_b", "x_c"], ["x_j"], axis=1),
        helper.make_node("Reshape", ["x_j", "shape"], ["x_r"]),
        helper.make_node("Transpose", ["x_r"], ["y"], perm=[0, 2, 1]),
    ]


def test_what_only_moves_values_moves_whole_numbers_to_the_same_bits() -> None:
    model = graph([*rounding("x"), *shift_parts()], ["x"], [3, 4, 6, 7])
    late = dequantize_late(model)
    assert kinds(late)[0] == "QuantizeLinear"
    assert kinds(late)[-1] == "DequantizeLinear"
    assert kinds(late).count("DequantizeLinear") == 1
    x = random_input(3, 4, 6, 7)
    np.testing.assert_array_equal(compute(late, x=x), compute(model, x=x))
    # Frames that have no neighbour read zeros, not the number that a zero is rounded to.
    assert not compute(late, x=x)[0, :, 0].any()
    assert kinds(model) == kinds(graph([*rounding("x"), *shift_parts()], ["x"], [3, 4, 6, 7]))


def test_a_zero_that_is_named_is_moved_and_another_number_is_not() -> None:
    x = random_input(3, 4, 6, 7)
    for pad, is_moved in ((0.0, True), (1.5, False)):
        model = graph([*rounding("x"), *shift_parts(pad)], ["x"], [3, 4, 6, 7])
        late = dequantize_late(model)
        assert (kinds(late)[-1] == "DequantizeLinear") == is_moved
        np.testing.assert_array_equal(compute(late, x=x), compute(model, x=x))


@pytest.mark.parametrize(("scale", "zero_point"), [(2 * SCALE, ZERO_POINT), (SCALE, ZERO_POINT + 1)])
def test_numbers_of_different_scales_are_not_joined(scale: float, zero_point: int) -> None:
    join = helper.make_node("Concat", ["a_d", "b_d"], ["y"], axis=0)
    for own, is_moved in (((SCALE, ZERO_POINT), True), ((scale, zero_point), False)):
        model = graph([*rounding("a"), *rounding("b", *own), join], ["a", "b"], [2, 3])
        late = dequantize_late(model)
        assert (kinds(late)[-1] == "DequantizeLinear") == is_moved
        a, b = random_input(2, 3), 2 * random_input(2, 3)
        np.testing.assert_array_equal(compute(late, a=a, b=b), compute(model, a=a, b=b))


def test_channels_of_their_own_scale_stay_where_they_are() -> None:
    turn = helper.make_node("Transpose", ["x_d"], ["y"], perm=[1, 0])
    model = graph([*rounding("x", (0.1, 0.2, 0.3)), turn], ["x"], [2, 3])
    late = dequantize_late(model)
    assert kinds(late) == kinds(model)
    np.testing.assert_array_equal(compute(late, x=random_input(2, 3)), compute(model, x=random_input(2, 3)))


@pytest.mark.parametrize(("most", "is_left_out"), [(6.0, True), (6.001, True), (5.9, False)])
def test_a_clamp_is_left_out_where_rounding_clamps_as_much(most: float, is_left_out: bool) -> None:
    parts = [number("low", 0, np.float32), number("high", most, np.float32)]
    clamp = helper.make_node("Clip", ["w", "low", "high"], ["x"])
    model = graph([*parts, clamp, *rounding("x", 6 / 255, 0)], ["w"], [50])
    model.graph.output[0].name = "x_d"
    late = dequantize_late(model)
    assert ("Clip" not in kinds(late)) == is_left_out
    for found in (model, late):
        found.graph.output[0].name = "y"
        found.graph.node[-1].output[0] = "y"
    w = np.linspace(-8, 8, 50, dtype=np.float32)
    np.testing.assert_array_equal(compute(late, w=w), compute(model, w=w))


def test_a_clamp_with_an_unknown_bound_stays() -> None:
    clamp = helper.make_node("Clip", ["w", "", "high"], ["x"])
    model = graph([clamp, *rounding("x", 6 / 255, 0)], ["w", "high"], [1])
    model.graph.output[0].name = "x_d"
    assert "Clip" in kinds(dequantize_late(model))


def small_model(backbone: str) -> tuple[VideoClassifier, list[np.ndarray[Any, Any]]]:
    torch.manual_seed(0)
    settings = ["model.shift=on", "model.frame_differences=true", "model.grid=2", "model.head=mean"]
    config = load_config(None, [f"model.backbone={backbone}", "model.pretrained=false", *settings])
    model = build_model(config.model, 3).eval()
    generator = torch.Generator().manual_seed(1)
    return model, [torch.randn(1, 4, 3, 32, 32, generator=generator).numpy() for _ in range(3)]


@pytest.mark.parametrize("backbone", ["compact_cnn", "mobilenet_v3_small"])
def test_all_convolutions_of_a_shifted_network_compute_in_int8(backbone: str) -> None:
    """The first one, which reads differences of frames, those behind a shift, and depthwise ones."""
    model, clips = small_model(backbone)
    rounded = quantize_all(
        to_onnx(trace(model, 4, 32, 32, False)), [LabelledViews(clip, frozenset()) for clip in clips]
    )
    # Layers that weigh channels, which mobile networks have, stay in float: they gain nothing.
    num_convolutions = sum(
        isinstance(layer, nn.Conv2d) and ".fc" not in name for name, layer in model.named_modules()
    )
    layers = quantized_layers(rounded)
    assert sum("Conv" in name and ".fc" not in name for name in layers) == num_convolutions
    session = onnxruntime.InferenceSession(rounded.SerializeToString())
    with torch.inference_mode():
        for clip in clips:
            found = session.run(["logits"], {"clip": clip})[0]
            expected = model(torch.from_numpy(clip)).numpy()
            assert np.abs(found - expected).max() < 0.2 * max(1e-3, np.abs(expected).max())
