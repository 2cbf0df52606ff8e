"""The modes that give up exactness are explicit, and give up no more than they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.video.make import Reference
from vidcli.video import DecodeLimits, decode_frames

Video = Callable[[str], Path]

NAMES = [
    "h264_b_short.mp4",
    "h264_no_b.mov",
    "h264_open_gop.mp4",
    "h264_open_gop_refs.mkv",
    "h264_late_start.ts",
    "h264_flv.flv",
    "hevc_b.mp4",
    "vp9.webm",
    "mpeg4_b.mp4",
    "av1_low_delay.mp4",
    "mjpeg.avi",
]


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_keyframes_are_the_last_ones_before_each_moment(
    name: str, num_threads: int, video: Video, refer: Callable[..., Reference]
) -> None:
    path, chosen = video(name), np.array([0.0, 0.31, 0.3, 0.62, 0.99])
    limits = DecodeLimits(frames=len(chosen))  # nothing but the keyframes is decoded
    moments: list[np.ndarray] = []

    def plan(duration_seconds: float) -> np.ndarray:
        moments.append(chosen * duration_seconds)
        return moments[-1]

    decoded = decode_frames(path, plan, mode="keyframes", limits=limits, num_threads=num_threads)
    reference = refer(path)
    for moment, seconds, frame in zip(moments[0], decoded.pts_seconds, decoded.frames, strict=True):
        number = max(n for n in range(reference.shown_at(moment) + 1) if reference.is_key[n])
        assert seconds == reference.seconds[number]
        np.testing.assert_array_equal(frame, reference.frames[number])


def test_a_file_without_known_keyframes_is_decoded_exactly(
    video: Video, refer: Callable[..., Reference]
) -> None:
    path = video("gif.gif")
    decoded = decode_frames(path, lambda duration: np.array([0.4]), mode="keyframes")
    reference = refer(path)
    np.testing.assert_array_equal(decoded.frames[0], reference.frames[reference.shown_at(0.4)])


@pytest.mark.parametrize("name", ["h264_b_short.mp4", "hevc_b.mp4", "vp8.webm"])
def test_fast_frames_are_the_right_ones_and_nearly_alike(
    name: str, video: Video, refer: Callable[..., Reference]
) -> None:
    path, reference = video(name), refer(video(name))
    moments = np.array([0.1, 0.9, 1.7])
    decoded = decode_frames(path, lambda duration: moments, mode="fast")
    numbers = [reference.shown_at(moment) for moment in moments]
    assert decoded.pts_seconds.tolist() == [reference.seconds[number] for number in numbers]
    exact = np.stack([reference.frames[number] for number in numbers]).astype(int)
    difference = np.abs(decoded.frames - exact).mean()
    neighbours = np.stack([reference.frames[number + 3] for number in numbers]).astype(int)
    assert 0 < difference < 0.5 * np.abs(neighbours - exact).mean()


def test_exact_is_the_default(video: Video, refer: Callable[..., Reference]) -> None:
    path = video("h264_b_short.mp4")
    decoded = decode_frames(path, lambda duration: np.array([0.9]))
    reference = refer(path)
    np.testing.assert_array_equal(decoded.frames[0], reference.frames[reference.shown_at(0.9)])


def test_unknown_modes_are_refused(video: Video) -> None:
    with pytest.raises(ValueError, match="mode must be one of"):
        decode_frames(video("h264_b_short.mp4"), mode="quick")  # type: ignore[arg-type]
