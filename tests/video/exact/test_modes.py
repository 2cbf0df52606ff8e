"""The modes that give up exactness are explicit, and give up no more than they say."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.video.make import Recipe, Reference
from vidcli.video import DecodedFrames, DecodeLimits, DecodeMode, decode_frames, encode_video

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


REDUCIBLE = [
    ("mpeg4", ".avi", {"g": "12"}),
    ("mpeg4", ".avi", {"g": "12", "bf": "2"}),
    ("mpeg4", ".mp4", {"g": "12", "bf": "2"}),
    ("mjpeg", ".avi", {"qmin": "3", "qmax": "5"}),
    ("mjpeg", ".mov", {"qmin": "3", "qmax": "5"}),
]
by_kind = pytest.mark.parametrize(("codec", "suffix", "options"), REDUCIBLE)


def write_waves(path: Path, codec: str, options: dict[str, str], num_frames: int = 50) -> Path:
    """Write 96x128 pictures of waves that pass, so smooth that a quarter of the resolution shows all."""
    rows, columns = np.mgrid[:96, :128]
    waves = (
        128 + 100 * np.sin((columns + 3 * number) / 20) * np.cos((rows + 2 * number) / 15)
        for number in range(num_frames)
    )
    pictures = (np.stack([wave, 255 - wave, wave], -1).astype(np.uint8) for wave in waves)
    encode_video(path, pictures, 25, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p", options)
    return path


@pytest.mark.parametrize("num_threads", [1, 2])
@by_kind
def test_fast_decodes_small_frames_at_a_fraction_of_the_resolution(
    codec: str, suffix: str, options: dict[str, str], num_threads: int, tmp_path: Path
) -> None:
    path = write_waves(tmp_path / f"waves{suffix}", codec, options)

    def decode(moments: np.ndarray, mode: DecodeMode) -> DecodedFrames:
        def quarter(height: int, width: int) -> tuple[int, int]:
            return height // 4, width // 4

        return decode_frames(path, lambda d: moments, quarter, mode=mode, num_threads=num_threads)

    moments = np.array([0.1, 0.9, 1.5])
    exact, fast = decode(moments, "exact"), decode(moments, "fast")
    assert fast.pts_seconds.tolist() == exact.pts_seconds.tolist()
    assert fast.frames.shape == exact.frames.shape
    neighbours = decode(moments + 0.16, "exact")
    difference = np.abs(fast.frames.astype(int) - exact.frames).mean()
    assert 0.1 < difference < 0.25 * np.abs(neighbours.frames.astype(int) - exact.frames).mean()


@pytest.mark.parametrize("size", [None, (25, 32), (24, 33), (48, 64)])
@by_kind
def test_fast_never_decodes_fewer_pixels_than_wanted(
    codec: str, suffix: str, options: dict[str, str], size: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = write_waves(tmp_path / f"waves{suffix}", codec, options, num_frames=14)
    rule = None if size is None else lambda height, width: size
    pictures = [
        decode_frames(path, lambda d: np.array([0.3, 0.8]) * d, rule, mode=mode).frames
        for mode in ("exact", "fast")
    ]
    np.testing.assert_array_equal(*pictures)


def test_fast_reduces_no_long_groups_of_mpeg4(tmp_path: Path) -> None:
    """What is wrong in one picture is carried on to the next."""
    path = write_waves(tmp_path / "long.avi", "mpeg4", {"g": "17"})
    pictures = [
        decode_frames(path, lambda d: np.array([0.7]) * d, lambda *_: (24, 32), mode=mode).frames
        for mode in ("exact", "fast")
    ]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_rules_of_size_see_the_whole_picture(codec: str, rotation: int, tmp_path: Path) -> None:
    recipe = Recipe(
        "odd",
        ".mp4",
        codec,
        {"g": "5"},
        pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
        size=(45, 91),
        num_frames=10,
        rotation=rotation,
        pixel_aspect=Fraction(2) if codec == "mpeg4" else None,
    )
    path = recipe.write(tmp_path)
    asked: list[tuple[int, int]] = []

    def rule(height: int, width: int) -> tuple[int, int]:
        asked.append((height, width))
        return height // 4, width // 4

    shapes = []
    for mode in ("exact", "fast"):
        shapes.append(decode_frames(path, lambda d: np.zeros(1), rule, mode=mode).frames.shape)
    assert shapes[0] == shapes[1]
    assert asked[-1] == asked[0]


def test_exact_is_the_default(video: Video, refer: Callable[..., Reference]) -> None:
    path = video("h264_b_short.mp4")
    decoded = decode_frames(path, lambda duration: np.array([0.9]))
    reference = refer(path)
    np.testing.assert_array_equal(decoded.frames[0], reference.frames[reference.shown_at(0.9)])


def test_unknown_modes_are_refused(video: Video) -> None:
    with pytest.raises(ValueError, match="mode must be one of"):
        decode_frames(video("h264_b_short.mp4"), mode="quick")  # type: ignore[arg-type]
