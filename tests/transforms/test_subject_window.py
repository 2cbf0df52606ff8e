"""The window around a subject: where it is, that it is smooth, that it is cut before anything is scaled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidcli.config import load_config
from vidcli.transforms import ClipTransform
from vidcli.transforms.subject_window import SubjectWindow, averaged

TIMES = np.arange(0, 10, 0.1)


def _transform(size: str = "32", **clip: object) -> ClipTransform:
    settings = [f"clip.{name}={value}" for name, value in {"size": size, **clip}.items()]
    return ClipTransform(load_config(None, settings).clip)


def _window(boxes: np.ndarray, smooth: float = 0.0, margin: float = 1.5, size: str = "32") -> SubjectWindow:
    return SubjectWindow(TIMES, boxes, _transform(size), margin, smooth)


def _still(x: float, y: float, w: float, h: float) -> np.ndarray:
    return np.tile([x, y, w, h], (len(TIMES), 1)).astype(float)


def test_a_still_box_is_in_the_middle_of_a_window_with_the_proportions_of_the_clip():
    assert _window(_still(100, 80, 40, 20)).at(3, 240, 320) == pytest.approx((90, 60, 60, 60))
    left, top, width, height = _window(_still(100, 80, 40, 20), size="32x64").at(3, 240, 320)
    assert (width, height) == pytest.approx((60, 30))
    assert (left + width / 2, top + height / 2) == pytest.approx((120, 90))


def test_at_the_border_the_window_stays_inside_and_keeps_its_size():
    assert _window(_still(0, 220, 40, 20)).at(1, 240, 320) == pytest.approx((0, 180, 60, 60))


def test_a_window_is_no_larger_than_the_picture_and_not_too_small():
    assert _window(_still(0, 0, 320, 240)).at(1, 240, 320) == pytest.approx((40, 0, 240, 240))
    assert _window(_still(160, 120, 0, 0)).at(1, 240, 320)[2:] == pytest.approx((24, 24))


@given(
    st.lists(st.tuples(*[st.floats(0, 300)] * 4), min_size=2, max_size=8),
    st.floats(0, 5),
    st.floats(-1, 20),
    st.floats(0.5, 4),
)
def test_every_window_is_inside_and_as_wide_as_high(boxes, smooth, seconds, margin):
    times = np.linspace(0, 9, len(boxes))
    window = SubjectWindow(times, np.array(boxes), _transform(), margin, smooth)
    left, top, width, height = window.at(seconds, 240, 320)
    assert -1e-9 <= left <= 320 - width + 1e-9
    assert -1e-9 <= top <= 240 - height + 1e-9
    assert width == pytest.approx(height)
    rows, columns = window(240, 320)
    frame = np.zeros((rows, columns, 3), np.uint8)
    assert window.cut(frame, seconds, (240, 320)).shape == (*window.cut_size(240, 320), 3)


def test_boxes_that_tremble_make_a_window_that_does_not():
    rng = np.random.default_rng(0)
    boxes = _still(100, 80, 40, 20)
    boxes[:, :2] += rng.normal(0, 5, (len(TIMES), 2))
    moments = np.arange(1, 9, 0.1)

    def steps(smooth: float) -> float:
        window = _window(boxes, smooth)
        return float(np.abs(np.diff([window.at(at, 240, 320)[0] for at in moments])).mean())

    assert steps(1.0) < 0.15 * steps(0.0)


def test_a_gap_is_crossed_evenly_and_beyond_the_ends_the_window_stands_still():
    times, boxes = np.array([1.0, 3.0]), np.array([[50.0, 50, 20, 20], [90, 70, 20, 20]])
    window = SubjectWindow(times, boxes, _transform(), 1.5, 0.0)
    assert window.at(2, 240, 320)[:2] == pytest.approx((65, 55), abs=0.5)
    assert window.at(0, 240, 320) == window.at(1, 240, 320)
    assert window.at(50, 240, 320)[:2] == pytest.approx((85, 65), abs=0.5)


def test_what_is_cut_out_has_the_detail_of_the_video():
    """A window a tenth as wide as the picture shows stripes that a whole frame of its size would not."""
    columns = np.mgrid[:320, :640][1]
    frame = np.repeat(((columns // 2) % 2 * 255)[..., None], 3, axis=2).astype(np.uint8)
    window = SubjectWindow(np.zeros(1), np.array([[300.0, 150, 32, 32]]), _transform(), 1.0, 0.0)
    assert window(320, 640) == (320, 640)
    cut = window.cut(frame, 0.0, (320, 640))
    assert cut.shape == (32, 32, 3)
    np.testing.assert_array_equal(cut, frame[150:182, 300:332])


def test_large_windows_are_scaled_with_the_whole_frame_first():
    window = SubjectWindow(np.zeros(1), np.array([[0.0, 0, 320, 320]]), _transform(), 1.0, 0.0)
    assert window(320, 640) == (32, 64)


def test_a_window_moves_by_less_than_a_pixel_too():
    ramp = np.clip(4 * (np.arange(200) - 70), 0, 255)  # four levels a pixel
    frame = np.repeat(np.tile(ramp, (200, 1))[..., None], 3, axis=2).astype(np.uint8)
    boxes = _still(80, 80, 32, 32)
    boxes[:, 0] += TIMES  # a pixel a second
    window = _window(boxes, 0.0, 1.0)
    means = [window.cut(frame, at, (200, 200)).mean() for at in np.arange(1, 5, 0.25)]
    np.testing.assert_allclose(np.diff(means), 1, atol=0.1)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.floats(0, 40))
def test_averages_lie_between_the_values_and_keep_what_is_constant(values, count):
    found = averaged(np.array(values), count)
    assert len(found) == len(values)
    assert min(values) - 1e-6 <= found.min() <= found.max() <= max(values) + 1e-6
    np.testing.assert_allclose(averaged(np.full(9, 3.5), count), 3.5)
