"""How surely two videos are near copies: whether the same moves, at the same moments, before the same.

A still background is no evidence: whoever stands before one camera has it. Two measures, taken at one
lag, tell of what moves, and both must speak for a copy:

    movement   in the cells where most moves, how much of the movement is shared, in amount as in time.
               It sees one arm in a wide picture, and is taken in by slow movements that look alike
    changes    the correlation of the changes from slot to slot, in more cells, each moment with about
               the same weight. One cut or flash that many videos share decides nothing

    distance   how far the pictures, aligned, differ: a share of their contrast, once a curve of
               brightness is fitted, as coders and brighter copies bend it

Where nothing moves there is no such evidence. Then the pictures must be almost equal throughout.

Before that one picture is registered to the other: mirrored or not, and cropped by up to 10%.

Axis letters: T slots, H and W cells of a picture, D cells in a row, L lags, N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vidcli.doctor.fingerprint import GREY_SIDE, SLOTS_PER_SECOND, Fingerprint, Floats

# Measured on copies and on other clips of people, wagons, a rodent and drones: tests/doctor/test_recall.py.
_MIN_EVIDENCE = 1.4  # of 2
_FREE_DISTANCE = 0.02
_FREE_SURE_DISTANCE = 0.2  # where both measures are at least this:
_SURE_EVIDENCE = 0.85
_FREE_CROP_DISTANCE = 0.06  # resampling to so few cells is not exact
_DISTANCE_WEIGHT = 6.0
_MAX_STILL_MOVEMENT = 0.35  # grey levels, the noise of cameras and coders
_MAX_STILL_LEVELS = 3.0  # grey levels, in the cell that differs most
_MAX_STILL_DISTANCE = 0.03  # a plain sky is like any other

_ZOOMS = (1.028, 1.055, 1.083, 1.111)
_MIN_LOOKS = 0.8  # correlation of pictures, below which nothing else is compared
_SURE_LOOKS = 0.998  # and above which no crop is looked for
_CROP_GAIN = 0.8  # a crop must leave at most this much of the difference there is without it
_MIN_OVERLAP = 0.5  # share of the shorter video
_MIN_SLOTS = 3
_NUM_LIVELY_CELLS = 24
_NUM_CHANGING_CELLS = 96
_NOISE_VARIANCE = 0.15**2  # of a cell, grey levels
_NOISE_CHANGE = 0.02  # grey levels: a change of less is none
_TRIMMED_SHARE = 0.1
_CLIPPED_SHARE = 0.04
_NUM_KNOTS = 9
_RIDGE = 1e-4

Lags = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Likeness:
    """How one video is like another.

    Attributes:
        movement: share of the movement that both show, to 1.
        changes: correlation of the changes, to 1.
        distance: difference of the aligned pictures, as a share of their contrast.
        liveliness: size of the movement in the liveliest cells, in grey levels.
        levels: difference of the pictures in the cell that differs most, in grey levels.
        lag_seconds: how much later the first video shows what the second does.
        is_mirrored: one shows the other as in a mirror.
        is_cropped: one shows a part of the other.
    """

    movement: float
    changes: float
    distance: float
    liveliness: float
    levels: float
    lag_seconds: float
    is_mirrored: bool
    is_cropped: bool

    @property
    def is_still(self) -> bool:
        """Whether nothing moves in either, so that only their pictures can be compared."""
        return self.liveliness <= _MAX_STILL_MOVEMENT

    @property
    def sureness(self) -> float:
        """How far the evidence is above what a copy must have; negative where it is too little."""
        free = _FREE_CROP_DISTANCE if self.is_cropped else _FREE_DISTANCE
        if min(self.movement, self.changes) >= _SURE_EVIDENCE:
            free = _FREE_SURE_DISTANCE  # poor coders smear small pictures, but what moves is plain
        excess = max(0.0, self.distance - free)
        moves = self.movement + self.changes - _DISTANCE_WEIGHT * excess - _MIN_EVIDENCE
        is_equal = self.levels <= _MAX_STILL_LEVELS and self.distance <= _MAX_STILL_DISTANCE
        if self.is_still and is_equal:
            return max(moves, 0.01 * (1 - self.levels / _MAX_STILL_LEVELS))
        return moves

    def reversed(self) -> Likeness:
        """Return how the second video is like the first."""
        return replace(self, lag_seconds=-self.lag_seconds)

    @property
    def is_copy(self) -> bool:
        """Whether the two may be near copies."""
        return self.sureness >= 0


@dataclass(frozen=True)
class Moving:
    """A video as it is compared.

    Attributes:
        pictures_THW: in grey levels.
        middle_HW: the median picture.
        movement_TD: what each slot differs from the usual, short extremes clipped.
        changes_TD: what each slot differs from the one before, (T - 1, D), lively moments scaled down.
        change_T: size of the changes, in grey levels, (T - 1,).
    """

    pictures_THW: Floats
    middle_HW: Floats
    movement_TD: Floats
    changes_TD: Floats
    change_T: Floats

    def mirrored(self) -> Moving:
        """Return it as in a mirror."""
        shape = (-1, GREY_SIDE, GREY_SIDE)
        movement_TD, changes_TD = (
            values_TD.reshape(shape)[:, :, ::-1].reshape(values_TD.shape)
            for values_TD in (self.movement_TD, self.changes_TD)
        )
        return Moving(
            self.pictures_THW[:, :, ::-1], self.middle_HW[:, ::-1], movement_TD, changes_TD, self.change_T
        )


def describe(pictures_THW: Floats) -> Moving:
    """Return what is compared of the slots of a video (T, 16, 16), in grey levels."""
    pictures_THW = np.ascontiguousarray(pictures_THW)
    # The brightness of the whole picture is left out: cameras and daylight change it.
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
    return Moving(pictures_THW, middle_HW, movement_TD, change_TD, size_T)


def compare(a: Fingerprint, b: Fingerprint) -> Likeness | None:
    """Return how two videos are alike, mirrored or not; None where they do not even look alike or are too
    short.
    """
    first, second = describe(a.pictures()), describe(b.pictures())
    offset_seconds = a.start_seconds - b.start_seconds
    found = [compare_moving(first, second, mirrored, offset_seconds) for mirrored in (False, True)]
    return max((one for one in found if one), key=lambda likeness: likeness.sureness, default=None)


def compare_moving(
    a: Moving, b: Moving, is_mirrored: bool = False, offset_seconds: float = 0.0
) -> Likeness | None:
    """Return how a video is like another, or like its mirrored pictures; None as in `compare`.

    Args:
        a, b: what `describe` returned.
        is_mirrored: mirror the second.
        offset_seconds: added to the lag.
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
"""Which part of a picture is seen: positions of its rows and of its columns in `_windows()`."""
_WHOLE: View = (0, 0)


