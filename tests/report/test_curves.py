"""Curves of every kind of run can be read, and nothing in the picture runs into anything else."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vidcli.report import draw_curves
from vidcli.report.curves import build_curves, curve_charts
from vidcli.report.figures import needs_log, tick_labels

NAN, INF = math.nan, math.inf


def row(epoch: int, **values: Any) -> dict[str, Any]:
    known = {"lr": 1e-3, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.1, "val_top1": 0.4}
    return {"epoch": epoch, "val_balanced_accuracy": 0.3, "val_map": None} | known | values


RUNS = {
    "one epoch": [row(1)],
    "long": [row(n, lr=3e-3 * (1 - n / 2000) + 1e-9, train_loss=3 / n + 0.1) for n in range(1, 2001)],
    "no validation": [row(n, val_loss=None, val_top1=None, val_balanced_accuracy=None) for n in (1, 2, 3)],
    "tiny rates": [row(n, lr=1e-6 * n, train_loss=1e-6, val_loss=1e-6) for n in range(1, 9)],
    "huge": [row(n, lr=1e6, train_loss=1e6 + n, val_loss=1e6) for n in range(1, 9)],
    "six decades": [row(n, train_loss=10.0 ** (6 - 2 * n), val_loss=1.0) for n in range(1, 7)],
    "gaps": [row(n, train_loss=NAN if n % 2 else 1.0, val_loss=INF, lr=None) for n in range(1, 6)],
    "flat but for the last digits": [row(n, train_loss=1 + n * 1e-7, val_loss=1.0) for n in range(1, 30)],
    "multi-label": [row(n, val_top1=None, val_balanced_accuracy=None, val_map=0.5) for n in (1, 2)],
    "nothing known": [row(1, lr=None, train_loss=NAN, val_loss=None)],
}


def boxes_of(figure: Figure) -> list[tuple[str, Any]]:
    """Draw a figure and return what is written in it, and where in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = []
    for axes in figure.axes:
        ticks = [
            tick.label1
            for axis in (axes.xaxis, axes.yaxis)
            for tick in axis.get_major_ticks()
            if min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        ]
        legend = axes.get_legend()
        inside = legend.get_texts() if legend is not None else []
        texts += [axes.title, axes.xaxis.label, *ticks, *inside]
        texts += [axes.xaxis.get_offset_text(), axes.yaxis.get_offset_text()]
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in texts
        if text.get_text() and text.get_visible()
    ]


@pytest.mark.parametrize("name", RUNS)
def test_no_text_runs_into_another_or_out_of_the_picture(name: str) -> None:
    figure = build_curves(RUNS[name], None if name == "no validation" else len(RUNS[name]))
    boxes = [(text, box) for text, box in boxes_of(figure) if box.width]
    assert len(boxes) > 9
    width, height = figure.canvas.get_width_height()
    for at, (text, box) in enumerate(boxes):
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < width + 1, text
        assert box.y1 < height + 1, text
        touched = [other for other, rest in boxes[at + 1 :] if box.padded(-1).overlaps(rest.padded(-1))]
        assert touched == [], text


@pytest.mark.parametrize("name", RUNS)
def test_no_factor_stands_beside_an_axis(name: str) -> None:
    figure = build_curves(RUNS[name], 1)
    boxes_of(figure)
    for axes in figure.axes:
        assert axes.yaxis.get_offset_text().get_text() == ""
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert len(set(labels)) == len(labels)


