"""Measure how surely two videos are near copies of each other.

An equal background proves nothing, since all videos of one fixed camera have it. Evidence is what moves.
Two measures of it are taken at one lag, and both must speak for a copy:

    movement   the share of the movement that both videos have, in the cells with most of it. It notices
               one arm in a wide picture, but mistakes slow movements that are alike for the same
    changes    the correlation of the changes from slot to slot, in more cells, with about the same weight
               for each moment. A single cut or flash, which many videos share, does not decide it

    distance   the difference of the aligned pictures as a share of their contrast, after a curve of
               brightness was fitted, since codecs and brightened copies change brightness

Where little moves, noise hides most of the movement, and the measures are low for copies too. But noise,
light and leaves change each picture in their own way, and a good copy repeats that:

    peak       how far the correlation of the changes, every moment of equal weight, stands out at one lag:
               from other lags (the peak-to-sidelobe ratio of correlation filters; what all videos of a
               camera share at any lag does not stand out), and from its spread over the moments (a few
               moments, as pulses of keyframes, do not decide it). The lesser of both, in standard deviations,
               and of that the mean of changes within one slot and within four

The less moves, the less movement must be shared, given the peak. Poor codecs delete these small changes. If
nothing moves and there is no peak, the pictures must be almost equal in every cell.

Before all this, one picture is aligned with the other: mirrored or not, and cropped by up to 10%.

Axis letters: T slots, H and W cells of a picture, D cells in a row, L lags, N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vidcli.arrays import Float32, Int64
from vidcli.doctor.fingerprint import GREY_SIDE, SLOTS_PER_SECOND

# Measured on copies and on other clips of people, wagons, a rodent and drones: tests/doctor/test_recall.py.
_MIN_EVIDENCE = 1.4  # of the sum of both measures, at most 2
_FREE_DISTANCE = 0.02
_FREE_SURE_DISTANCE = 0.2  # if both measures are at least `_SURE_EVIDENCE`
_SURE_EVIDENCE = 0.85
_FREE_CROP_DISTANCE = 0.06  # resampling to so few cells is not exact
_CROP_SLOTS = 1.4  # in few slots one of the many crops fits by chance
_DISTANCE_WEIGHT = 6.0
_MIN_QUIET_EVIDENCE = 1.15  # of the sum in `_quiet_sureness`
_MAX_QUIET_DISTANCE = 0.06
_MAX_QUIET_CROP_DISTANCE = 0.12
_MIN_PEAK = 3.0  # standard deviations
_MIN_CROP_PEAK = 3.5
_MOST_PEAK = 8.0  # a higher one is no more evidence
_LEAST_LIVELINESS = 0.2  # grey levels: what noise alone makes of it
_MAX_STILL_MOVEMENT = 0.25  # grey levels: noise of cameras and codecs
_MAX_STILL_LEVELS = 3.0  # grey levels, in the cell that differs most
_MAX_STILL_DISTANCE = 0.03  # plain skies, for example, are all alike

_ZOOMS = (1.028, 1.055, 1.083, 1.111)
_MIN_LOOKS = 0.8  # correlation of pictures below which nothing else is compared
_SURE_LOOKS = 0.998  # correlation above which no crop is looked for
_CROP_GAIN = 0.8  # a crop must reduce the difference to this share
_MIN_OVERLAP = 0.5  # share of the shorter video
_MIN_SLOTS = 3
_SPANS = (1, 4)  # slots: changes at once, and within half a second, which poor codecs show late
_PEAK_REACH = 2  # slots beside the best lag that belong to the peak
_MIN_SIDELOBES = 4  # lags, to know the spread
_NUM_LIVELY_CELLS = 24
_NUM_CHANGING_CELLS = 96
_NOISE_VARIANCE = 0.15**2  # of a cell, in squared grey levels
_NOISE_CHANGE = 0.02  # grey levels: a smaller change counts as none
_TRIMMED_SHARE = 0.1
_CLIPPED_SHARE = 0.04
_NUM_KNOTS = 9
_RIDGE = 1e-4


@dataclass(frozen=True)
class Similarity:
    """The similarity of a first video to a second one.

    Attributes:
        movement: share of the movement that both show, at most 1.
        changes: correlation of the changes, at most 1.
        distance: difference of the aligned pictures, as a share of their contrast.
        liveliness: size of the movement in the cells that move most, in grey levels.
        levels: difference of the pictures in the cell that differs most, in grey levels.
        peak: standard deviations by which the correlation of equally weighted changes stands out at one lag.
        lag_seconds: how much later the first video shows the same as the second.
        is_mirrored: whether one is the mirror image of the other.
        is_cropped: whether one shows only a part of the other.
        num_slots: number of slots compared.
    """

    movement: float
    changes: float
    distance: float
    liveliness: float
    levels: float
    peak: float
    lag_seconds: float
    is_mirrored: bool
    is_cropped: bool
    num_slots: int

    @property
    def is_still(self) -> bool:
        """Whether nothing moves in either video, so that only their pictures can be compared."""
        return self.liveliness <= _MAX_STILL_MOVEMENT

    @property
    def sureness(self) -> float:
        """The amount by which the evidence exceeds what a copy must have; negative if it is too little."""
        free = _FREE_CROP_DISTANCE if self.is_cropped else _FREE_DISTANCE
        if min(self.movement, self.changes) >= _SURE_EVIDENCE:
            free = _FREE_SURE_DISTANCE  # poor codecs blur the pictures, but leave the motion
        excess = max(0.0, self.distance - free)
        moves = self.movement + self.changes - _DISTANCE_WEIGHT * excess - _MIN_EVIDENCE
        if self.is_cropped:
            moves -= _CROP_SLOTS / self.num_slots
        if self._may_be_quiet_copy:
            moves = max(moves, self._quiet_sureness)
        is_equal = self.levels <= _MAX_STILL_LEVELS and self.distance <= _MAX_STILL_DISTANCE
        if self.is_still and is_equal:
            return max(moves, 0.01 * (1 - self.levels / _MAX_STILL_LEVELS))
        return moves

    @property
    def _may_be_quiet_copy(self) -> bool:
        if self.is_cropped:
            return self.peak >= _MIN_CROP_PEAK and self.distance <= _MAX_QUIET_CROP_DISTANCE
        return self.peak >= _MIN_PEAK and self.distance <= _MAX_QUIET_DISTANCE

    @property
    def _quiet_sureness(self) -> float:
        """The amount by which the peak and what movement there is exceed what a quiet copy must have."""
        evidence = self.movement + 0.8 * self.changes + 0.1 * min(self.peak, _MOST_PEAK)
        # Resampling a crop to so few cells blurs away about half of the movement.
        liveliness = self.liveliness * (2 if self.is_cropped else 1)
        expected = 0.65 * float(np.log(max(liveliness, _LEAST_LIVELINESS)))
        return evidence - expected - 8 / self.num_slots - _MIN_QUIET_EVIDENCE

    def reversed(self) -> Similarity:
        """Return the similarity of the second video to the first."""
        return replace(self, lag_seconds=-self.lag_seconds)

    @property
    def is_copy(self) -> bool:
        """Whether the two may be near copies."""
        return self.sureness >= 0


@dataclass(frozen=True)
class Moving:
    """A video in the form in which two are compared.

    Attributes:
        pictures_THW: the slots in grey levels.
        middle_HW: the median picture.
        movement_TD: difference of each slot from the mean, with short extremes clipped.
        changes_TD: difference of each slot from the one before it, (T - 1, D); large ones are scaled down.
        change_T: size of these differences in grey levels, (T - 1,).
        units: for each of `_SPANS`, the differences of slots so far apart, each scaled to length 1, (T', D).
    """

    pictures_THW: Float32
    middle_HW: Float32
    movement_TD: Float32
    changes_TD: Float32
    change_T: Float32
    units: tuple[Float32, ...]

    def mirrored(self) -> Moving:
        """Return the mirror image of the video."""
        shape = (-1, GREY_SIDE, GREY_SIDE)
        movement_TD, changes_TD, *units = (
            values_TD.reshape(shape)[:, :, ::-1].reshape(values_TD.shape)
            for values_TD in (self.movement_TD, self.changes_TD, *self.units)
        )
        pictures_THW, middle_HW = self.pictures_THW[:, :, ::-1], self.middle_HW[:, ::-1]
        return Moving(pictures_THW, middle_HW, movement_TD, changes_TD, self.change_T, tuple(units))


def describe(pictures_THW: Float32) -> Moving:
    """Return the slots of a video (T, 16, 16), in grey levels, in the form in which two are compared."""
    pictures_THW = np.ascontiguousarray(pictures_THW)
    # The brightness of the whole picture does not count: cameras and daylight change it.
    level_TD = pictures_THW.reshape(len(pictures_THW), -1)
    level_TD = level_TD - np.median(level_TD, axis=1, keepdims=True)
    sorted_TD = np.sort(level_TD, axis=0)
    clipped = int(_CLIPPED_SHARE * len(sorted_TD))
    movement_TD = np.clip(level_TD, sorted_TD[clipped], sorted_TD[-1 - clipped])
    movement_TD -= movement_TD.mean(axis=0)
    change_TD = np.diff(level_TD, axis=0)
    change_TD -= change_TD.mean(axis=1, keepdims=True)
    size_T = np.sqrt((change_TD**2).mean(axis=1))
    usual_T = np.sort(size_T)[: len(size_T) - int(np.ceil(_TRIMMED_SHARE * len(size_T)))]
    usual = float(np.sqrt((usual_T**2).mean())) if len(usual_T) else 0.0
    change_TD /= (size_T + usual + _NOISE_CHANGE)[:, None]
    middle_HW = np.median(pictures_THW, axis=0)
    units = tuple(_scale_to_unit(level_TD[span:] - level_TD[:-span]) for span in _SPANS)
    return Moving(pictures_THW, middle_HW, movement_TD, change_TD, size_T, units)


def _scale_to_unit(change_TD: Float32) -> Float32:
    change_TD = change_TD - change_TD.mean(axis=1, keepdims=True)
    return np.asarray(change_TD / (np.linalg.norm(change_TD, axis=1, keepdims=True) + 1e-3), dtype=np.float32)


def compare_moving(
    a: Moving, b: Moving, is_mirrored: bool = False, offset_seconds: float = 0.0
) -> Similarity | None:
    """Measure the similarity of two videos.

    Args:
        a: the first video, as `describe` returns it.
        b: the second one.
        is_mirrored: whether to mirror the second video.
        offset_seconds: added to the lag.

    Returns:
        The similarity; None if the pictures do not look alike, or a video is too short.
    """
    seen = b.mirrored() if is_mirrored else b
    looks, views = _register(a.middle_HW, seen.middle_HW)
    if looks < _MIN_LOOKS:
        return None
    is_cropped = views != (_WHOLE, _WHOLE)
    if is_cropped:
        a = describe(_blur(_view(a.pictures_THW, views[0])))
        seen = describe(_blur(_view(seen.pictures_THW, views[1])))
    return _align(a, seen, offset_seconds, is_mirrored, is_cropped)


View = tuple[int, int]
"""A part of a picture: the positions of its rows and of its columns in `_windows()`."""
_WHOLE: View = (0, 0)


@lru_cache
def _windows() -> Float32:
    """Return the matrices (13, 16, 16) that resample a side to the whole of it and to smaller windows."""
    windows = [_window(1.0, 0.0)]
    for zoom in _ZOOMS:
        free = (GREY_SIDE - GREY_SIDE / zoom) / 2
        windows += [_window(zoom, shift) for shift in (-free, 0.0, free)]
    return np.stack(windows)


def _window(zoom: float, shift: float) -> Float32:
    """Return the matrix (16, 16) that resamples a side to a part whose middle is `shift` cells aside."""
    centre = (GREY_SIDE - 1) / 2
    places = np.clip(centre + (np.arange(GREY_SIDE) - centre) / zoom + shift, 0, GREY_SIDE - 1)
    distance = np.abs(places[:, None] - np.arange(GREY_SIDE)[None])
    return np.asarray(np.maximum(0.0, 1 - distance), dtype=np.float32)


def zoomed(pictures_NHW: Float32, zoom: float) -> Float32:
    """Return the middle of pictures (N, 16, 16), enlarged by `zoom` to the size of the whole."""
    window = _window(zoom, 0.0)
    return np.asarray(window @ pictures_NHW @ window.T, dtype=np.float32)


def _view(pictures_THW: Float32, view: View) -> Float32:
    """Return a part of pictures, enlarged to the size of the whole."""
    rows, columns = _windows()[view[0]], _windows()[view[1]]
    return np.asarray(rows @ pictures_THW @ columns.T, dtype=np.float32)


def _blur(pictures_THW: Float32) -> Float32:
    """Return pictures blurred as much as resampling blurs a crop."""
    padded = np.pad(pictures_THW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16, dtype=np.float32)


def _register(a_HW: Float32, b_HW: Float32) -> tuple[float, tuple[View, View]]:
    """Return the best correlation of two pictures, and the part of each at which it is reached."""
    whole = float(_correlate(a_HW[None], b_HW)[0])
    best, views = whole, (_WHOLE, _WHOLE)
    if whole >= _SURE_LOOKS:
        return best, views
    for is_first in (True, False):
        seen_HW, other_HW = (a_HW, b_HW) if is_first else (b_HW, a_HW)
        parts = _windows()[:, None] @ seen_HW @ _windows().transpose(0, 2, 1)[None]
        found_N = _correlate(parts.reshape(-1, GREY_SIDE, GREY_SIDE), other_HW)
        position = int(found_N.argmax())
        if found_N[position] > best and 1 - found_N[position] < _CROP_GAIN * (1 - whole):
            best = float(found_N[position])
            part = divmod(position, len(_windows()))
            views = (part, _WHOLE) if is_first else (_WHOLE, part)
    return best, views


def _correlate(pictures_NHW: Float32, other_HW: Float32) -> Float32:
    """Return the correlations (N,) of pictures with another one."""
    a_ND = pictures_NHW.reshape(len(pictures_NHW), -1)
    a_ND = a_ND - a_ND.mean(axis=1, keepdims=True)
    b_D = (other_HW - other_HW.mean()).ravel()
    norms_N = np.linalg.norm(a_ND, axis=1) * np.linalg.norm(b_D)
    return np.asarray((a_ND @ b_D + 1e-3) / (norms_N + 1e-3), dtype=np.float32)


def _align(
    a: Moving, b: Moving, offset_seconds: float, is_mirrored: bool, is_cropped: bool
) -> Similarity | None:
    """Return the similarity of two videos at the lag at which it is greatest."""
    num_a, num_b = len(a.pictures_THW), len(b.pictures_THW)
    need = max(_MIN_SLOTS, int(np.ceil(_MIN_OVERLAP * min(num_a, num_b))))
    if need > min(num_a, num_b):
        return None
    lags_L = np.arange(need - num_b, num_a - need + 1)
    by_movement_D = np.argsort(-(a.movement_TD.var(axis=0) + b.movement_TD.var(axis=0)))
    lively_D, changing_D = by_movement_D[:_NUM_LIVELY_CELLS], by_movement_D[:_NUM_CHANGING_CELLS]
    shared_L, of_a_L, of_b_L = _lagged(a.movement_TD[:, lively_D], b.movement_TD[:, lively_D], lags_L)
    count_L = (np.minimum(num_a, num_b + lags_L) - np.maximum(0, lags_L)) * _NUM_LIVELY_CELLS
    movement_L = 2 * shared_L / (of_a_L + of_b_L + 2 * _NOISE_VARIANCE * count_L)
    inner_L, first_L, second_L = _lagged(a.changes_TD[:, changing_D], b.changes_TD[:, changing_D], lags_L)
    changes_L = inner_L / np.sqrt(np.maximum(first_L * second_L, 1e-6))
    best = int((movement_L + changes_L).argmax())
    lag = int(lags_L[best])
    first, last = max(0, lag), min(num_a, num_b + lag)
    distance, levels = _distance(a.pictures_THW[first:last], b.pictures_THW[first - lag : last - lag])
    return Similarity(
        float(movement_L[best]),
        float(changes_L[best]),
        distance,
        float(np.sqrt((of_a_L[best] + of_b_L[best]) / (2 * count_L[best]))),
        levels,
        float(np.mean([_peak(a_TD, b_TD) for a_TD, b_TD in zip(a.units, b.units, strict=True)])),
        lag / SLOTS_PER_SECOND + offset_seconds,
        is_mirrored,
        is_cropped,
        last - first,
    )


def _peak(a_TD: Float32, b_TD: Float32) -> float:
    """Return by how many standard deviations the mean correlation of moments stands out at its best lag."""
    need = max(_MIN_SLOTS, int(np.ceil(_MIN_OVERLAP * min(len(a_TD), len(b_TD)))))
    lags_L = np.arange(need - len(b_TD), len(a_TD) - need + 1)
    if len(lags_L) <= 2 * _PEAK_REACH + 1:
        return 0.0
    inner_KL = _skew(a_TD, b_TD)[:, lags_L + len(b_TD) - 1]
    count_L = np.minimum(len(a_TD), len(b_TD) + lags_L) - np.maximum(0, lags_L)
    mean_L = inner_KL.sum(axis=0) / count_L
    best = int(mean_L.argmax())
    others = mean_L[np.abs(lags_L - lags_L[best]) > _PEAK_REACH]
    if len(others) < _MIN_SIDELOBES:
        return 0.0
    middle, high = np.quantile(others, (0.5, 0.95))
    spread = max(1.4826 * float(np.median(np.abs(others - middle))), float(high - middle) / 1.645)
    ratio = float(mean_L[best] - middle) / (spread + 1e-3)
    deviation = np.sqrt(max(0.0, float((inner_KL[:, best] ** 2).sum() / count_L[best] - mean_L[best] ** 2)))
    return min(ratio, float(mean_L[best] / (deviation + 0.02) * np.sqrt(count_L[best])))


def _skew(a_TD: Float32, b_TD: Float32) -> Float32:
    """Return the inner products of all moments; a column is a lag, the first that of the last moment of b."""
    rows, columns = len(a_TD), len(b_TD)
    padded = np.zeros((columns, rows + columns), np.float32)
    padded[:, :rows] = b_TD[::-1] @ a_TD.T
    # With rows one cell shorter, each row is shifted one more to the right: diagonals become columns.
    return padded.ravel()[: columns * (rows + columns - 1)].reshape(columns, rows + columns - 1)


def _lagged(a_TD: Float32, b_TD: Float32, lags_L: Int64) -> tuple[Float32, Float32, Float32]:
    """Return, at each lag, the inner product of two sequences and the squared norm of either part in it."""
    rows, columns = len(a_TD), len(b_TD)
    first_L, last_L = np.maximum(0, lags_L), np.minimum(rows, columns + lags_L)
    inner_L = _skew(a_TD, b_TD).sum(axis=0)[lags_L + columns - 1]
    return inner_L, _squares(a_TD, first_L, last_L), _squares(b_TD, first_L - lags_L, last_L - lags_L)


def _squares(values_TD: Float32, first_L: Int64, last_L: Int64) -> Float32:
    sum_T = np.concatenate([[0.0], np.cumsum((values_TD**2).sum(axis=1))])
    return np.asarray(sum_T[last_L] - sum_T[first_L], dtype=np.float32)


def _distance(a_THW: Float32, b_THW: Float32) -> tuple[float, float]:
    """Return the difference of the mean pictures: as a share of their contrast, and at most in levels."""
    a_D, b_D = a_THW.mean(axis=0).ravel(), b_THW.mean(axis=0).ravel()
    # If one video is overexposed, its levels follow from those of the other, but not the other way round.
    left_D = min(_bend(a_D, b_D), _bend(b_D, a_D), key=lambda rest_D: float((rest_D**2).sum()))
    # Motion counts as contrast too: where a ball never rests, the mean picture is uncertain.
    contrast = (float(a_THW.std()) + float(b_THW.std())) / 2 + 1.0
    return float(np.sqrt((left_D**2).mean())) / contrast, float(np.abs(left_D).max())


def _bend(from_D: Float32, to_D: Float32) -> Float32:
    """Return the difference of a picture from a curve of the levels of another that was fitted to it."""
    knots = np.linspace(from_D.min(), from_D.max() + 1e-3, _NUM_KNOTS)
    step = float(knots[1] - knots[0])
    shares = np.maximum(0.0, 1 - np.abs(from_D[:, None] - knots[None]) / step)
    # Knots without a level near them stay on the straight line.
    line = knots + float(to_D.mean() - from_D.mean())
    squares = shares.T @ shares + _RIDGE * len(from_D) * np.eye(_NUM_KNOTS)
    curve = line + np.linalg.solve(squares, shares.T @ (to_D - shares @ line))
    return np.asarray(to_D - shares @ curve, dtype=np.float32)