@lru_cache
def _windows() -> Floats:
    """Return what resamples a side to a window of it, (13, 16, 16): all of it, then smaller and aside."""
    windows = [_window(1.0, 0.0)]
    for zoom in _ZOOMS:
        free = (GREY_SIDE - GREY_SIDE / zoom) / 2
        windows += [_window(zoom, shift) for shift in (-free, 0.0, free)]
    return np.stack(windows)


def _window(zoom: float, shift: float) -> Floats:
    """Return what resamples a side to a part of it (16, 16), whose middle is `shift` cells aside."""
    centre = (GREY_SIDE - 1) / 2
    places = np.clip(centre + (np.arange(GREY_SIDE) - centre) / zoom + shift, 0, GREY_SIDE - 1)
    distance = np.abs(places[:, None] - np.arange(GREY_SIDE)[None])
    return np.asarray(np.maximum(0.0, 1 - distance), dtype=np.float32)


def zoomed(pictures_NHW: Floats, zoom: float) -> Floats:
    """Return the middle of pictures (N, 16, 16), at the size of the whole."""
    window = _window(zoom, 0.0)
    return np.asarray(window @ pictures_NHW @ window.T, dtype=np.float32)


def _view(pictures_THW: Floats, view: View) -> Floats:
    """Return a part of the pictures, at the size of the whole."""
    rows, columns = _windows()[view[0]], _windows()[view[1]]
    return np.asarray(rows @ pictures_THW @ columns.T, dtype=np.float32)


