"""Solve anew for the last layer of an int8 network, on what its backbone says in int8.

    training videos -> int8 backbone -> descriptors -> ridge regression -> head in float

A layer that was solved in closed form knows its training videos by heart, and reads small differences between
descriptors: rounding misleads it about other videos, and its answers to these ones tell nothing of that.
Therefore the layer is solved on rounded descriptors, and both are compared by cross-validation.

Shape suffixes: V views, M videos, R rows a video, D descriptors, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.engines import Run, import_runtime
from vidcli.data.items import VideoItem
from vidcli.errors import ExportError, VideoError
from vidcli.export.labelled_views import LabelledViews
from vidcli.export.quantize import first_and_depthwise, open_graph, quantize_all
from vidcli.features.descriptors import Descriptors, OneBlock
from vidcli.models import MultiStreamClassifier
from vidcli.models.calibration import Calibration
from vidcli.models.stream_descriptors import cut_short
from vidcli.predict.view_loader import ViewLoader
from vidcli.runtime.threads import map_ahead
from vidcli.train.choice import STRENGTHS
from vidcli.train.stream_solver import Learnt, StreamSolver
from vidcli.train.training_videos import num_paces
from vidcli.transforms import mirrored_classes

_CROSS_VALIDATED = "train, cross-validated"
_HEAD = "head/"
"""What the names of the last layer's nodes begin with in a graph."""
_SPARED = ("first convolutions", "depthwise convolutions")
"""What `first_and_depthwise` finds."""

