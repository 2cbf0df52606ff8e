from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vidcli.config import AugmentConfig, ClipConfig
from vidcli.transforms import ClipTransform
from vidcli.transforms.focus import _axis_of, _cell_sums, motion_window


def moving_square(
    top: int, left: int, side: int = 12, size: tuple[int, int] = (108, 192), num_frames: int = 6
) -> npt.NDArray[np.uint8]:
    """Return frames of a noisy still scene in which a bright square trembles around a place."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 120, (*size, 3))
    frames = np.stack([scene + rng.integers(0, 4, (*size, 3)) for _ in range(num_frames)]).astype(np.uint8)
    for number, frame in enumerate(frames):
        shift = 3 * (number % 2)
        frame[top + shift : top + side + shift, left + shift : left + side + shift] = 240
    return frames


@pytest.mark.parametrize("place", [(10, 10), (50, 90), (80, 170), (4, 100)])
def test_the_window_holds_what_moves(place: tuple[int, int]) -> None:
    top, left, height, width = motion_window(moving_square(*place), (64, 112), 0.5)
    assert (height, width) == (54, 94)
    assert 0 <= top <= 108 - height
    assert 0 <= left <= 192 - width
    assert top <= place[0]
    assert place[0] + 15 <= top + height
    assert left <= place[1]
    assert place[1] + 15 <= left + width


def test_what_moves_in_the_middle_is_in_the_middle_of_the_window() -> None:
    top, left, height, width = motion_window(moving_square(46, 88), (9, 16), 0.4)
    assert abs(top + height / 2 - 54) <= 5
    assert abs(left + width / 2 - 96) <= 5


def test_the_window_grows_until_it_holds_what_moves() -> None:
    frames = moving_square(10, 10)
    far = moving_square(80, 160)
    frames[:, 78:, 150:] = far[:, 78:, 150:]
    top, left, height, width = motion_window(frames, (9, 16), 0.3)
    # The middle of both squares: a tenth of the motion may be outside.
    assert top <= 17
    assert top + height >= 87
    assert left <= 17
    assert left + width >= 167
    assert height < 100


@pytest.mark.parametrize("num_frames", [1, 5])
def test_without_motion_the_window_is_the_largest_and_in_the_middle(num_frames: int) -> None:
    frames = np.zeros((num_frames, 100, 200, 3), np.uint8)
    assert motion_window(frames, (1, 1), 0.5) == (0, 50, 100, 100)
    assert motion_window(frames, (1, 2), 0.5) == (0, 0, 100, 200)


def test_a_moving_camera_keeps_the_frame() -> None:
    scene = np.random.default_rng(1).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    scene = scene.repeat(8, axis=0).repeat(8, axis=1)
    frames = np.stack([scene[n : n + 108, 4 * n : 4 * n + 192] for n in range(8)])
    assert motion_window(frames, (9, 16), 0.4)[2] >= 86


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (49, 500), (500, 49)])
def test_windows_lie_in_frames_of_any_shape(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    top, left, height, width = motion_window(frames, (64, 112), 0.2)
    assert top >= 0
    assert left >= 0
    assert 1 <= height <= size[0] - top
    assert 1 <= width <= size[1] - left


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_frames_are_decoded_finer_for_the_window_but_never_enlarged(fit: str) -> None:
    transform = ClipTransform(ClipConfig(size=(64, 112), fit=fit, focus=0.5))  # type: ignore[arg-type]
    assert transform.decode_size(1080, 1920) == pytest.approx((128, 224), abs=4)
    height, width = transform.decode_size(80, 140)
    assert (height, width) == pytest.approx((80, 140), abs=1)
    assert transform.decode_size(30, 60)[0] >= 64


def test_a_clip_shows_what_moves_larger_and_training_crops_from_the_window() -> None:
    frames = moving_square(80, 160)
    shown = {}
    for focus in (1.0, 0.5):
        transform = ClipTransform(ClipConfig(size=(54, 96), fit="stretch", focus=focus))
        clip_TCHW = transform(frames if focus < 1 else frames[:, ::2, ::2])
        assert clip_TCHW.shape == (6, 3, 54, 96)
        shown[focus] = float((clip_TCHW > 1.5).float().mean())
    assert 3 < shown[0.5] / shown[1.0] < 5
    training = ClipTransform(ClipConfig(size=(54, 96), focus=0.5), AugmentConfig(crop_scale=0.9))
    clip_TCHW = training(frames, np.random.default_rng(3))
    assert clip_TCHW.shape == (6, 3, 54, 96)
    assert float((clip_TCHW > 1.5).float().mean()) > 2.5 * shown[1.0]


def test_the_same_frames_give_the_same_clip_in_training_and_in_eval() -> None:
    """Without augmentation both see the same window of the same frames."""
    frames = moving_square(20, 30)
    clip = ClipConfig(size=(54, 96), focus=0.6)
    plain = ClipTransform(clip, AugmentConfig())(frames, np.random.default_rng(0))
    assert (plain == ClipTransform(clip)(frames)).all()


@pytest.mark.parametrize("shape", [(1, 20, 30), (3, 17, 9), (2, 128, 224), (2, 480, 854)])
def test_cells_hold_the_sum_of_what_is_green(shape: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    side = max(1.0, max(shape[1:]) / 48)
    edges = [np.unique(np.arange(0, length, side).astype(int)) for length in shape[1:]]
    expected = np.add.reduceat(
        np.add.reduceat(frames[..., 1].astype(float), edges[0], axis=1), edges[1], axis=2
    )
    axes = [_axis_of(length, side) for length in shape[1:]]
    assert np.array_equal(_cell_sums(frames, *axes), expected)
    turned = frames[:, ::-1, :, :]  # not in the order of memory
    assert np.array_equal(_cell_sums(turned, *axes).sum(), expected.sum())
