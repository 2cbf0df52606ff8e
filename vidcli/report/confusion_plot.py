"""The confusion matrix: which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from vidcli.arrays import Int64
from vidcli.evaluate import Evaluation
from vidcli.fonts import picture_names, short_names
from vidcli.palette import class_colours
from vidcli.report.figures import new_figure, save_png

_MAX_NUMBERED_CLASSES = 30
_MAX_CLASSES = 100
"""Classes whose names can be read; of more, those that are confused most are shown."""
_MAX_NAME_COLUMNS = 28
_MAX_SIDE = 22.0
_INCHES_A_CLASS = 0.55
_POINTS_AN_INCH = 72
_MARK = 6
"""Width in points of the strip in a class's colour, between its name and its row or column."""


def draw_confusion(scores: Evaluation, path: Path) -> None:
    """Write the confusion matrix as a PNG: colours show shares of the true class, numbers count videos.

    Of more than 100 classes, those with most wrong answers are shown. A class whose name no installed font
    can write is shown as its number; see `picture_names`.

    Args:
        scores: of at least one class.
        path: the file to write.
    """
    names = short_names(picture_names(scores.class_names).shown, _MAX_NAME_COLUMNS)
    save_png(build_confusion(scores, names), path, names)


def build_confusion(scores: Evaluation, names: list[str]) -> Figure:
    """Return the figure of `draw_confusion`.

    Args:
        scores: of at least one class.
        names: the texts to write for all classes, in their order.
    """
    counts_KK = np.array(scores.confusion)
    shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    title = f"top-1 {scores.top1:.3f}, {scores.num_videos} videos"
    if len(names) > _MAX_CLASSES:
        title += f"; the {_MAX_CLASSES} of {len(names)} classes with most wrong answers"
    shown = _most_confused(counts_KK)
    counts_KK, shares_KK = counts_KK[np.ix_(shown, shown)], shares_KK[np.ix_(shown, shown)]
    names = [names[label] for label in shown]
    num_classes = len(names)
    inches = min(_INCHES_A_CLASS, _MAX_SIDE / num_classes)
    room = 1.5 + 0.09 * min(_MAX_NAME_COLUMNS, max(map(len, names)))
    side = max(3.5, inches * num_classes) + room
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares_KK, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    size = min(10.0, 0.75 * inches * _POINTS_AN_INCH)
    axes.set_xticks(range(num_classes), names, rotation=45, ha="right", parse_math=False, fontsize=size)
    axes.set_yticks(range(num_classes), names, parse_math=False, fontsize=size)
    axes.tick_params(length=0, pad=_MARK + 3)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    if num_classes <= _MAX_NUMBERED_CLASSES:
        for true, guess in np.argwhere(counts_KK):
            colour = "white" if shares_KK[true, guess] > 0.5 else "black"
            axes.text(guess, true, str(counts_KK[true, guess]), ha="center", va="center", color=colour)
    _mark_classes(figure, axes, scores.class_names, shown)
    return figure


def _most_confused(counts_KK: Int64) -> list[int]:
    """Return the labels of the classes that take part in most wrong answers, in their order."""
    wrong_KK = counts_KK - np.diag(np.diag(counts_KK))
    wrong_K = wrong_KK.sum(axis=0) + wrong_KK.sum(axis=1)
    return sorted(np.argsort(-wrong_K, kind="stable")[:_MAX_CLASSES].tolist())


def _mark_classes(figure: Figure, axes: Axes, class_names: tuple[str, ...], shown: Sequence[int]) -> None:
    """Draw a strip of each shown class's colour beside its row and below its column."""
    # A strip is measured in classes along the axis, and in inches from the corner across it.
    whole: Any = axes.transAxes
    corner = figure.dpi_scale_trans + ScaledTranslation(0, 0, whole)
    beside = blended_transform_factory(corner, axes.transData)
    below = blended_transform_factory(axes.transData, corner)
    colours = class_colours(class_names)
    near, thickness = -(_MARK + 2) / _POINTS_AN_INCH, _MARK / _POINTS_AN_INCH
    for at, name in enumerate(class_names[label] for label in shown):
        for transform, place, width, height in (
            (beside, (near, at - 0.5), thickness, 1),
            (below, (at - 0.5, near), 1, thickness),
        ):
            strip = Rectangle(
                place, width, height, transform=transform, clip_on=False, linewidth=0,
                facecolor=colours[name].hex, edgecolor=colours[name].stripe_hex,
                hatch=colours[name].stripes.value,
            )  # fmt: skip
            axes.add_artist(strip)
