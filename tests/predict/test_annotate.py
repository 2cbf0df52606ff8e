"""Labels and bars are drawn where they belong, and the rest of the picture stays."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.fonts import choose_font
from vidcli.palette import Colour, class_colours
from vidcli.predict.annotate import Annotator, Layout, render_panel
from vidcli.video import decode_frames

EMPTY = (70, 70, 70)
WHITE = (255, 255, 255)


def drawn(names, table, seconds, shape=(240, 320), ground=100, held=None):
    picture = np.full((*shape, 3), ground, np.uint8)
    Annotator(names, np.array(table, dtype=float), 1.0, held).draw(picture, seconds)
    return picture


def bars(picture, names):
    """How long each class's bar is, as a share of its room, and where it begins from above."""
    found = {}
    for name, colour in class_colours(names).items():
        is_bar = (picture == colour.rgb).all(axis=2)
        rows = np.flatnonzero(is_bar.any(axis=1))
        if len(rows):
            length = is_bar[rows[0]].sum()
            room = length + (picture[rows[0]] == EMPTY).all(axis=1).sum()
            found[name] = (length / room, rows[0])
    return found


def test_the_bar_is_as_long_as_the_probability_of_that_moment():
    table = [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]
    for seconds, cell in ((0.0, 0), (0.99, 0), (1.0, 1), (9.0, 1)):
        picture = drawn("abc", table, seconds)
        found = bars(picture, "abc")
        for name, probability in zip("abc", table[cell], strict=True):
            assert found[name][0] == pytest.approx(probability, abs=0.02)
        order = sorted("abc", key=lambda name: found[name][1])
        assert order == sorted("abc", key=lambda name: -table[cell]["abc".index(name)])
        assert (picture[80:] == 100).all()
        assert (picture[:, 160:] == 100).all()
    assert not np.array_equal(drawn("abc", table, 0), drawn("xbc", table, 0))


SHAPES = [(64, 64), (112, 64), (64, 112), (240, 320), (480, 640), (1080, 1920), (1920, 1080), (2160, 3840)]
LONG_NAMES = ("a rather long name of sixty letters that goes on and on, and on", "b\nb", "日本", "d")


