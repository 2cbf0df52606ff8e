"""Which class was taken for which."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidcli.evaluate import Evaluation
from vidcli.fonts import picture_names
from vidcli.report.canvas import new_figure, save_png

_MAX_NUMBERED_CLASSES = 30


def draw_confusion(scores: Evaluation, path: Path) -> None:
    """Write the confusion matrix as a PNG: colour is the share of the true class, numbers count.

    A class whose name no font can write stands there as its number; see `picture_names`.
    """
    counts_KK = np.array(scores.confusion)
    shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    num_classes = len(scores.class_names)
    side = min(24.0, 2.5 + 0.55 * num_classes)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares_KK, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    names = picture_names(scores.class_names).shown
    axes.set_xticks(range(num_classes), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(num_classes), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"top-1 {scores.top1:.3f}, {scores.num_videos} videos")
    if num_classes <= _MAX_NUMBERED_CLASSES:
        for true, guess in np.argwhere(counts_KK):
            colour = "white" if shares_KK[true, guess] > 0.5 else "black"
            axes.text(guess, true, str(counts_KK[true, guess]), ha="center", va="center", color=colour)
    save_png(figure, path, names)
