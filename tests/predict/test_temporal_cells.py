"""Cells that come a few at a time are seen again as if all had been there, and boxes say how they move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vidcli.config import load_config
from vidcli.data.items import VideoItem
from vidcli.models.cell_refiner import REACH
from vidcli.models.temporal_network import TemporalNetwork
from vidcli.models.temporal_weights import pack_network
from vidcli.predict.temporal_cells import SubjectMotion, TemporalCells
from vidcli.predict.window_plan import WindowCells, window_weights


@pytest.fixture(scope="module")
def motion(write_video, tmp_path_factory: pytest.TempPathFactory) -> SubjectMotion:
    """Of a box that goes 10 pixels to the right in each of 16 s, and is twice as wide from 8 s on."""
    folder = tmp_path_factory.mktemp("boxes")
    video = write_video(folder / "v.mp4", num_frames=128, height=64, width=256)
    rows = ["video,time,track,x,y,w,h"]
    for number in range(128):
        width = 40 if number >= 64 else 20
        rows.append(f"v.mp4,{number / 8},a,{20 + 10 * number / 8 - width / 2},10,{width},20")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    subject = load_config(None, [f"subject.boxes={folder / 'boxes.csv'}"]).subject
    return SubjectMotion(VideoItem(Path(video), "", track="a"), subject, 0.125)


def test_boxes_say_how_they_move(motion: SubjectMotion):
    moves = motion(0, 128)
    usual = np.sqrt(20 * np.sqrt(40 * 20))  # between the two sizes, on average
    np.testing.assert_allclose(moves[20:40, 0], 10 / usual, rtol=1e-6)
    np.testing.assert_allclose(moves[20:40, 1], 0, atol=1e-9)
    np.testing.assert_allclose(moves[100, 2] - moves[20, 2], 3 * np.log(2) / 2)
    np.testing.assert_allclose(moves[100, 3] - moves[20, 3], 3 * np.log(2))
    np.testing.assert_array_equal(motion(50, 60), moves[50:60])


def test_a_picture_without_boxes_does_not_move():
    whole = SubjectMotion(VideoItem(Path("v.mp4"), ""), load_config(None, []).subject, 0.125)
    assert not whole(3, 9).any()
    assert whole(3, 9).shape == (6, 4)


@pytest.mark.parametrize("num_windows", [1, 100, 900])
def test_cells_a_few_at_a_time_are_as_all_at_once(num_windows: int, motion: SubjectMotion):
    torch.manual_seed(0)
    refiner = pack_network(TemporalNetwork(3, 8, uses_motion=True)).build(3)
    rng = np.random.default_rng(0)
    windows = WindowCells(3, window_weights(4, "middle"))
    cells = TemporalCells(windows, refiner, motion)
    finals = []
    for row in rng.dirichlet(np.ones(3), num_windows):
        windows.add_window(row)
        finals.append(cells.num_final)
        assert finals[-1] <= max(0, windows.num_final - REACH)
    assert max(finals) > 0 or num_windows < 900
    early = cells.means(0, finals[-1]).copy()
    num_cells = num_windows + 3
    cells.finish(num_cells)
    whole = refiner.refine(windows.means(0, num_cells), motion(0, num_cells))
    np.testing.assert_allclose(cells.means(0, num_cells), whole, atol=1e-6)
    np.testing.assert_array_equal(cells.means(0, finals[-1]), early)
