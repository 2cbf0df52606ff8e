"""How a run went: loss, accuracy and learning rate by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidcli.report.canvas import new_figure, save_png

_PANELS = (
    ("loss", {"train_loss": "train", "val_loss": "val"}),
    ("accuracy", {"train_accuracy": "train", "val_top1": "val", "val_balanced_accuracy": "val, balanced"}),
    ("learning rate at the epoch's end", {"lr": "lr"}),
)


def draw_curves(rows: Sequence[Mapping[str, Any]], best_epoch: int | None, path: Path) -> None:
    """Write the curves of a run as a PNG.

    Args:
        rows: a mapping an epoch, as in metrics.jsonl; what is None there has no point.
        best_epoch: the epoch of model.safetensors, marked by a line; None marks nothing.
        path: the file.
    """
    figure = new_figure(12.0, 3.6)
    for axes, (title, series) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for key, label in series.items():
            points = [(row["epoch"], row[key]) for row in rows if row[key] is not None]
            if points:
                # A single epoch is a point, which a line alone would not show.
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), label=label, marker=marker, linewidth=1.6)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="grey", linestyle=":", linewidth=1.2, label="best")
        axes.legend(fontsize="small")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.axes[1].set_ylim(0, 1.02)
    figure.axes[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    save_png(figure, path)
