"""Only what wanted frames need is decoded; limits hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vidcli.errors import VideoError
from vidcli.video import DecodeLimits, decode_frames, probe, repeat_video
from vidcli.video.exact.short_file import is_short
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import open_video

Video = Callable[[str], Path]


def count_decoded(path: Path, *chosen: float) -> int:
    """Return the smallest limit of decoded frames that lets the request pass."""
    for count in range(1, 70):
        try:
            decode_frames(path, lambda d: np.array(chosen) * d, limits=DecodeLimits(frames=count))
            return count
        except VideoError:
            continue
    raise AssertionError("more than the whole file was decoded")


@pytest.mark.usefixtures("planner")
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("h264_b_long.mp4", 22),  # 60 frames, one group: the P frames up to there
        ("h264_b_short.mp4", 8),  # groups of 12
        ("h264_no_b.mov", 15),  # groups of 15 without anything to leave out
        ("h264_pyramid_strict.mp4", 14),
        ("h264_vfr.mkv", 9),
        ("h264_late_start.ts", 8),
        ("h264_flv.flv", 8),
        ("hevc_b.mp4", 8),
        ("hevc_ts.ts", 8),
        ("vp8.webm", 12),
        ("vp9.webm", 12),
        ("av1.mkv", 9),
        ("av1_low_delay.mp4", 16),
        ("mpeg4_b.mp4", 8),
        ("mpeg2_b.ts", 8),
        ("mjpeg.avi", 1),
        ("mjpeg.mov", 1),
        ("prores.mov", 1),
    ],
)
def test_one_late_frame_needs_few_others(video: Video, name: str, most: int) -> None:
    assert count_decoded(video(name), 0.93) <= most


@pytest.mark.parametrize(
    ("name", "most"), [("mpeg4_b.avi", 8), ("mpeg4_b_long.avi", 22), ("mpeg4_packed.avi", 8)]
)
def test_short_files_without_presentation_times_are_planned(video: Video, name: str, most: int) -> None:
    assert count_decoded(video(name), 0.93) <= most


@pytest.mark.parametrize("name", ["mpeg4_b.mp4", "mpeg4_b.avi", "mpeg4_packed.avi", "hevc_open_gop.mp4"])
def test_neighbours_across_a_keyframe_are_planned(video: Video, name: str) -> None:
    """What is shown before a keyframe and comes after it in the file needs the group before."""
    for start in range(10, 34):
        assert count_decoded(video(name), *((start + np.arange(3)) / 60)) < 40


def test_only_short_files_are_read_to_their_end_first(video: Video, tmp_path: Path) -> None:
    short, long = video("h264_b_short.mp4"), tmp_path / "long.mp4"
    repeat_video(short, long, 10)
    answers = []
    for path in (short, long):
        with open_video(path, Budget(path, DecodeLimits()), lean=True) as (container, stream):
            answers.append(is_short(container, stream))
    assert answers == [True, False]


def test_all_frames_of_a_file_are_decoded_once(video: Video) -> None:
    assert count_decoded(video("h264_b_short.mp4"), *np.arange(60) / 60) == 60


def test_cost_follows_what_is_wanted(video: Video) -> None:
    path = video("h264_b_short.mp4")
    assert count_decoded(path, 0.1, 0.9) <= count_decoded(path, 0.1) + count_decoded(path, 0.9)


def test_limit_of_frames_is_named(video: Video) -> None:
    with pytest.raises(VideoError, match=r"limit of 3 frames decoded for one request"):
        decode_frames(video("h264_b_long.mp4"), limits=DecodeLimits(frames=3))


@pytest.mark.parametrize("name", ["h264_b_long.mp4", "vp9.webm", "gif.gif"])
def test_limit_of_pixels_is_named(video: Video, name: str) -> None:
    with pytest.raises(VideoError, match=r"more than the limit of 3071 pixels"):
        decode_frames(video(name), lambda d: np.zeros(1), limits=DecodeLimits(pixels=64 * 48 - 1))
    with pytest.raises(VideoError, match=r"3071"):
        probe(video(name), DecodeLimits(pixels=64 * 48 - 1))


def test_limit_of_seconds_is_named(video: Video) -> None:
    def dawdle(duration_seconds: float) -> np.ndarray:
        time.sleep(0.1)
        return np.array([0.9]) * duration_seconds

    with pytest.raises(VideoError, match=r"longer than the limit of 0.05 s"):
        decode_frames(video("h264_b_long.mp4"), dawdle, limits=DecodeLimits(seconds=0.05))


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="frames must be positive"):
        DecodeLimits(frames=0)


def test_one_thread_at_least(video: Video) -> None:
    with pytest.raises(ValueError, match="num_threads"):
        decode_frames(video("h264_b_long.mp4"), num_threads=0)


def test_plans_must_be_finite(video: Video) -> None:
    with pytest.raises(ValueError, match="finite"):
        decode_frames(video("h264_b_long.mp4"), lambda d: np.array([np.nan]))


def test_no_moment_gives_no_frame(video: Video) -> None:
    decoded = decode_frames(video("h264_b_long.mp4"), lambda d: np.zeros(0))
    assert decoded.frames.shape == (0, 48, 64, 3)