_Described: TypeAlias = Tensor | VideoError | None


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
        spared: what stays in float beside the last layer, in words.
    """

    weight_KD: Tensor
    bias_K: Tensor
    calibration: Calibration
    score: float
    score_before: float
    num_videos: int
    spared: Sequence[str] = ()

    @property
    def loss(self) -> float:
        """What rounding costs."""
        return self.score_before - self.score

    def measured(self) -> dict[str, Any]:
        """Return the fields of a report that it gives."""
        return {
            "accuracy": self.score,
            "accuracy_before": self.score_before,
            "num_validated": self.num_videos,
            "validated_on": _CROSS_VALIDATED,
            "float_layers": (_HEAD.rstrip("/"), *self.spared),
        }


def quantize_and_refit(
    network: Any,
    form: str,
    model: MultiStreamClassifier,
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    calibrating: Sequence[LabelledViews],
    max_drop: float,
    tell: Callable[[str], None],
) -> tuple[Any, Refit]:
    """Return a model in int8 whose last layer is in float and fits the others, and that layer.

    Args:
        network: the graph of the model in float, an `onnx.ModelProto`.
        form: `onnx` or `openvino`, which computes it.
        model: the model.
        checkpoint: its settings and class names.
        items: its training videos.
        calibrating: some of them, whose first views give the ranges of activations.
        max_drop: the most accuracy to lose, as a share of the videos.
        tell: called with a sentence before each part of the work.

    Raises:
        ExportError: more accuracy is lost, or nncf is not installed.
        DataError: fewer than two groups of videos can be decoded.
    """
    describer, num_callers = _Describer(model, checkpoint, items, tell), torch.get_num_threads()
    tried: list[Refit] = []
    for spared, names in ((), ()), (_SPARED, first_and_depthwise(network)):
        tell("quantising" + (f" all but {' and '.join(spared)}, which rounding harms most" if spared else ""))
        rounded = quantize_all(network, calibrating, model.exact_layers, names)
        run = open_graph(_without_head(rounded), form, num_callers)
        found = describer.refit(run, num_callers, spared)
        if found.loss <= max_drop:
            _replace_head(rounded, found.weight_KD, found.bias_K)
            return rounded, found
        tried.append(found)
    first, last = tried
    raise ExportError(
        f"int8 loses {first.loss:.4f} of {first.score_before:.4f}, more than --max-drop {max_drop:g}, in "
        f"cross-validation on {last.num_videos} training videos, and {last.loss:.4f} with "
        f"{' and '.join(_SPARED)} in float. Allow more, or export without --int8"
    )


class _Describer:
    """The training videos of a model, and what its backbone says of them in float."""

    def __init__(
        self,
        model: MultiStreamClassifier,
        checkpoint: Checkpoint,
        items: Sequence[VideoItem],
        tell: Callable[[str], None],
    ) -> None:
        """Describe the videos in float.

        Args:
            model: in float.
            checkpoint: settings and class names of that model.
            items: its training videos; those that cannot be decoded are left out.
            tell: called with a sentence before each part of the work.
        """
        config = checkpoint.config
        mirrors = config.augment.flip == "on"
        self._items, self._tell = items, tell
        self._orientations = [False, True] if mirrors else [False]
        self._paces = num_paces(config, len(items), mirrors)
        self._views = ViewLoader(config)
        names = checkpoint.class_names
        self._solver = StreamSolver(config, names, mirrored_classes(names) if mirrors else None, model)
        tell(f"describing {len(items)} training videos in float")
        describer = Descriptors(model, config, self._views.load, torch.device("cpu"))
        self._exact = [
            describer.of(items, mirrored, self._paces, lambda done: True) for mirrored in self._orientations
        ]
        self._before: Learnt | None = None

    def refit(self, run: Run, num_callers: int, spared: Sequence[str]) -> Refit:
        """Solve for the last layer on what the backbone says in int8.

        Args:
            run: takes clips (V, T, C, H, W) to descriptors in int8, (V, D).
            num_callers: number of threads that may call it at the same time.
            spared: what stays in float in it, in words.

        Raises:
            DataError: fewer than two groups of videos are left.
        """
        self._tell(f"describing {len(self._items)} training videos in int8")
        described = map_ahead(
            lambda item: self._describe(item, run), self._items, num_callers, 2 * num_callers
        )
        blocks = [OneBlock(len(self._items)) for _ in self._orientations]
        with closing(described) as each:
            kept_MO = [
                [block.keep(place, found) for block, found in zip(blocks, of_video, strict=True)]
                for place, of_video in enumerate(each)
            ]
        rounded = [*zip(*kept_MO, strict=True)]
        is_usable = [
            all(isinstance(found, Tensor) for found in of_video)
            for of_video in zip(*self._exact, *rounded, strict=True)
        ]
        kept = [*compress(self._items, is_usable)]
        if self._before is None:
            self._before = self._learn(kept, self._exact, is_usable, ())
        # Rounding is noise, against which more regularisation may help.
        after = self._learn(kept, rounded, is_usable, STRENGTHS)
        return Refit(
            after.network.head.weight.detach(),
            after.network.head.bias.detach(),
            after.calibration,
            _score_of(after),
            _score_of(self._before),
            len(kept),
            spared,
        )

    def _learn(
        self,
        kept: Sequence[VideoItem],
        found: Sequence[Sequence[_Described]],
        is_usable: Sequence[bool],
        strengths: Sequence[float],
    ) -> Learnt:
        return self._solver.learn(kept, [_stack(compress(rows, is_usable)) for rows in found], strengths)

    def _describe(self, item: VideoItem, run: Run) -> list[Tensor | VideoError]:
        """Return descriptors (R, D) of a video, averaged over its views as `Descriptors` does it.

        One for each orientation.
        """
        loaded = self._views.try_load(item)
        if isinstance(loaded, VideoError):
            return [loaded for _ in self._orientations]
        views_VTCHW = torch.from_numpy(loaded)
        described: list[Tensor | VideoError] = []
        for mirrored in self._orientations:
            seen_VTCHW = views_VTCHW.flip(4) if mirrored else views_VTCHW
            rows = [run(clip_VTCHW.numpy()).mean(axis=0) for clip_VTCHW in cut_short(seen_VTCHW, self._paces)]
            described.append(torch.from_numpy(np.stack(rows)).half())
        return described


def _stack(found: Iterable[_Described]) -> Tensor:
    return torch.stack([one for one in found if isinstance(one, Tensor)])


def _score_of(learnt: Learnt) -> float:
    best = learnt.trials[0]
    return (best.mean_average_precision or 0.0) if best.top1 is None else best.top1


def _without_head(network: Any) -> Any:
    """Return a copy of an `onnx.ModelProto` that gives descriptors in place of logits."""
    onnx = import_runtime("onnx")
    copy = onnx.ModelProto()
    copy.CopyFrom(network)
    head = _find_node(copy)
    (logits,) = copy.graph.output
    copy.graph.node.remove(head)
    copy.graph.node.append(onnx.helper.make_node("Identity", [head.input[0]], [logits.name]))
    logits.type.tensor_type.ClearField("shape")
    return copy


def _replace_head(network: Any, weight_KD: Tensor, bias_K: Tensor) -> None:
    """Give the last layer of a graph other weights.

    Args:
        network: an `onnx.ModelProto`, which is changed.
        weight_KD: of the layer.
        bias_K: of the layer.
    """
    onnx = import_runtime("onnx")
    head = _find_node(network)
    for name, values in zip(head.input[1:], (weight_KD.numpy(), bias_K.numpy()), strict=True):
        (old,) = (value for value in network.graph.initializer if value.name == name)
        old.CopyFrom(onnx.numpy_helper.from_array(values, name))


def _find_node(proto: Any) -> Any:
    return next(node for node in proto.graph.node if node.name.startswith(_HEAD))
