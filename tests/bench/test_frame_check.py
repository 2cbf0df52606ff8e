"""Frames of other decoders: colours may differ, frames may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.make import moving_pictures
from vidcli.bench.frame_check import References, coarse, find_fault, find_references
from vidcli.video import decode_frames, encode_video

FPS = 25.0
SIZE = (96, 128)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "clip.mp4"
    encode_video(path, moving_pictures(50, *SIZE), FPS, options={"g": "10", "bf": "2", "crf": "18"})
    return path


@pytest.fixture(scope="module")
def moments() -> np.ndarray:
    return (np.arange(16) + 0.5) * 2 / 16


@pytest.fixture(scope="module")
def references(clip: Path, moments: np.ndarray) -> References:
    return find_references(clip, moments, SIZE, FPS)


def shown(clip: Path, moments: np.ndarray) -> np.ndarray:
    return decode_frames(clip, lambda duration: moments).frames


def test_the_right_frames_have_no_fault(clip: Path, moments: np.ndarray, references: References) -> None:
    assert find_fault(shown(clip, moments), references, SIZE) is None


@pytest.mark.parametrize(("gain", "offset"), [(0.86, 16), (1.1, -10), (1, 6)])
def test_other_colours_are_no_fault(
    gain: float, offset: float, clip: Path, moments: np.ndarray, references: References
) -> None:
    frames = shown(clip, moments)
    mixed = 0.95 * frames + 0.05 * frames[..., [1, 2, 0]]  # as of another colour matrix
    frames = np.clip(mixed * gain + offset, 0, 255).astype(np.uint8)
    assert find_fault(frames, references, SIZE) is None


@pytest.mark.parametrize("shift", [-2, -1, 1, 2, 7])
def test_neighbours_and_strangers_are_counted(
    shift: int, clip: Path, moments: np.ndarray, references: References
) -> None:
    frames = shown(clip, moments)
    frames[3:5] = shown(clip, moments[3:5] + shift / FPS)
    assert find_fault(frames, references, SIZE) == "2 of 16 frames are others"


def test_a_repeated_frame_is_told(clip: Path, moments: np.ndarray, references: References) -> None:
    frames = shown(clip, moments)
    frames[9] = frames[8]
    assert find_fault(frames, references, SIZE) == "1 of 16 frames are others"


def test_the_frame_before_a_start_is_as_right_as_the_one_that_starts(clip: Path) -> None:
    starts = np.array([0.4, 0.8])
    references = find_references(clip, starts, SIZE, FPS)
    for moments in (starts, starts - 0.002):
        assert find_fault(shown(clip, moments), references, SIZE) is None


def test_missing_frames_and_other_sizes_are_told(
    clip: Path, moments: np.ndarray, references: References
) -> None:
    frames = shown(clip, moments)
    fault = find_fault(frames[:15], references, SIZE)
    assert fault == "gave 15 frames of 128x96 instead of 16 frames of 128x96"
    assert "of 96x128" in str(find_fault(frames.transpose(0, 2, 1, 3), references, SIZE))
    assert "shape ()" in str(find_fault(None, references, SIZE))


def test_black_frames_and_frames_upside_down_are_others(
    clip: Path, moments: np.ndarray, references: References
) -> None:
    frames = shown(clip, moments)
    assert find_fault(np.zeros_like(frames), references, SIZE) == "16 of 16 frames are others"
    assert find_fault(frames[:, ::-1], references, SIZE) == "16 of 16 frames are others"


def test_nobody_can_tell_in_a_video_that_stands_still(tmp_path: Path, moments: np.ndarray) -> None:
    path = tmp_path / "still.mp4"
    encode_video(path, [np.full((*SIZE, 3), 90, np.uint8)] * 50, FPS)
    references = find_references(path, moments, SIZE, FPS)
    assert find_fault(shown(path, moments + 0.2), references, SIZE) is None


def test_coarse_pictures_are_means_of_cells() -> None:
    frame = np.zeros((1, 5, 7, 3), np.uint8)
    frame[0, :2, :3] = 90
    np.testing.assert_allclose(coarse(frame, 2, 2), [[[90, 0], [0, 0]]], atol=1e-4)
