"""Truth above prediction, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vidcli.palette import class_colours
from vidcli.predict.segments import Segment, Timeline
from vidcli.report import draw_ethogram


def colours_in(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        return {tuple(pixel) for pixel in np.asarray(picture.convert("RGB")).reshape(-1, 3)[::7].tolist()}


def test_both_sides_are_drawn_in_the_colour_of_their_class(tmp_path: Path) -> None:
    names = ("groom $x$", "rest")
    timeline = Timeline("v.mp4", names, 1.0, 8.0, np.full((8, 2), 0.5), (Segment(4.0, 8.0, "rest", 0.7),))
    draw_ethogram([Segment(0.0, 4.0, "groom $x$", 1.0)], timeline, tmp_path / "a.png")
    seen = colours_in(tmp_path / "a.png")
    colours = class_colours(names)
    assert colours["groom $x$"].rgb in seen  # labelled: the full colour
    pale = tuple(round(0.55 * part + 0.45 * 255) for part in colours["rest"].rgb)
    assert any(max(abs(a - b) for a, b in zip(pale, other, strict=True)) <= 2 for other in seen)


def test_a_recording_without_any_segment_is_drawn(tmp_path: Path) -> None:
    draw_ethogram([], Timeline("v.mp4", ("a",), 1.0, 4000.0, np.zeros((1, 1)), ()), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_only_classes_with_most_time_have_a_row(tmp_path: Path) -> None:
    names = tuple(f"c{n:02}" for n in range(40))
    segments = tuple(Segment(n, n + 1, name, 1.0) for n, name in enumerate(names))
    draw_ethogram(
        segments, Timeline("v.mp4", names, 1.0, 40.0, np.zeros((40, 40)), segments), tmp_path / "a.png"
    )
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.height < 1200
