"""How much accuracy more views of a video bring, and how much time they take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from vidcli.artifacts.description import Checkpoint
from vidcli.config import change_clip
from vidcli.data.items import VideoItem
from vidcli.evaluate.scores import evaluate
from vidcli.predict import Predictor

VIEWS = (1, 2, 3, 5, 10)


@dataclass(frozen=True)
class ViewsRow:
    """The scores of a model with a number of views.

    Attributes:
        views: clips a video.
        frames: frames a video.
        top1: accuracy.
        top1_interval: 95% interval of it.
        loss: mean negative log probability of the true class; None if all videos failed.
        seconds_per_video: time a video, decoding included.
    """

    views: int
    frames: int
    top1: float
    top1_interval: tuple[float, float]
    loss: float | None
    seconds_per_video: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        return asdict(self)


def sweep_views(
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    device: torch.device,
    views: Sequence[int] = VIEWS,
) -> Iterator[ViewsRow]:
    """Evaluate a model with several numbers of views, and yield a row for each.

    Args:
        checkpoint: the model; its own number of views is not used.
        items: labelled videos.
        device: where to compute.
        views: the numbers of clips a video.
    """
    labels = [item.label for item in items]
    for count in views:
        clip = change_clip(checkpoint.config.clip, views=count)
        config = checkpoint.config.model_copy(update={"clip": clip})
        predictor = Predictor.from_checkpoint(replace(checkpoint, config=config), device)
        started = time.perf_counter()
        predictions = list(predictor.predict_many(items))
        seconds = time.perf_counter() - started
        scores = evaluate(predictions, labels, checkpoint.class_names, checkpoint.calibration)
        yield ViewsRow(
            count, count * clip.length, scores.top1, scores.top1_interval, scores.loss, seconds / len(items)
        )
