"""Solve anew for the last layer of an int8 network, on what its backbone says in int8.

    training videos -> int8 backbone -> descriptors -> ridge regression -> head in float

A layer that was solved in closed form knows its training videos by heart, and reads small differences between
descriptors: rounding misleads it about other videos, and its answers to these ones tell nothing of that.
Therefore the layer is solved on rounded descriptors, and both are compared by cross-validation.

Shape suffixes: V views, M videos, R rows a video, D descriptors, K classes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Float32
from vidcli.artifacts.engines import OUTPUT_NAME, Run, import_runtime
from vidcli.artifacts.model_file import Checkpoint
from vidcli.data.items import VideoItem
from vidcli.errors import ExportError, VideoError
from vidcli.export.quantize import open_graph, quantize_all
from vidcli.features.descriptors import Descriptors
from vidcli.models import TwoStreamClassifier
from vidcli.models.calibration import Calibration
from vidcli.models.two_streams import cut_short
from vidcli.predict.view_loader import ViewLoader
from vidcli.train.stream_solver import Learnt, StreamSolver
from vidcli.train.training_videos import num_paces
from vidcli.transforms import mirrored_classes

_CROSS_VALIDATED = "train, cross-validated"
_HEAD = "head/"
"""What the names of the last layer's nodes begin with in a graph."""


@dataclass(frozen=True)
class Refit:
    """A last layer for rounded descriptors.

    Attributes:
        weight_KD: of the layer.
        bias_K: of the layer.
        calibration: how its logits become probabilities.
        score: top-1 accuracy, or the mAP of a multi-label model, of answers to videos not learnt from.
        score_before: the same of exact descriptors.
        num_videos: M.
    """

    weight_KD: Tensor
    bias_K: Tensor
    calibration: Calibration
    score: float
    score_before: float
    num_videos: int

    def measured(self) -> dict[str, Any]:
        """Return the fields of a report that it gives."""
        return {
            "accuracy": self.score,
            "accuracy_before": self.score_before,
            "num_validated": self.num_videos,
            "validated_on": _CROSS_VALIDATED,
            "float_layers": (_HEAD.rstrip("/"),),
        }


def quantize_and_refit(
    network: Any,
    form: str,
    model: TwoStreamClassifier,
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    clips: Sequence[Float32],
    max_drop: float,
    tell: Callable[[str], None],
) -> tuple[Any, Refit]:
    """Return a model in int8 whose last layer is in float and fits the others, and that layer.

    Args:
        network: the graph of the model in float, an `onnx.ModelProto` or `openvino.Model`.
        form: `onnx` or `openvino`.
        model: the model.
        checkpoint: its settings and class names.
        items: its training videos.
        clips: clips (1, T, C, H, W) of some of them, which give the ranges of activations.
        max_drop: the most accuracy to lose, as a share of the videos.
        tell: called with a sentence before each part of the work.

    Raises:
        ExportError: more accuracy is lost, or nncf is not installed.
        DataError: fewer than two groups of videos can be decoded.
    """
    tell("quantising")
    rounded = quantize_all(network, clips, model.exact_layers)
    found = refit(model, checkpoint, items, open_graph(_without_head(rounded, form), form), tell)
    if found.score_before - found.score > max_drop:
        raise ExportError(
            f"int8 loses {found.score_before - found.score:.4f} of {found.score_before:.4f}, more than "
            f"--max-drop {max_drop:g}, in cross-validation on {found.num_videos} training videos. "
            "Allow more, or export without --int8"
        )
    _replace_head(rounded, form, found.weight_KD, found.bias_K)
    return rounded, found


def refit(
    model: TwoStreamClassifier,
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    describe: Run,
    tell: Callable[[str], None],
) -> Refit:
    """Solve for the last layer of a model on what its backbone says in int8.

    Args:
        model: in float.
        checkpoint: settings and class names of that model.
        items: its training videos; those that cannot be decoded are left out.
        describe: takes clips (V, T, C, H, W) to descriptors in int8, (V, D).
        tell: called with a sentence before each part of the work.

    Raises:
        DataError: fewer than two groups of videos are left.
    """
    config = checkpoint.config
    mirrors = config.augment.flip == "on"
    paces = num_paces(config, len(items), mirrors)
    orientations = [False, True] if mirrors else [False]
    views = ViewLoader(config)
    tell(f"describing {len(items)} training videos in float and in int8")
    describer = Descriptors(model, config, views.load, torch.device("cpu"))
    exact = [describer.of(items, mirrored, paces, lambda done: True) for mirrored in orientations]
    rounded: list[list[Tensor | VideoError | None]] = [[] for _ in orientations]
    with contextlib.closing(views.load_many(items)) as many:
        for loaded in many:
            for found, mirrored in zip(rounded, orientations, strict=True):
                found.append(_describe(loaded, mirrored, paces, describe))
    is_usable = [
        all(isinstance(found, Tensor) for found in of_video)
        for of_video in zip(*exact, *rounded, strict=True)
    ]
    kept = [*itertools.compress(items, is_usable)]
    names = checkpoint.class_names
    solver = StreamSolver(config, names, mirrored_classes(names) if mirrors else None, model.backbone)
    before, after = (
        solver.learn(kept, [_stack(itertools.compress(rows, is_usable)) for rows in found])
        for found in (exact, rounded)
    )
    head = after.network.head
    return Refit(
        head.weight.detach(),
        head.bias.detach(),
        after.calibration,
        _score_of(after),
        _score_of(before),
        len(kept),
    )


