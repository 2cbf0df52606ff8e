"""How a run went: loss, accuracy and learning rate by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from vidcli.report.figures import INKS, finite_or_none, needs_log, new_figure, save_png, style_axes
from vidcli.report.svg import CHART_INCHES, Chart, page_chart

Rows = Sequence[Mapping[str, Any]]

_ACCURACIES = {
    "train_accuracy": "train",
    "val_top1": "val",
    "val_balanced_accuracy": "val, balanced",
    "val_map": "val mAP",
}
_PANELS = (
    ("loss", {"train_loss": "train", "val_loss": "val"}),
    ("accuracy", _ACCURACIES),
    ("learning rate at the epoch's end", {"lr": "learning rate"}),
)


def draw_curves(rows: Rows, best_epoch: int | None, path: Path) -> None:
    """Write the curves of a run as a PNG, side by side.

    Args:
        rows: a mapping for each epoch, as in metrics.jsonl; a value of None or NaN makes a gap.
        best_epoch: the epoch of model.safetensors, marked by a line; None marks nothing.
        path: the file to write.
    """
    save_png(build_curves(rows, best_epoch), path)


def build_curves(rows: Rows, best_epoch: int | None) -> Figure:
    """Return the figure of `draw_curves`."""
    figure = new_figure(12.0, 4.0)
    for axes, (title, series) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        _draw_panel(axes, title, _lines_of(rows, series), rows, best_epoch)
    return figure


def curve_charts(rows: Rows, best_epoch: int | None) -> list[Chart]:
    """Return the curves of a run for the page, a chart for each panel that has values."""
    charts = []
    for title, series in _PANELS:
        if lines := _lines_of(rows, series):
            figure = new_figure(*CHART_INCHES)
            _draw_panel(figure.add_subplot(), title, lines, rows, best_epoch)
            charts.append(page_chart(figure))
    return charts


def _lines_of(rows: Rows, series: Mapping[str, str]) -> dict[str, list[float]]:
    """Return the values of each series by label, NaN in gaps; a series without values is left out."""
    lines = {
        label: [math.nan if (value := finite_or_none(row.get(key))) is None else value for row in rows]
        for key, label in series.items()
    }
    return {label: values for label, values in lines.items() if not all(map(math.isnan, values))}


def _draw_panel(
    axes: Axes, title: str, lines: Mapping[str, list[float]], rows: Rows, best_epoch: int | None
) -> None:
    """Draw one of the panels.

    Args:
        axes: to draw into.
        title: of the panel.
        lines: the values of each series by label, one for each epoch.
        rows: the epochs.
        best_epoch: as for `draw_curves`.
    """
    style_axes(axes)
    epochs = [row["epoch"] for row in rows]
    for label, values in lines.items():
        # A point without neighbours needs a marker: a line alone would not show it.
        axes.plot(epochs, values, label=label, marker="o", markersize=5, markevery=_alone(values))
    if lines and best_epoch is not None:
        label = f"best: {best_epoch}"
        axes.axvline(best_epoch, color=INKS["soft"], linestyle=":", linewidth=1.2, label=label)
    if not lines:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color="grey")
    if title == "loss" and needs_log([value for values in lines.values() for value in values]):
        title = "loss, on a logarithmic axis"
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        style_axes(axes)  # a new scale has brought formatters of its own
        axes.yaxis.set_minor_formatter(NullFormatter())
    if title == "accuracy":
        axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axes.set_xticks(epochs)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    if lines:  # below, where no curve runs
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
        axes.legend(**place, ncols=4, fontsize="small", frameon=False, columnspacing=1.0, handlelength=1.6)


def _alone(values: Sequence[float]) -> list[int]:
    """Return the positions of numbers between two gaps."""
    gaps = [True, *map(math.isnan, values), True]
    return [at for at in range(len(values)) if gaps[at] and not gaps[at + 1] and gaps[at + 2]]
