from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidcli import sampling
from vidcli.sampling import ClipSampler, SamplingMode, neighbour_seconds, neighbour_steps, shown_frames

DURATION = 20.0  # of the patterns in the module's docstring: one character a second

durations = st.floats(0, 1e5, allow_subnormal=False)
lengths = st.integers(1, 64)
view_counts = st.integers(1, 8)
seeds = st.integers(0, 2**32 - 1)


def pattern_called(name: str) -> str:
    """Return the drawing of a pattern in the module's docstring."""
    match = re.search(rf"^    {re.escape(name)} +([.f]+) ", sampling.__doc__ or "", re.MULTILINE)
    assert match is not None
    assert len(match[1]) == DURATION
    return match[1]


def draw(moments: np.ndarray) -> str:
    """Draw moments as the docstring does."""
    wanted = set(np.floor(moments).astype(int).ravel().tolist())
    return "".join("f" if second in wanted else "." for second in range(int(DURATION)))


# --- golden values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sampler", "expected"),
    [
        ("segments, centre", ClipSampler(4), [[2.5, 7.5, 12.5, 17.5]]),
        ("dense, stride 2", ClipSampler(4, "dense", 2.0), [[7, 9, 11, 13]]),
        ("dense, two views", ClipSampler(4, "dense", 2.0, 2), [[1, 3, 5, 7], [13, 15, 17, 19]]),
    ],
    ids=["segments", "dense", "dense views"],
)
def test_fixed_patterns(name: str, sampler: ClipSampler, expected: list[list[float]]) -> None:
    moments = sampler(DURATION)
    np.testing.assert_allclose(moments, expected)
    assert draw(moments) == pattern_called(name)


def test_random_pattern_is_one_that_can_be_drawn() -> None:
    segments = re.findall(".....", pattern_called("segments, random"))
    assert [segment.count("f") for segment in segments] == [1, 1, 1, 1]


def test_views_of_segments_take_other_points_of_each_segment() -> None:
    moments = ClipSampler(2, views=2)(DURATION)
    np.testing.assert_allclose(moments, [[2.5, 12.5], [7.5, 17.5]])


def test_stride_of_one_frame_takes_every_frame_once() -> None:
    fps = 30000 / 1001
    moments = ClipSampler(12, "dense", 1 / fps)(12 / fps)
    np.testing.assert_array_equal(shown_frames(np.arange(12) / fps, moments), [np.arange(12)])


# --- properties -----------------------------------------------------------------------------------


@given(durations, lengths, view_counts, st.none() | seeds)
def test_segments_lie_inside_the_video(duration: float, length: int, views: int, seed: int | None) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    moments = ClipSampler(length, views=views)(duration, rng)
    assert moments.shape == (views, length)
    assert moments.dtype == np.float64
    assert (moments >= 0).all()
    assert (moments <= duration).all()
    assert (np.diff(moments, axis=1) >= 0).all()


@given(st.floats(0.01, 1e5), lengths, seeds)
def test_random_moments_lie_inside_their_segments(duration: float, length: int, seed: int) -> None:
    moments = ClipSampler(length)(duration, np.random.default_rng(seed))[0]
    edges = np.linspace(0, duration, length + 1)
    slack = 1e-9 * duration
    assert (moments >= edges[:-1] - slack).all()
    assert (moments <= edges[1:] + slack).all()


def test_random_moments_reach_every_part_of_a_segment() -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([ClipSampler(4)(4.0, rng)[0] % 1 for _ in range(200)])
    counts, _ = np.histogram(offsets, bins=4, range=(0, 1))
    assert (counts > 150).all()  # 200 expected in each


