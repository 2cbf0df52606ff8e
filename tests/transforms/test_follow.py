"""The window that follows what moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vidcli.transforms.focus import Window
from vidcli.transforms.follow import follow_motion

Clip = npt.NDArray[np.uint8]
Path = npt.NDArray[np.float64]
"""Row and column of the middle of what moves, for each moment."""

HEIGHT, WIDTH = 240, 320


def textured(seed: int = 0) -> npt.NDArray[np.float64]:
    """Return a background of soft blots with some contrast, larger than a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 160, (2 * HEIGHT // 20, 2 * WIDTH // 20))
    return np.kron(coarse, np.ones((20, 20)))


def film(path: Path, side: int, shake: float = 0.0, noise: float = 1.0, step: float = 3.0) -> Clip:
    """Return moments with neighbours of a bright square on a textured background.

    Args:
        path: row and column of its middle at each moment.
        side: of the square.
        shake: how far the camera moves between neighbours, in pixels.
        noise: spread of the noise of each pixel.
        step: how far the square moves between neighbours, to the right.
    """
    rng = np.random.default_rng(1)
    background = textured()
    frames = np.empty((len(path), 3, HEIGHT, WIDTH, 3))
    for moment, (row, column) in enumerate(path):
        down, right = rng.integers(40, 60, 2)
        for neighbour in range(3):
            shift = round(shake * (neighbour - 1))
            picture = background[down + shift : down + shift + HEIGHT, right : right + WIDTH].copy()
            top = round(row - side / 2)
            left = round(column - side / 2 + step * (neighbour - 1))
            picture[top : top + side, left : left + side] = 230
            frames[moment, neighbour] = picture[..., None] + rng.normal(0, noise, (HEIGHT, WIDTH, 1))
    return frames.clip(0, 255).astype(np.uint8)


def middles(windows: list[Window]) -> Path:
    return np.array([[top + height / 2, left + width / 2] for top, left, height, width in windows])


DIAGONAL = np.stack([np.linspace(70, 170, 8), np.linspace(60, 250, 8)], axis=1)


@pytest.mark.parametrize("shake", [0.0, 4.0])
def test_a_small_thing_is_followed_also_by_a_moving_camera(shake: float) -> None:
    windows = follow_motion(film(DIAGONAL, 8, shake), (32, 32))
    assert np.abs(middles(windows) - DIAGONAL).max() < 8
    sizes = {window[2:] for window in windows}
    assert len(sizes) == 1  # what grows would look like what comes near
    (height, width) = sizes.pop()
    assert height == width
    assert height < HEIGHT / 4


def test_a_larger_thing_has_a_larger_window() -> None:
    small, large = (follow_motion(film(DIAGONAL, side, step=side / 2), (32, 32))[0][2] for side in (8, 60))
    assert large > 60
    assert large > 2 * small


def test_a_window_has_the_proportions_of_the_panel_and_stays_inside() -> None:
    corner = np.full((6, 2), 12.0)
    for top, left, height, width in follow_motion(film(corner, 8), (32, 64)):
        assert 2 * height == pytest.approx(width, abs=1)
        assert top >= 0 <= left
        assert top + height <= HEIGHT
        assert left + width <= WIDTH


def test_a_moment_at_which_nothing_moves_lies_between_its_neighbours() -> None:
    frames = film(DIAGONAL, 8)
    frames[3] = frames[3, :1]  # all three are one picture
    assert np.abs(middles(follow_motion(frames, (32, 32)))[3] - DIAGONAL[3]).max() < 8


def test_a_flash_elsewhere_does_not_distract() -> None:
    frames = film(DIAGONAL, 8)
    frames[4, 1, 200:212, 60:72] = 255
    assert np.abs(middles(follow_motion(frames, (32, 32))) - DIAGONAL).max() < 10


@pytest.mark.parametrize("proportions", [(32, 32), (16, 32)])
def test_without_motion_the_window_is_the_largest_one(proportions: tuple[int, int]) -> None:
    still = np.repeat(film(DIAGONAL, 8, noise=0)[:1, 1:2], 3, axis=1).repeat(4, axis=0)
    height = min(HEIGHT, WIDTH * proportions[0] // proportions[1])
    width = height * proportions[1] // proportions[0]
    expected = ((HEIGHT - height) // 2, (WIDTH - width) // 2, height, width)
    assert follow_motion(still, proportions) == [expected] * 4


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (720, 90)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, *size, 3), dtype=np.uint8)
    for top, left, height, width in follow_motion(frames, (32, 32)):
        assert 0 <= top <= top + height <= size[0]
        assert 0 <= left <= left + width <= size[1]
        assert height >= 1 <= width


def test_one_moment_alone() -> None:
    (window,) = follow_motion(film(DIAGONAL[3:4], 8), (32, 32))
    assert np.abs(middles([window]) - DIAGONAL[3]).max() < 8
