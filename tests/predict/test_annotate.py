"""Labels and bars are drawn where they belong, and the rest of the picture stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vidcli.cli import app
from vidcli.predict.annotate import Annotator, choose_font, render_panel
from vidcli.train import start_run
from vidcli.video import decode_frames

GOLD = np.array([255, 196, 0])


def drawn(names, table, seconds, shape=(240, 320)):
    picture = np.full((*shape, 3), 100, np.uint8)
    Annotator(names, np.array(table, dtype=float), 1.0).draw(picture, seconds)
    return picture


def gold_share(picture):
    """The length of the best bar, over that of its frame."""
    rows = np.flatnonzero((picture == GOLD).all(axis=2).sum(axis=1) > 20)
    middle = (picture[rows[len(rows) // 2]] == GOLD).all(axis=1)
    frame = (picture[rows[0]] == GOLD).all(axis=1)
    return (middle.sum() - 1) / frame.sum()


def test_the_bar_is_as_long_as_the_probability_of_that_moment():
    table = [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]
    for seconds, probability in ((0.0, 0.7), (0.99, 0.7), (1.0, 0.5), (9.0, 0.5)):
        picture = drawn("abc", table, seconds)
        assert gold_share(picture) == pytest.approx(probability, abs=0.03)
        assert (picture[150:] == 100).all()
        assert (picture[:, 200:] == 100).all()
    assert not np.array_equal(drawn("abc", table, 0), drawn("xbc", table, 0))


@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (2, 2), (1080, 1920), (640, 90)])
def test_any_size_has_room(shape):
    picture = drawn(("a" * 90, "b\nb", "日本"), [[0.9, 0.1, 0]], 0, shape)
    assert picture.shape == (*shape, 3)
    if min(shape) > 60:
        assert (picture[3 * shape[0] // 4 :] == 100).all()


def test_all_classes_that_hold_are_marked():
    table, names = [[0.9, 0.5, 0.4, 0.6]], ("a", "b", "c", "d")

    def num_marked(held, height=480):
        picture = np.full((height, 320, 3), 100, np.uint8)
        Annotator(names, np.array(table), 1.0, [held]).draw(picture, 0.5)
        is_gold = (picture[:, 8:] == GOLD).all(axis=2).any(axis=1)
        return int((np.diff(is_gold.astype(int)) == 1).sum()), picture

    for held in (("b",), ("b", "c"), ("a", "b", "c", "d"), ()):
        assert num_marked(held)[0] == len(held)
    assert not np.array_equal(num_marked(("b",))[1], num_marked(("c",))[1])
    assert num_marked(names, 60)[0] < 4  # no room for all


def panel_end(picture):
    return np.flatnonzero((picture != 100).any(axis=(0, 2)))[-1] + 1


def test_the_panel_is_as_wide_as_the_longest_name_up_to_a_share():
    table = [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]
    names = ("a", "b", "counter-clockwise")
    ends = {panel_end(drawn(names, table, seconds)) for seconds in (0, 1)}
    assert len(ends) == 1  # nothing jumps
    assert panel_end(drawn("abc", table, 0)) < ends.pop() < 0.6 * 320
    long = ("x" * 90, "b", "c")
    assert panel_end(drawn(long, table, 0)) == 0.6 * 320
    assert panel_end(drawn(long, table, 0, (320, 180))) == round(0.92 * 180)


def test_a_font_that_has_the_letters_or_a_word_about_it():
    ours, is_complete = choose_font("Händel αβγ")
    assert is_complete
    assert ours.endswith("DejaVuSans.ttf")
    nowhere = chr(0x10FFFD)  # for private use: no font has it but those that box all
    assert choose_font(nowhere) == (ours, False)
    assert not Annotator((nowhere, "b"), np.array([[0.5, 0.5]]), 1.0).is_legible


def test_panels_are_kept():
    rows = (("a", 0.5),)
    font, _ = choose_font("a")
    assert render_panel(rows, 240, 320, 99, font)[0] is render_panel(rows, 240, 320, 99, font)[0]


@pytest.fixture(scope="module")
def run(motion_data, small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotate") / "run"
    start_run(small_config(), motion_data, folder, torch.device("cpu"), lambda event: None)
    return folder


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
    assert difference[:20, :60].mean() > 3 * difference[90:].mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "v.mp4"]
    again = CliRunner().invoke(app, list(map(str, given)))
    assert again.exit_code == 2
    assert "out.mp4: exists; choose another file" in again.stderr


def test_one_video_at_a_time(run, tmp_path):
    given = ["predict", "a.mp4", "b.mp4", "--model", str(run), "--annotate", str(tmp_path / "out.mp4")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2
    assert "draws into one video, but 2 were named" in result.stderr
