"""The frames are those that decoding the file from end to end shows, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.video.make import RECIPES, Recipe, Reference
from vidcli.video import DecodedFrames, decode_frames

SMALL = (30, 38)

by_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name + recipe.suffix)
few_examples = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Parts of the duration, also a little before the start and after the end.
parts = st.lists(st.floats(-0.0625, 1.0625, allow_subnormal=False), min_size=1, max_size=12)


def assert_same(decoded: DecodedFrames, reference: Reference, moments: np.ndarray) -> None:
    numbers = [reference.shown_at(moment) for moment in moments]
    assert len(decoded.frames) == len(numbers)
    assert decoded.pts_seconds.tolist() == [reference.seconds[number] for number in numbers]
    for frame, number in zip(decoded.frames, numbers, strict=True):
        np.testing.assert_array_equal(frame, reference.frames[number])


def decode_parts(path: Path, chosen: list[float], **kwargs: object) -> tuple[DecodedFrames, np.ndarray]:
    moments: list[np.ndarray] = []

    def plan(duration_seconds: float) -> np.ndarray:
        moments.append(np.array(chosen) * duration_seconds)
        return moments[-1]

    decoded = decode_frames(path, plan, **kwargs)  # type: ignore[arg-type]
    assert len(moments) == 1, "a plan may be random: it must be asked once"
    return decoded, np.minimum(moments[0], decoded.duration_seconds)


@pytest.mark.usefixtures("planner")
@by_recipe
@few_examples
@given(chosen=parts)
def test_random_plans_equal_a_plain_decode(
    recipe: Recipe,
    chosen: list[float],
    write_video: Callable[[Recipe], Path],
    refer: Callable[..., Reference],
) -> None:
    path = write_video(recipe)
    decoded, moments = decode_parts(path, chosen)
    assert_same(decoded, refer(path), moments)


@pytest.mark.usefixtures("planner")
@by_recipe
def test_sixteen_spread_frames_equal_a_plain_decode_when_scaled(
    recipe: Recipe, write_video: Callable[[Recipe], Path], refer: Callable[..., Reference]
) -> None:
    path = write_video(recipe)
    chosen = [(number + 0.5) / 16 for number in range(16)]
    decoded, moments = decode_parts(path, chosen, size=lambda height, width: SMALL)
    assert decoded.frames.shape == (16, *SMALL, 3)
    assert_same(decoded, refer(path, SMALL), moments)


@by_recipe
def test_several_threads_equal_a_plain_decode(
    recipe: Recipe, write_video: Callable[[Recipe], Path], refer: Callable[..., Reference]
) -> None:
    path = write_video(recipe)
    chosen = [(number + 0.5) / 9 for number in range(9)]
    decoded, moments = decode_parts(path, chosen, num_threads=3)
    assert_same(decoded, refer(path), moments)


@pytest.mark.usefixtures("planner")
@by_recipe
def test_every_frame_and_every_start_time(
    recipe: Recipe, write_video: Callable[[Recipe], Path], refer: Callable[..., Reference]
) -> None:
    path = write_video(recipe)
    reference = refer(path)
    every = decode_frames(path)
    assert every.pts_seconds.tolist() == reference.seconds
    for number, frame in enumerate(every.frames):
        np.testing.assert_array_equal(frame, reference.frames[number])
    # Asked for at the very moment each frame starts, it is that frame, and not its neighbour.
    starts = every.pts_seconds
    again = decode_frames(path, lambda duration: starts)
    # Headers may end before the last frame does; nothing can be asked for beyond.
    assert_same(again, reference, np.minimum(starts, again.duration_seconds))


@pytest.mark.usefixtures("planner")
@by_recipe
@few_examples
@given(chosen=parts, bounds=st.tuples(st.floats(0, 0.9, allow_subnormal=False), st.floats(0.05, 1)))
def test_spans_count_from_their_start(
    recipe: Recipe,
    chosen: list[float],
    bounds: tuple[float, float],
    write_video: Callable[[Recipe], Path],
    refer: Callable[..., Reference],
) -> None:
    path = write_video(recipe)
    reference = refer(path)
    start = bounds[0] * reference.seconds[-1]
    end = start + bounds[1]
    spans: list[float] = []

    def plan(duration_seconds: float) -> np.ndarray:
        spans.append(duration_seconds)
        return np.abs(chosen) * duration_seconds

    decoded = decode_frames(path, plan, start_seconds=start, end_seconds=end)
    assert decoded.duration_seconds == spans[0]
    # The span is half-open: its end is answered with the last frame that starts inside.
    moments = np.minimum(start + np.abs(chosen) * spans[0], start + spans[0] - 2e-3)
    numbers = [reference.shown_at(moment) for moment in moments]
    np.testing.assert_allclose(
        decoded.pts_seconds, [reference.seconds[number] - start for number in numbers], atol=1e-9
    )
    for frame, number in zip(decoded.frames, numbers, strict=True):
        np.testing.assert_array_equal(frame, reference.frames[number])


def data_folder() -> Path:
    return Path(os.environ.get("VIDCLI_TEST_DATA") or Path(__file__).parents[3] / "../shared/data")


def odd_files() -> list[Path]:
    folder = data_folder() / "odd"
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


@pytest.mark.usefixtures("planner")
@pytest.mark.data
@pytest.mark.skipif(not odd_files(), reason="no real videos in VIDCLI_TEST_DATA or ../shared/data")
@pytest.mark.parametrize("path", odd_files(), ids=lambda path: path.name)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_real_files_equal_a_plain_decode(
    path: Path, num_threads: int, refer: Callable[..., Reference]
) -> None:
    small = (36, 48)
    reference = refer(path, small)
    rng = np.random.default_rng(len(path.name))
    for chosen in ([(number + 0.5) / 16 for number in range(16)], rng.random(5).tolist(), [0.7], [1.0, 0.0]):
        decoded, moments = decode_parts(
            path, chosen, size=lambda height, width: small, num_threads=num_threads
        )
        assert_same(decoded, reference, moments)
