"""Pictures of any number of classes, of any name: nothing is cut off, and a class has one colour."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from vidcli.evaluate import Evaluation, evaluate
from vidcli.evaluate.reliability import CalibrationScores, ReliabilityBin
from vidcli.fonts import num_columns, short_names
from vidcli.palette import GREY, class_colours
from vidcli.predict import Prediction
from vidcli.predict.segments import Segment, Timeline
from vidcli.report import draw_confusion, draw_reliability, draw_timeline
from vidcli.report.confusion_plot import build_confusion

SETS = {
    "two": ("a", "b"),
    "long": tuple(
        ("a very long class name that goes on and on about nothing " * 2)[:56] + f"{n:04}" for n in range(9)
    ),
    "scripts": ("行走", "läuft", "בריצה", "يجري", "Бежит", "$x$", "a_b^c", "τρέχει"),
    "two hundred": tuple(f"class {n}" for n in range(200)),
    "one": ("a",),
}


def scores_of(names: tuple[str, ...]) -> Evaluation:
    rng = np.random.default_rng(0)
    labels = [names[at % len(names)] for at in range(len(names) + 3)]
    predictions = [Prediction("v", names, rng.dirichlet(np.ones(len(names)))) for _ in labels]
    return evaluate(predictions, labels, names)


@pytest.mark.parametrize("kind", SETS)
def test_all_pictures_can_be_drawn(kind: str, tmp_path: Path) -> None:
    names = SETS[kind]
    labels = [*names, "unknown"][:60]
    segments = tuple(Segment(at, at + 1, name, 0.9) for at, name in enumerate(labels))
    table = np.full((len(labels), len(names)), 0.5)
    timeline = Timeline("行 $1$.mp4", names, 1.0, float(len(labels)), table, segments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(scores_of(names), tmp_path / "c.png")
        draw_timeline(timeline, tmp_path / "t.png")
    for name in "ct":
        height, width = image.imread(tmp_path / f"{name}.png").shape[:2]
        assert max(height, width) < 3000


def test_of_a_thousand_classes_the_matrix_shows_those_that_are_confused() -> None:
    names = [f"class {number:04}" for number in range(1000)]
    scores = scores_of(names)
    counts = np.diag(np.full(1000, 5))
    wrong = list(range(3, 1000, 9))[:90]
    counts[wrong, np.array(wrong) + 1] = 2
    counts[998, 0] = 9
    confusion = tuple(map(tuple, counts.tolist()))
    axes = build_confusion(replace(scores, confusion=confusion), names).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == 100
    assert shown == sorted(shown) == [label.get_text() for label in axes.get_xticklabels()]
    assert {"class 0000", "class 0998"} <= set(shown)
    confused = {names[label] for label in (*wrong, *(label + 1 for label in wrong))}
    assert set(shown) <= confused | {"class 0000", "class 0998"}
    (image_,) = axes.get_images()
    row, column = shown.index("class 0998"), shown.index("class 0000")
    assert image_.get_array()[row, column] == pytest.approx(9 / 14)
    assert axes.get_title().endswith("; the 100 of 1000 classes with most wrong answers")


@pytest.mark.parametrize("kind", SETS)
def test_the_matrix_has_room_and_its_names_do_not_touch(kind: str) -> None:
    scores = scores_of(SETS[kind])
    names = short_names([f"{n}" if num_columns(n) == len(n) else "?" for n in scores.class_names], 28)
    figure = build_confusion(scores, names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    assert axes.get_window_extent().width > 0.35 * canvas.get_width_height()[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    below = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert min(box.y0 for box in below) >= 0
    strips = [
        patch for patch in axes.get_children() if isinstance(patch, Rectangle) and not patch.get_clip_on()
    ]
    colours = class_colours(scores.class_names)
    shown = scores.class_names
    if len(shown) > 100:  # the others are left out
        shown = tuple(label.get_text() for label in axes.get_yticklabels())
    assert [to_hex(strip.get_facecolor()) for strip in strips[::2]] == [colours[name].hex for name in shown]
    inside = axes.get_window_extent()
    for strip, label in zip(strips[::2], boxes, strict=True):
        box = strip.get_window_extent()
        assert label.x1 <= box.x0 < box.x1 <= inside.x0


def colours_in(path: Path) -> set[tuple[int, ...]]:
    pixels = (image.imread(path)[..., :3] * 255).round().astype(int)
    return set(map(tuple, pixels.reshape(-1, 3).tolist()))


def test_a_class_has_its_colour_in_the_timeline_whatever_its_share(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    colours = class_colours(names)
    for order in (("a", "b"), ("b", "a"), ("d", "unknown")):
        segments = (Segment(0, 9, order[0], 1.0), Segment(9, 10, order[1], 1.0))
        draw_timeline(Timeline("v", names, 1.0, 10.0, np.full((10, 4), 0.25), segments), tmp_path / "t.png")
        seen = colours_in(tmp_path / "t.png")
        for name in names:
            assert (colours[name].rgb in seen) == (name in order)
        assert GREY.rgb in seen or "unknown" not in order


def test_a_reliability_of_few_videos_is_hollow(tmp_path: Path) -> None:
    bins = [ReliabilityBin(0.0, 0.5, 3, 0.4, 0.3), ReliabilityBin(0.5, 1.0, 30, 0.7, 0.8)]
    given = {"ece": 0.1, "ece_uncalibrated": None, "temperature": 1.0, "fitted_on": 0}
    draw_reliability(CalibrationScores(bins=tuple(bins), **given), tmp_path / "few.png")
    many = [ReliabilityBin(0.0, 0.5, 30, 0.4, 0.3), bins[1]]
    draw_reliability(CalibrationScores(bins=tuple(many), **given), tmp_path / "many.png")
    assert not np.array_equal(image.imread(tmp_path / "few.png"), image.imread(tmp_path / "many.png"))


def test_short_names_can_be_told_apart() -> None:
    long = "x" * 60
    assert short_names(["ab", long], 20) == ["ab", "xxxxxxxxxxxxx…xxxxxx"]
    twins = short_names([f"{long}a{long}", f"{long}b{long}", "c"], 20)
    assert twins == ["xxxxxxxxxxxxxxxxx…#1", "xxxxxxxxxxxxxxxxx…#2", "c"]
    for name in short_names(["行" * 30, long, "a" * 20], 20):
        assert num_columns(name) <= 20
    assert short_names(["a" * 20], 20) == ["a" * 20]
