"""Load the videos on which an export is compared, calibrated and measured.

Shape suffixes: V views, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vidcli.arrays import Float32
from vidcli.artifacts.description import Checkpoint
from vidcli.data.items import VideoItem, labels_of
from vidcli.errors import ExportError, VideoError
from vidcli.predict.view_loader import ViewLoader


@dataclass(frozen=True)
class LabelledViews:
    """The views of a video and its labels.

    Attributes:
        kept: the views, or their pixels, which take a quarter of the memory.
        labels: one, or any number for a multi-label model.
        finish: makes views of pixels, and leaves views as they are.
    """

    kept: Float32 | Tensor
    labels: frozenset[int]
    finish: Callable[[Float32 | Tensor], Float32] = np.asarray

    @property
    def views_VTCHW(self) -> Float32:
        """The views, as a model reads them."""
        return self.finish(self.kept)


def load_views(
    items: Sequence[VideoItem], checkpoint: Checkpoint, most: int | None, tell: Callable[[str], None]
) -> list[LabelledViews]:
    """Load the views of labelled videos.

    Args:
        items: the videos.
        checkpoint: the model, whose settings determine the views.
        most: the most videos to load, spread evenly over `items`; None loads all.
        tell: called with a sentence if some videos cannot be decoded.

    Raises:
        ExportError: no video can be decoded.
    """
    if most is not None and len(items) > most:
        items = [items[index] for index in np.linspace(0, len(items) - 1, most).astype(int)]
    label_of = {name: label for label, name in enumerate(checkpoint.class_names)}
    loaded, failures = [], []
    loader = ViewLoader(checkpoint.config)
    with closing(loader.load_many(items, finishes=False)) as many:
        for item, pixels in zip(items, many, strict=True):
            if isinstance(pixels, VideoError):
                failures.append(pixels)
                continue
            names = labels_of(item.label, checkpoint.config.data.multi_label)
            labels = frozenset(label_of[name] for name in names if name in label_of)
            loaded.append(LabelledViews(pixels, labels, loader.finished))
    if not loaded:
        why = f": {failures[0]}" if failures else ""
        raise ExportError(
            f"an export is compared with its model on real videos, and of {len(items)} none can be "
            f"decoded{why}. Name others with --data"
        )
    if failures:
        tell(f"{len(failures)} of {len(items)} videos cannot be decoded and are left out: {failures[0]}")
    return loaded