def test_a_gap_is_a_gap_and_a_lone_point_is_seen(tmp_path: Path) -> None:
    rows = [row(n, train_loss=value, val_loss=None) for n, value in enumerate([1, None, 2, INF, 3, 4], 1)]
    (line,) = (line for line in build_curves(rows, None).axes[0].lines if line.get_label() == "train")
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [False, True, False, True, False, False])
    assert line.get_markevery() == [0, 2]
    draw_curves(rows, None, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_score_of_a_multi_label_model_is_drawn() -> None:
    axes = build_curves(RUNS["multi-label"], 2).axes[1]
    assert "val mAP" in [line.get_label() for line in axes.lines]


def test_losses_of_many_decades_are_drawn_on_a_logarithmic_axis() -> None:
    assert build_curves(RUNS["six decades"], None).axes[0].get_yscale() == "log"
    assert build_curves(RUNS["long"], None).axes[0].get_yscale() == "linear"
    assert not needs_log([0.0, 1e6])
    assert not needs_log([NAN])
    assert needs_log([1e-6, NAN, 1.0])


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1"]),
        ([1e-6, 2.5e-6], ["1e-6", "2.5e-6"]),
        ([0, 0.0005, 0.001], ["0", "0.0005", "0.001"]),
        ([1e6, 2e6], ["1e6", "2e6"]),
        ([1000001, 1000002], ["1000001", "1000002"]),
        ([1.0000001, 1.0000002], ["1.0000001", "1.0000002"]),
        ([-0.2, 1e-17, 0.2], ["-0.2", "0", "0.2"]),
        ([0.30000000000000004], ["0.3"]),
        ([], []),
    ],
)
def test_labels_are_short_and_right(values: list[float], labels: list[str]) -> None:
    assert tick_labels(values) == labels


@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1, max_size=9, unique=True))
def test_labels_are_numbers_that_can_be_told_apart(values: list[float]) -> None:
    labels = tick_labels(values)
    assert len(labels) == len(values)
    spread = max(map(abs, values))
    for value, label in zip(values, labels, strict=True):
        assert float(label) == pytest.approx(value, abs=max(0.02 * spread, 1e-300))


def points_of(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """Return the points of the line in a colour, a list a piece between gaps."""
    (path,) = re.findall(rf'd="([^"]+)" style="fill: none; stroke: {re.escape(colour)};', svg)
    pieces = [piece for piece in path.split("M") if piece]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", piece)] for piece in pieces]


def test_a_chart_of_the_page_has_gaps_and_decades() -> None:
    losses = [1e6, None, 1.0, 0.5, NAN, 1e-6]
    loss, *_ = curve_charts([row(n, train_loss=y, val_loss=None) for n, y in enumerate(losses, 1)], None)
    pieces = points_of(loss.svg, "var(--s0)")
    assert [len(piece) for piece in pieces] == [1, 2, 1]
    assert "nan" not in loss.svg
    assert loss.title == "loss, on a logarithmic axis"
    assert f'aria-label="{loss.title}, by epoch"' in loss.svg
    texts = re.findall(r">([^<>]+)</text>", loss.svg)
    assert len(texts) == len(set(texts)) + len({"1"} & set(texts))  # 1 is an epoch and a loss
    assert {"1e6", "1", "1e-6"} <= set(texts)
    heights = [y for piece in pieces for _, y in piece]
    assert heights == sorted(heights)  # the larger, the higher: y grows downwards
    for epoch, y in enumerate(losses, 1):
        has_dot = f"<title>train: {y:.3g} at {epoch}</title>" in loss.svg if y is not None else True
        assert has_dot == (y is None or math.isfinite(y))


def test_a_series_without_values_has_no_chart() -> None:
    assert [chart.title for chart in curve_charts(RUNS["nothing known"], 1)] == ["accuracy"]
    assert curve_charts([{"epoch": 1}], 1) == []
    assert [chart.title for chart in curve_charts(RUNS["one epoch"], 1)][1:] == [
        "accuracy",
        "learning rate at the epoch's end",
    ]
    _, accuracy, _ = curve_charts(RUNS["multi-label"], 2)
    assert [name for name, _ in accuracy.legend] == ["train", "val mAP"]


def test_a_long_line_has_no_dots_but_those_between_gaps() -> None:
    rows = [row(n, train_loss=NAN if n in (50, 52) else 1.0, val_loss=None) for n in range(1, 101)]
    loss, *_ = curve_charts(rows, None)
    assert re.findall("<title>([^<]+)</title>", loss.svg) == ["train: 1 at 51"]