@pytest.mark.parametrize("shape", [*SHAPES, (16, 16), (32, 32), (2, 2), (3, 3), (640, 90), (90, 640)])
def test_the_middle_of_the_picture_stays_free(shape):
    for held in (None, [LONG_NAMES]):
        picture = drawn(LONG_NAMES, [[0.7, 0.1, 0.15, 0.05]], 0, shape, held=held)
        changed = (picture != 100).any(axis=2)
        assert not changed[-(-shape[0] // 3) :].any()
        assert not changed.any() or changed[0, 0]
        if min(shape) >= 3:
            assert changed.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_line_of_text_is_at_most_a_25th_of_the_height_where_it_can_be_read(shape):
    layout = Layout.of_picture(*shape, choose_font("a")[0])
    assert layout.line <= max(shape[0] / 25, 10)
    assert layout.num_rows >= 1
    three = drawn("abcd", [[0.4, 0.3, 0.2, 0.1]], 0, shape)
    rows = np.flatnonzero((three != 100).any(axis=(1, 2)))
    assert len(rows) <= max(3 * 1.5 * shape[0] / 25, shape[0] / 3)
    assert (drawn("abcd", [[0.4, 0.3, 0.2, 0.1]], 0, shape, ground=0) > 200).any()  # letters


def contrast(one, other):
    def luminance(level):
        return ((level / 255 + 0.055) / 1.055) ** 2.4

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ground", [0, 128, 255])
@pytest.mark.parametrize("shape", [(240, 320), (1080, 1920)])
def test_letters_can_be_read_on_dark_and_on_light(ground, shape):
    picture = drawn("abc", [[0.6, 0.3, 0.1]], 0, shape, ground)
    behind = int(picture[0, 0, 0])
    assert contrast(behind, 255) > 4.5  # WCAG 2, level AA
    assert contrast(behind, 210) > 4.5
    assert (picture == WHITE).all(axis=2).any() or ground == 255
    letters = picture[: shape[0] // 12][..., 0].astype(int) - behind
    assert letters.max() > 100


def test_a_class_has_one_colour_at_every_moment_and_stripes_beyond_twenty():
    names = [f"class {at:02}" for at in range(45)]
    table = np.full((2, 45), 0.001)
    table[0, [3, 23, 43]] = 0.5, 0.3, 0.1
    table[1, [23, 3]] = 0.6, 0.3
    for seconds in (0, 1):
        picture = drawn(names, table, seconds, (480, 640))
        colours = class_colours(names)
        assert colours["class 03"].rgb == colours["class 23"].rgb
        assert (picture == colours["class 03"].rgb).all(axis=2).any()
        assert (picture == colours["class 23"].stripe_rgb).all(axis=2).any()


def test_all_classes_that_hold_come_first_and_in_white():
    table, names = [[0.9, 0.5, 0.4, 0.6]], ("a", "b", "c", "d")

    def white_lines(held, height=480):
        picture = drawn(names, table, 0.5, (height, 320), ground=0, held=[held])
        layout = Layout.of_picture(height, 320, choose_font("a")[0])
        tops = range(layout.pad, height // 3, layout.line + layout.bar + layout.pad)
        return sum(bool((picture[top : top + layout.line] > 230).any()) for top in tops), picture

    for held in (("b",), ("b", "c"), ("a", "b", "c", "d"), ()):
        assert white_lines(held)[0] == len(held)
    assert not np.array_equal(white_lines(("b",))[1], white_lines(("c",))[1])
    found = bars(white_lines(("c",))[1], names)
    assert min(found, key=lambda name: found[name][1]) == "c"
    assert white_lines(names, 60)[0] < 4  # no room for all
    assert set(bars(drawn(names, table, 0, (120, 320), held=[names]), names)) == {"a", "d"}  # and "2 more"


def panel_end(picture):
    return np.flatnonzero((picture != 100).any(axis=(0, 2)))[-1] + 1


def test_the_panel_is_as_wide_as_the_longest_name_up_to_a_share():
    table = [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]
    names = ("a", "b", "counter-clockwise")
    ends = {panel_end(drawn(names, table, seconds)) for seconds in (0, 1)}
    assert len(ends) == 1  # nothing jumps
    assert panel_end(drawn("abc", table, 0)) < ends.pop() < 0.5 * 320
    long = ("x" * 90, "b", "c")
    assert panel_end(drawn(long, table, 0)) == 0.5 * 320
    assert panel_end(drawn(long, table, 0, (1920, 1080))) == 0.5 * 1080
    assert panel_end(drawn(long, table, 0, (64, 64))) == 64


def test_a_font_that_has_the_letters_or_a_word_about_it():
    ours, is_complete = choose_font("Händel αβγ")
    assert is_complete
    assert ours.endswith("DejaVuSans.ttf")
    nowhere = chr(0x10FFFD)  # for private use: no font has it but those that box all
    assert choose_font(nowhere) == (ours, False)
    assert Annotator((nowhere, "b"), np.array([[0.5, 0.5]]), 1.0).names.numbered


def test_panels_are_kept():
    rows = (("a", 0.5, Colour((1, 2, 3))),)
    layout = Layout.of_picture(240, 320, choose_font("a")[0])
    assert render_panel(rows, layout, 99)[0] is render_panel(rows, layout, 99)[0]


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.mark.parametrize("timeline", [False, True])
def test_the_command_writes_a_video_of_the_same_length(run, write_video, tmp_path, timeline):
    video, target = write_video(tmp_path / "v.mp4", 24, 120, 160), tmp_path / "out.mp4"
    given = ["predict", video, "--model", run, "--device", "cpu", "--annotate", target]
    given += ["--timeline", "--window", "1"] if timeline else []
    result = CliRunner().invoke(app, list(map(str, given)))
    assert result.exit_code == 0, result.stderr
    old, new = decode_frames(video), decode_frames(target)
    np.testing.assert_allclose(new.pts_seconds, old.pts_seconds, atol=1e-3)
    difference = np.abs(new.frames.astype(int) - old.frames).mean(axis=(0, 3))
    assert difference[:20, :60].mean() > 3 * difference[40:].mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "v.mp4"]
    again = CliRunner().invoke(app, list(map(str, given)))
    assert again.exit_code == 2
    assert "out.mp4: exists; choose another file" in again.stderr


def test_one_video_at_a_time(run, tmp_path):
    given = ["predict", "a.mp4", "b.mp4", "--model", str(run), "--annotate", str(tmp_path / "out.mp4")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2
    assert "draws into one video, but 2 were named" in result.stderr