def _stack(found: Iterable[Tensor | VideoError | None]) -> Tensor:
    return torch.stack([one for one in found if isinstance(one, Tensor)])


def _score_of(learnt: Learnt) -> float:
    best = learnt.trials[0]
    return (best.mean_average_precision or 0.0) if best.top1 is None else best.top1


def _describe(loaded: Tensor | VideoError, mirrored: bool, paces: int, describe: Run) -> Tensor | VideoError:
    """Return descriptors (R, D) of a video, averaged over its views as `Descriptors` does it."""
    if isinstance(loaded, VideoError):
        return loaded
    views_VTCHW = loaded.flip(4) if mirrored else loaded
    rows = [describe(clip_VTCHW.numpy()).mean(axis=0) for clip_VTCHW in cut_short(views_VTCHW, paces)]
    return torch.from_numpy(np.stack(rows)).half()


def _without_head(network: Any, form: str) -> Any:
    """Return a copy of a graph that gives descriptors in place of logits.

    Args:
        network: an `onnx.ModelProto` or `openvino.Model`.
        form: `onnx` or `openvino`.
    """
    if form == "openvino":
        runtime = import_runtime("openvino")
        copy = network.clone()
        source = _find_product(copy).input_value(0)
        source.get_tensor().set_names({OUTPUT_NAME})
        for result in copy.get_results():
            result.input_value(0).get_tensor().set_names(set())
        return runtime.Model([source], copy.get_parameters())
    onnx = import_runtime("onnx")
    copy = onnx.ModelProto()
    copy.CopyFrom(network)
    head = _find_node(copy)
    (logits,) = copy.graph.output
    copy.graph.node.remove(head)
    copy.graph.node.append(onnx.helper.make_node("Identity", [head.input[0]], [logits.name]))
    logits.type.tensor_type.ClearField("shape")
    return copy


def _replace_head(network: Any, form: str, weight_KD: Tensor, bias_K: Tensor) -> None:
    """Give the last layer of a graph other weights.

    Args:
        network: an `onnx.ModelProto` or `openvino.Model`, which is changed.
        form: `onnx` or `openvino`.
        weight_KD: of the layer.
        bias_K: of the layer.
    """
    weights = [value.numpy() for value in (weight_KD, bias_K)]
    if form == "openvino":
        product = _find_product(network)
        (addition,) = (target.get_node() for target in product.output(0).get_target_inputs())
        if not product.get_attributes()["transpose_b"]:
            weights[0] = weights[0].T
        for node, values in zip((product, addition), weights, strict=True):
            _replace_constant(node, values)
        return
    onnx = import_runtime("onnx")
    head = _find_node(network)
    for name, values in zip(head.input[1:], weights, strict=True):
        (old,) = (value for value in network.graph.initializer if value.name == name)
        old.CopyFrom(onnx.numpy_helper.from_array(values, name))


def _find_node(proto: Any) -> Any:
    return next(node for node in proto.graph.node if node.name.startswith(_HEAD))


def _find_product(model: Any) -> Any:
    return next(
        op
        for op in model.get_ops()
        if op.get_type_name() == "MatMul" and op.get_friendly_name().startswith(_HEAD)
    )


def _replace_constant(node: Any, values: Any) -> None:
    """Replace the constant that a node reads by values of the same shape, up to sides of length 1."""
    opset = import_runtime("openvino").opset13
    for port in node.inputs():
        source = port.get_source_output()
        if source.get_node().get_type_name() == "Constant":
            constant = opset.constant(np.ascontiguousarray(values).reshape(tuple(source.get_shape())))
            port.replace_source_output(constant.output(0))
            return
    raise AssertionError(f"{node.get_friendly_name()} reads no constant")
