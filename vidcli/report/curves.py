"""How a run went: loss, accuracy and learning rate by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogLocator, MaxNLocator, NullFormatter

from vidcli.report.axes import finite_or_none, needs_log, tick_labels
from vidcli.report.canvas import new_figure, save_png

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


def draw_curves(rows: Sequence[Mapping[str, Any]], best_epoch: int | None, path: Path) -> None:
    """Write the curves of a run as a PNG.

    Args:
        rows: a mapping an epoch, as in metrics.jsonl; what is None or no finite number there is a gap.
        best_epoch: the epoch of model.safetensors, marked by a line; None marks nothing.
        path: the file.
    """
    save_png(build_curves(rows, best_epoch), path)


def build_curves(rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Figure:
    """Return the figure of `draw_curves`."""
    figure = new_figure(12.0, 4.0)
    for axes, (title, series) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        _draw_panel(axes, title, series, rows, best_epoch)
    figure.axes[1].set_ylim(0, 1.02)
    return figure


def _draw_panel(
    axes: Axes,
    title: str,
    series: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
) -> None:
    epochs = [row["epoch"] for row in rows]
    lines = {
        label: [math.nan if (value := finite_or_none(row.get(key))) is None else value for row in rows]
        for key, label in series.items()
    }
    known = {label: values for label, values in lines.items() if not all(map(math.isnan, values))}
    for label, values in known.items():
        # What has no neighbour is a point, which a line alone would not show.
        axes.plot(epochs, values, label=label, marker="o", markersize=5, markevery=_alone(values))
    if known and best_epoch is not None:
        axes.axvline(best_epoch, color="grey", linestyle=":", linewidth=1.2, label=f"best: {best_epoch}")
    if not known:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color="grey")
    values = [value for line in known.values() for value in line]
    if title == "loss" and needs_log(values):
        title = "loss, on a logarithmic axis"
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(_TickFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(_TickFormatter())
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axes.set_xticks(epochs)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    if known:  # below, where no curve runs
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
        axes.legend(**place, ncols=4, fontsize="small", frameon=False, columnspacing=1.0, handlelength=1.6)


def _alone(values: Sequence[float]) -> list[int]:
    """Return the positions of numbers between two gaps."""
    gaps = [True, *map(math.isnan, values), True]
    return [at for at in range(len(values)) if gaps[at] and not gaps[at + 1] and gaps[at + 2]]


class _TickFormatter(Formatter):
    """Writes every number in full, so that no factor stands above the axis, where the title is."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return tick_labels([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of an axis."""
        return tick_labels([float(value) for value in values])
