"""Pictures show letters or numbers, never boxes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, image

from vidcli import fonts
from vidcli.evaluate import evaluate
from vidcli.predict import Prediction
from vidcli.predict.annotate import Annotator
from vidcli.predict.segments import Segment, Timeline
from vidcli.report import draw_confusion, draw_timeline
from vidcli.report.figures import new_figure, save_png, written_text

HAN = ("行", "走")


def build_font(path: Path, letters: str, family: str) -> Path:
    """Write a font in which each letter is a full square."""
    pen = TTGlyphPen(None)
    for at, point in enumerate(((0, 0), (0, 900), (900, 900), (900, 0))):
        (pen.lineTo if at else pen.moveTo)(point)
    pen.closePath()
    names = [".notdef", *(f"u{ord(letter):x}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):x}" for letter in letters})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fonts of a machine that has none but ours; a test adds others."""
    files: list[str] = []
    monkeypatch.setattr(fonts, "_installed", lambda: files)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    fonts._fonts_for.cache_clear()
    yield files
    fonts._fonts_for.cache_clear()


def add_font(installed: list[str], path: Path, letters: str, family: str) -> None:
    font_manager.fontManager.addfont(build_font(path, letters, family))
    installed.append(str(path))


def test_a_name_that_no_font_has_is_its_number(installed: list[str]) -> None:
    names = fonts.picture_names(["läuft", "行", "αβγ", "走"])
    assert names.shown == ("läuft", "#2", "αβγ", "#4")
    assert names.note is not None
    assert "#2 = 行, #4 = 走" in names.note


def test_a_name_is_shown_where_a_font_has_it(installed: list[str], tmp_path: Path) -> None:
    add_font(installed, tmp_path / "one.ttf", "行", "One Han")
    assert fonts.picture_names(HAN).shown == ("行", "#2")
    assert fonts.font_families("a行") == ["DejaVu Sans", "One Han"]
    add_font(installed, tmp_path / "other.ttf", "走", "Other Han")
    fonts._fonts_for.cache_clear()
    assert fonts.picture_names(HAN).note is None
    assert fonts.font_families("行走") == ["DejaVu Sans", "One Han", "Other Han"]


def test_pillow_needs_one_font_for_all(installed: list[str], tmp_path: Path) -> None:
    add_font(installed, tmp_path / "han.ttf", "行走0123456789%…+().#?|", "Han")
    both = fonts.picture_names([*HAN, "a"], one_font=True)
    assert both.shown == ("行", "走", "#3")  # the font of most names
    assert fonts.choose_font("".join(both.shown)) == (str(tmp_path / "han.ttf"), True)
    annotator = Annotator([*HAN, "a"], np.array([[0.5, 0.3, 0.2]]), 1.0)
    assert annotator.names.numbered
    annotator.draw(np.zeros((120, 160, 3), np.uint8), 0.0)


@pytest.mark.parametrize("damage", [b"", b"no font", None])
def test_a_font_that_is_gone_or_damaged_is_passed_over(
    damage: bytes | None, installed: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.ttf"
    installed.append(str(path))
    if damage is not None:
        path.write_bytes(damage)
    assert fonts.picture_names(HAN).shown == ("#1", "#2")


@pytest.mark.parametrize("has_font", [True, False])
def test_pictures_hold_the_letters(has_font: bool, installed: list[str], tmp_path: Path) -> None:
    if has_font:
        add_font(installed, tmp_path / "han.ttf", "行走", "Han Pictures")
    scores = evaluate([Prediction("v", HAN, np.array([0.9, 0.1]))], ["走"], HAN)
    segments = (Segment(0, 1, "行", 0.9), Segment(1, 2, "走", 0.8))
    timeline = Timeline("走.mp4", HAN, 1.0, 2.0, np.array([[0.9, 0.1], [0.2, 0.8]]), segments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a letter that it draws as a box
        draw_confusion(scores, tmp_path / "c.png")
        draw_timeline(timeline, tmp_path / "t.png")
    assert written_text("走 1.mp4") == ("走 1.mp4" if has_font else "? 1.mp4")


def test_letters_of_a_second_font_are_drawn(installed: list[str], tmp_path: Path) -> None:
    add_font(installed, tmp_path / "han.ttf", "行", "Han Square")
    shares = []
    for text in ("行行行", "   "):
        figure = new_figure(2, 1)
        figure.text(0.5, 0.5, text, ha="center")
        save_png(figure, tmp_path / "p.png")
        shares.append((image.imread(tmp_path / "p.png")[..., 0] < 0.5).mean())
    assert shares[0] > 0.02 > shares[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\u200db\ufe0f", "ab"), ("a\nb", "a b"), ("a\x1bb", "a\\x1bb"), ("a\u202eb", "ab"), ("$x$", "$x$")],
)
def test_what_has_no_shape_is_not_drawn(text: str, shown: str) -> None:
    assert fonts.drawable(text) == shown