@given(durations, lengths, st.floats(1e-3, 60), view_counts, st.none() | seeds)
def test_dense_clips_keep_their_stride(
    duration: float, length: int, stride: float, views: int, seed: int | None
) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    moments = ClipSampler(length, "dense", stride, views)(duration, rng)
    assert moments.shape == (views, length)
    np.testing.assert_allclose(np.diff(moments, axis=1), stride, atol=1e-9 * (duration + length * stride))
    assert (moments > 0).all()
    if length * stride <= duration:
        assert (moments <= duration).all()
    else:  # shorter than the clip: from the start, and on past the end
        np.testing.assert_allclose(moments[:, 0], stride / 2)


@given(st.integers(2, 12), st.integers(1, 16))
def test_dense_views_cover_the_video_evenly(views: int, length: int) -> None:
    duration, stride = 100.0, 0.5
    starts = ClipSampler(length, "dense", stride, views)(duration)[:, 0] - stride / 2
    assert starts[0] == pytest.approx(0)
    assert starts[-1] == pytest.approx(duration - length * stride)
    np.testing.assert_allclose(np.diff(starts), np.diff(starts)[0])


@pytest.mark.parametrize("mode", ["segments", "dense"])
@pytest.mark.parametrize("seed", [None, 0])
def test_a_still_answers_with_its_only_frame(mode: SamplingMode, seed: int | None) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    moments = ClipSampler(5, mode, views=3)(0.0, rng)
    assert moments.shape == (3, 5)
    assert (shown_frames(np.zeros(1), moments) == 0).all()


def test_dense_clip_longer_than_the_video_holds_the_last_frame() -> None:
    moments = ClipSampler(6, "dense", 1.0)(3.0)
    np.testing.assert_array_equal(shown_frames(np.arange(3.0), moments), [[0, 1, 2, 2, 2, 2]])


@pytest.mark.parametrize("mode", ["segments", "dense"])
def test_equal_generators_give_equal_moments_and_others_do_not(mode: SamplingMode) -> None:
    sampler = ClipSampler(4, mode, views=2)
    first, again, other = (sampler(9.0, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "arguments", [{"length": 0}, {"length": 4, "views": 0}, {"length": 4, "stride_seconds": 0.0}]
)
def test_impossible_samplers_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ClipSampler(**arguments)  # type: ignore[arg-type]


def test_speed_stretches_dense_clips_both_ways_within_its_range() -> None:
    sampler = ClipSampler(8, "dense", stride_seconds=0.1, speed=1.0)
    strides = []
    for seed in range(200):
        moments = sampler(10.0, np.random.default_rng(seed))[0]
        gaps = np.diff(moments)
        np.testing.assert_allclose(gaps, gaps[0])
        assert moments[0] >= 0
        assert moments[-1] <= 10
        strides.append(gaps[0])
    assert 0.05 <= min(strides) < 0.055
    assert 0.19 < max(strides) <= 0.2
    assert 0.4 < np.mean(np.array(strides) > 0.1) < 0.6


def test_speed_lets_segments_cover_a_part_of_the_video() -> None:
    sampler = ClipSampler(400, "segments", speed=1.0)
    spans = []
    for seed in range(100):
        moments = sampler(10.0, np.random.default_rng(seed))[0]
        assert (np.diff(moments) > 0).all()
        assert moments[0] >= 0
        assert moments[-1] <= 10
        spans.append((moments[0], moments[-1] - moments[0]))
    starts, lengths = np.array(spans).T
    assert 4.9 < lengths.min() < 5.3
    assert lengths.max() > 9.5
    assert starts.max() > 3


def test_jitter_keeps_frames_of_dense_clips_in_their_stride() -> None:
    sampler = ClipSampler(8, "dense", stride_seconds=0.1, jitter=1.0)
    late = []
    for seed in range(50):
        moments = sampler(0.8, np.random.default_rng(seed))[0]  # no slack: the first stride starts at 0
        late.append(moments / 0.1 - np.arange(8))
    assert 0 <= np.min(late) < 0.02
    assert 0.98 < np.max(late) <= 1
    half = ClipSampler(8, "dense", stride_seconds=0.1, jitter=0.5)(0.8, np.random.default_rng(0))[0]
    assert (np.abs(half / 0.1 - np.arange(8) - 0.5) <= 0.25 + 1e-9).all()


@pytest.mark.parametrize("mode", ["segments", "dense"])
def test_evaluation_knows_neither_speed_nor_jitter(mode: SamplingMode) -> None:
    plain, changed = ClipSampler(4, mode), ClipSampler(4, mode, speed=1.0, jitter=1.0)
    np.testing.assert_array_equal(plain(3.0), changed(3.0))


@pytest.mark.parametrize("arguments", [{"speed": -0.1}, {"jitter": 1.1}, {"jitter": -0.1}])
def test_impossible_changes_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="speed must not be negative, and jitter"):
        ClipSampler(4, **arguments)  # type: ignore[arg-type]