def _blur(pictures_THW: Floats) -> Floats:
    """Return both pictures of a crop as unsharp as resampling makes one of them."""
    padded = np.pad(pictures_THW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16, dtype=np.float32)


def _register(a_HW: Floats, b_HW: Floats) -> tuple[float, tuple[View, View]]:
    """Return how well two pictures correlate, and the part of each at which they do so best."""
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


def _correlate(pictures_NHW: Floats, other_HW: Floats) -> Floats:
    """Return the correlation (N,) of pictures with another."""
    a_ND = pictures_NHW.reshape(len(pictures_NHW), -1)
    a_ND = a_ND - a_ND.mean(axis=1, keepdims=True)
    b_D = (other_HW - other_HW.mean()).ravel()
    norms_N = np.linalg.norm(a_ND, axis=1) * np.linalg.norm(b_D)
    return np.asarray((a_ND @ b_D + 1e-3) / (norms_N + 1e-3), dtype=np.float32)


def _align(
    a: Moving, b: Moving, offset_seconds: float, is_mirrored: bool, is_cropped: bool
) -> Likeness | None:
    """Return how alike two videos are at the lag at which they are most so."""
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
    return Likeness(
        float(movement_L[best]),
        float(changes_L[best]),
        distance,
        float(np.sqrt((of_a_L[best] + of_b_L[best]) / (2 * count_L[best]))),
        levels,
        lag / SLOTS_PER_SECOND + offset_seconds,
        is_mirrored,
        is_cropped,
    )


def _lagged(a_TD: Floats, b_TD: Floats, lags_L: Lags) -> tuple[Floats, Floats, Floats]:
    """Return the inner product of two sequences at each lag, and the squares of what it is taken of."""
    rows, columns = len(a_TD), len(b_TD)
    padded = np.zeros((columns, rows + columns), np.float32)
    padded[:, :rows] = b_TD[::-1] @ a_TD.T
    # Rows that are one cell shorter shift each by one more to the right: diagonals become columns.
    skewed = padded.ravel()[: columns * (rows + columns - 1)].reshape(columns, rows + columns - 1)
    first_L, last_L = np.maximum(0, lags_L), np.minimum(rows, columns + lags_L)
    inner_L = skewed.sum(axis=0)[lags_L + columns - 1]
    return inner_L, _squares(a_TD, first_L, last_L), _squares(b_TD, first_L - lags_L, last_L - lags_L)


def _squares(values_TD: Floats, first_L: Lags, last_L: Lags) -> Floats:
    sum_T = np.concatenate([[0.0], np.cumsum((values_TD**2).sum(axis=1))])
    return np.asarray(sum_T[last_L] - sum_T[first_L], dtype=np.float32)


def _distance(a_THW: Floats, b_THW: Floats) -> tuple[float, float]:
    """Return how far mean pictures differ: as a share of their contrast, and in levels at most."""
    a_D, b_D = a_THW.mean(axis=0).ravel(), b_THW.mean(axis=0).ravel()
    # Where one is overexposed, the other tells of it, but not the other way round.
    left_D = min(_bend(a_D, b_D), _bend(b_D, a_D), key=lambda rest_D: float((rest_D**2).sum()))
    # What moves is contrast as well: a ball that rests nowhere leaves the middle uncertain.
    contrast = (float(a_THW.std()) + float(b_THW.std())) / 2 + 1.0
    return float(np.sqrt((left_D**2).mean())) / contrast, float(np.abs(left_D).max())


def _bend(from_D: Floats, to_D: Floats) -> Floats:
    """Return what is left of one picture after a curve of the levels of another is fitted to it."""
    knots = np.linspace(from_D.min(), from_D.max() + 1e-3, _NUM_KNOTS)
    step = float(knots[1] - knots[0])
    shares = np.maximum(0.0, 1 - np.abs(from_D[:, None] - knots[None]) / step)
    # Knots that no level is near stay on the straight line.
    line = knots + float(to_D.mean() - from_D.mean())
    squares = shares.T @ shares + _RIDGE * len(from_D) * np.eye(_NUM_KNOTS)
    curve = line + np.linalg.solve(squares, shares.T @ (to_D - shares @ line))
    return np.asarray(to_D - shares @ curve, dtype=np.float32)
