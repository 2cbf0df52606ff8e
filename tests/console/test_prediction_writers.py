"""A table of predictions has a line a video, at 80 columns and at 50."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from vidcli.console.prediction_writers import TableWriter
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.console.text import format_about, shorten_middle
from vidcli.predict import Prediction

NAMES = ("counter-clockwise", "left", "a class with a name of several words", "shrink", "右手を挙げる")
VIDEOS = (
    "many/yes_S5_videosyes_1_1m_upper.avi",
    "/data/gestures/turn back/S1_dynamic_videosturnback_1_1m_upper.avi",
    "a.mp4",
    "recordings/2024-05-01/camera-03/右手を挙げる人の動画-0001.mp4",
)


@pytest.fixture
def lines_of(monkeypatch):
    """Return the lines of a table that is written at some width."""

    def lines_of(width, videos=VIDEOS, names=NAMES, top_k=5, error=None):
        monkeypatch.setenv("COLUMNS", str(width))
        stream = io.StringIO()
        console = Console(file=stream)
        writer = TableWriter(Terminal(console, console, Verbosity.NORMAL), stream, top_k, videos, names)
        for shift, video in enumerate(videos):
            values = None if error else np.roll(np.linspace(0.1, 0.3, len(names)), shift)
            writer.write(Prediction(video, names, values, error))
        writer.close()
        return stream.getvalue().splitlines()

    return lines_of


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 200])
def test_a_line_a_video_at_every_width(lines_of, width):
    lines = lines_of(width)
    assert len(lines) == 3 + len(VIDEOS) + 1
    assert max(Text(line).cell_len for line in lines) <= width
    for line, video in zip(lines[3:-1], VIDEOS, strict=True):
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells[0].endswith(video[-4:])
        assert cells[2] == "0.300"
    assert ("then" in lines[1]) == (width >= 200)


def test_ordinary_names_are_whole_at_80_columns(lines_of):
    names = [f"many/yes_S{number}_videosyes_1_1m_upper.avi" for number in range(3)]
    lines = lines_of(80, names, ("up", "left", "right"))
    for name, line in zip(names, lines[3:-1], strict=True):
        assert name in line


def test_runners_up_are_whole_or_left_out(lines_of):
    names = ("left", "right", "counter-clockwise", "shrink")
    for width in range(60, 140):
        head, *rows = lines_of(width, ("a.mp4",), names)[1:-1:2]
        if "then" in head:
            (row,) = rows
            then = row.strip("│").split("│")[3].strip()
            for word in then.split(", "):
                name, _, probability = word.rpartition(" ")
                assert name in names
                assert len(probability) == 4


def test_a_reason_is_told_whole(lines_of):
    reason = "cannot be decoded: is cut off after 3.2 of 8.0 seconds, as its packets say"
    lines = lines_of(80, ("a.mp4",), ("up", "left"), error=reason)
    told = " ".join(line.split("│")[2].strip() for line in lines[3:-1])
    assert told.replace("- ", "-") == reason


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 5, "short"),
        ("abcdefghij", 7, "abc…hij"),
        ("abcdefghij", 6, "abc…ij"),
        ("右手を挙げる", 7, "右…げる"),
        ("右手を挙げる", 3, "…る"),
    ],
)
def test_the_middle_goes(text, width, expected):
    assert shorten_middle(Text(text), width).plain.replace(" ", "") == expected
    assert shorten_middle(Text(text), width).cell_len <= width


def test_a_duration_that_is_not_known_better():
    told = [format_about(seconds) for seconds in (1, 42, 58, 185, 3599, 7800)]
    assert told == ["5 s", "40 s", "1 min", "3 min", "1 h 00 min", "2 h 10 min"]