@given(st.floats(1e-3, 1e4))
def test_neighbours_are_near_and_divide_the_time_to_the_next_moment(spacing: float) -> None:
    steps = neighbour_steps(spacing)
    assert steps % 2 == 1  # so that moments lie in the middles of steps
    assert neighbour_seconds(spacing) == spacing / steps <= 0.1 + 1e-9 or steps == 1
    assert steps == 1 or spacing / (steps - 2) > 0.1


@pytest.mark.parametrize("mode", ["segments", "dense"])
@pytest.mark.parametrize("views", [1, 3])
def test_each_moment_stands_between_its_neighbours(mode: SamplingMode, views: int) -> None:
    plain = ClipSampler(4, mode, 0.5, views)
    for duration in (0.0, 0.1, 7.0):
        moments = ClipSampler(4, mode, 0.5, views, neighbours=True)(duration)
        assert moments.shape == (views, 4, 3)
        np.testing.assert_array_equal(moments[..., 1], plain(duration))
        assert moments.min() >= 0
        step = neighbour_seconds(0.5 if mode == "dense" else duration / 4)
        np.testing.assert_allclose(moments[..., 2] - moments[..., 1], step)
        np.testing.assert_allclose(moments[..., 0], np.maximum(moments[..., 1] - step, 0))


def test_negative_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        ClipSampler(4)(-1.0)


# --- which frame is shown -------------------------------------------------------------------------


def shown_frame(pts_seconds: list[float], wanted: float) -> int:
    """Say it in words: the last frame that has started, or does within a millisecond or quarter period."""
    shown = 0
    periods = len(pts_seconds) - 1
    early = min(1e-3, pts_seconds[-1] / periods / 4) if periods else 1e-3
    for index, pts in enumerate(pts_seconds):
        if pts <= wanted + early:
            shown = index
    return shown


@given(
    st.lists(st.integers(1, 400), max_size=30),  # milliseconds from frame to frame: variable rate
    st.lists(st.integers(-500, 20_000), min_size=1, max_size=20),
)
def test_shown_frames_equal_a_plain_loop(gaps: list[int], wanted: list[int]) -> None:
    pts_seconds = np.cumsum([0, *gaps]) / 1000
    moments = np.array(wanted) / 1000 + 0.0003  # off the edges, where rounding decides
    expected = [shown_frame(pts_seconds.tolist(), moment) for moment in moments.tolist()]
    assert shown_frames(pts_seconds, moments).tolist() == expected


def test_shown_frames_keep_the_shape_of_the_moments() -> None:
    shown = shown_frames(np.arange(4.0), np.array([[-1.0, 0.5], [2.0, 99.0]]))
    np.testing.assert_array_equal(shown, [[0, 0], [2, 3]])
    assert shown.dtype == np.int64


def test_matroska_rounding_does_not_shift_a_frame() -> None:
    exact = np.arange(300) / 30
    rounded = np.round(exact, 3)  # such as 0.033 for 0.0333..., and 0.067 for 0.0666...
    assert (rounded > exact).any()
    np.testing.assert_array_equal(shown_frames(rounded, exact), np.arange(300))
