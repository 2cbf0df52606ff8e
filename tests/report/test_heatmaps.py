"""Heat can be seen, says what it means, lies where it belongs, and is not made of nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg

from vidcli.explain import Explanation
from vidcli.palette import GREY, class_colours
from vidcli.report.heatmaps import (
    Overlay,
    build_contact_sheet,
    draw_contact_sheet,
    legend_of,
    overlay_frames,
    shrink_to_cell,
)

SHAPE = (4, 32, 32)
NAMES = ("left", "right", "up")


def explanation_of(maps: np.ndarray, weights: tuple[float, ...] = (0.5, 1, -0.25, 0)) -> Explanation:
    num_frames = len(maps)
    return Explanation(
        "a video.mp4", "up", "up", 0.9, np.full((*maps.shape, 3), 90, np.uint8),
        np.arange(num_frames) / 4, np.array(weights[:num_frames]), maps.astype(np.float32), "occlusion",
        "gradients", NAMES,
    )  # fmt: skip


def spot(peak: float = 1.0, body: float = 0.1) -> np.ndarray:
    """One pixel far above a square of warm ones, and a breath of noise elsewhere."""
    maps = np.random.default_rng(0).random(SHAPE) * 0.002
    maps[:, 8:16, 16:24] = body
    maps[1, 12, 20] = peak
    return maps


@pytest.mark.parametrize("ground", [0, 90, 255])
def test_one_strong_pixel_does_not_hide_the_rest(ground: int) -> None:
    shown = replace(explanation_of(spot()), frames_THWC=np.full((*SHAPE, 3), ground, np.uint8))
    change = np.abs(overlay_frames(shown).astype(int) - ground).max(axis=3)
    assert change[:, 9:15, 17:23].min() > 60
    assert change[:, 20:, :8].max() < 10  # and noise is not made to look like something


@pytest.mark.parametrize(
    "maps",
    [
        np.zeros(SHAPE),
        np.ones(SHAPE),
        1 - 0.05 * np.random.default_rng(0).random(SHAPE),
    ],
    ids=["nothing", "even", "even but for noise"],
)
def test_a_flat_map_is_called_flat_and_shows_no_heat(maps: np.ndarray) -> None:
    shown = explanation_of(maps)
    assert shown.full_heat is None
    assert shown.to_dict()["map_is_flat"] is True
    np.testing.assert_array_equal(overlay_frames(shown), shown.frames_THWC)
    picture = np.full((90, 160, 3), 77, np.uint8)
    np.testing.assert_array_equal(Overlay(shown).heat(picture, 0), picture)
    assert legend_of(None) == "flat map: no place stands out"
    title = build_contact_sheet(shown, [picture] * 4).get_suptitle()
    assert "a flat map, where no place stands out" in title


def test_the_scale_is_told() -> None:
    shown = explanation_of(spot())
    assert shown.full_heat == pytest.approx(0.1)
    assert not shown.to_dict()["map_is_flat"]
    assert legend_of(shown.full_heat) == "heat: 0 to 10% of the strongest place"
    figure = build_contact_sheet(shown, [np.zeros((90, 160, 3), np.uint8)] * 4)
    FigureCanvasAgg(figure).draw()
    bar = figure.axes[-1]
    assert [label.get_text() for label in bar.get_xticklabels()] == ["0", "10% and more"]
    assert "share of the strongest" in bar.get_xlabel()


@pytest.mark.parametrize("size", [(360, 640), (640, 360), (75, 101), (2160, 3840)])
def test_heat_lies_where_the_network_saw_it_at_any_size(size: tuple[int, int]) -> None:
    shown = replace(explanation_of(spot()), windows=((0.0, 0.25, 1.0, 0.5),))  # the middle half
    picture = np.full((*size, 3), 100, np.uint8)
    heated = Overlay(shown).heat(picture, 0)
    assert heated.shape == picture.shape
    assert (heated[:, : size[1] // 4 - 1] == 50).all()  # what was cut off is darker
    assert (heated[:, -(size[1] // 4) + 2 :] == 50).all()
    rows, columns = np.nonzero(
        np.abs(heated.astype(int) - 100)[:, size[1] // 4 + 2 : -(size[1] // 4) - 2].max(axis=2) > 60
    )
    middle = (rows.mean() / size[0], (columns.mean() + size[1] // 4 + 2) / size[1])
    assert middle == pytest.approx((12 / 32, 0.25 + 0.5 * 20 / 32), abs=0.02)
    focus = shown.to_dict()["frames"][0]["focus"]
    assert focus == pytest.approx([middle[1], middle[0]], abs=0.06)


def test_the_video_has_even_sides_a_legend_and_the_weight_in_the_colour_of_the_class() -> None:
    colour = class_colours(NAMES)["up"].rgb
    overlay = Overlay(explanation_of(spot()))
    for height, width in ((361, 641), (1, 1), (3, 200), (32, 32), (720, 1280)):
        picture = np.full((height, width, 3), 100, np.uint8)
        for frame, (share, ink) in enumerate(((0.5, colour), (1, colour), (0.25, GREY.rgb), (0, None))):
            done = overlay.finish(picture, frame)
            assert done.shape == (max(2, height & ~1), max(2, width & ~1), 3)
            length = int((done[-1] != 0).any(axis=1).sum())
            assert length == round(share * done.shape[1])
            if length:
                assert tuple(done[-1, 0]) == ink
        changed = (done[: -max(1, height // 60)] != 100).any(axis=2)
        assert not changed[: 2 * height // 3].any()  # the legend lies at the bottom
        assert changed.any() == (height > 300)


@pytest.mark.parametrize("num_frames", [1, 16, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [(90, 160), (160, 90), (40, 400)])
def test_the_cells_of_the_sheet_are_large_enough_to_see(num_frames: int, size: tuple[int, int]) -> None:
    shown = explanation_of(np.zeros((num_frames, 8, 8)), (0.5,) * num_frames)
    cells = [np.full((*size, 3), 100, np.uint8)] * num_frames
    figure = build_contact_sheet(shown, cells)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert len(boxes) == num_frames
    assert min(max(box.width, box.height) for box in boxes) * 110 / figure.dpi > 150
    assert max(figure.get_size_inches()) * 110 < 5000


def test_a_sheet_of_odd_names_is_written(tmp_path: Path) -> None:
    name = "行 $x$ " + "n" * 60
    shown = replace(
        explanation_of(spot()), video=f"{'v' * 200}.mp4", class_name=name, class_names=(*NAMES, name)
    )
    cells = [shrink_to_cell(np.zeros((1080, 1920, 3), np.uint8))] * 4
    assert cells[0].shape == (270, 480, 3)
    draw_contact_sheet(shown, cells, tmp_path / "s.png")
    assert image.imread(tmp_path / "s.png").shape[1] < 2500
