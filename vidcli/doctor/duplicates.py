"""Videos that may be near copies: coded, scaled, cropped, mirrored, brightened, timed or cut anew.

Whether two videos are copies is told by `likeness`, which takes about a millisecond. Which pairs are
worth it is found in tiles of matrix products, never by a loop over pairs:

    looks     the videos whose mean pictures are nearest, also mirrored and cropped: a few a video
    moments   videos that share a moment of much change, wherever it lies in either; again, the
              nearest few, and only those that look alike at all

Both are bounded for each video, so that the time grows with the number of videos but for the products:
10,000 clips of ten seconds take about half a minute.

Axis letters: N videos, D values that describe one; R and C rows and columns of a tile.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vidcli.doctor.fingerprint import GREY_SIDE, Fingerprint, Floats
from vidcli.doctor.likeness import Likeness, Moving, compare_moving, describe, zoomed

_TILE = 1024
_NUM_DESCRIBED = 512  # at a time: what is compared of a clip of ten seconds takes 250 kB
_NUM_NEAREST = 2
_MIN_LOOKS = 0.9
_TYPICAL_ZOOM = 1.08

_NUM_MOMENTS = 3  # a video
_NUM_MOMENT_PAIRS = 4  # a video at most
_MIN_MOMENT = 0.6
_MIN_MOMENT_LOOKS = 0.7
_MAX_OF_TILE = 8192
_POOLED_SIDE = 8
_REACH = 2  # slots before and after that describe a moment

Indices = npt.NDArray[np.int64]
Candidate = tuple[int, int, bool]
"""Two videos that may be worth a comparison, the lower position first, and whether mirrored."""


@dataclass(frozen=True)
class Match:
    """Two videos that may be near copies, by their positions, the lower first."""

    first: int
    second: int
    likeness: Likeness


def find_alike(fingerprints: Sequence[Fingerprint], contents: Sequence[object]) -> list[Match]:
    """Return the pairs of videos that may be near copies, the surest first.

    Args:
        fingerprints: one a video.
        contents: what a video was cut from; two of equal content are not compared.
    """
    if len(fingerprints) < 2:
        return []
    numbers: dict[object, int] = {}
    content_N = np.array([numbers.setdefault(content, len(numbers)) for content in contents])
    mean_NHW = np.stack([np.median(fingerprint.pictures(), axis=0) for fingerprint in fingerprints])
    pairs = set(_nearest_looks(mean_NHW, content_N))
    pairs.update(_shared_moments(fingerprints, mean_NHW, content_N))

    @lru_cache(maxsize=_NUM_DESCRIBED)
    def described(position: int) -> Moving:
        return describe(fingerprints[position].pictures())

    matches: dict[tuple[int, int], Match] = {}
    for first, second, is_mirrored in sorted(pairs):
        offset_seconds = fingerprints[first].start_seconds - fingerprints[second].start_seconds
        likeness = compare_moving(described(first), described(second), is_mirrored, offset_seconds)
        if likeness is not None and likeness.is_copy:
            known = matches.get((first, second))
            if known is None or known.likeness.sureness < likeness.sureness:
                matches[first, second] = Match(first, second, likeness)
    return sorted(matches.values(), key=lambda match: -match.likeness.sureness)


def _nearest_looks(mean_NHW: Floats, content_N: Indices) -> Iterator[Candidate]:
    """Yield, for each video, the few whose mean pictures are nearest to its own."""
    looks_ND = _standardize(mean_NHW)
    part_NHW = zoomed(mean_NHW, _TYPICAL_ZOOM)
    num_nearest = min(_NUM_NEAREST, len(mean_NHW) - 1)
    for seen_NHW, is_mirrored in itertools.product((mean_NHW, part_NHW), (False, True)):
        variant_ND = _standardize(seen_NHW[:, :, ::-1] if is_mirrored else seen_NHW)
        for start in range(0, len(looks_ND), _TILE):
            rows = np.arange(start, min(start + _TILE, len(looks_ND)))
            looks_RN = looks_ND[rows] @ variant_ND.T
            looks_RN[content_N[rows, None] == content_N[None]] = -1.0
            nearest_RK = np.argpartition(looks_RN, -num_nearest, axis=1)[:, -num_nearest:]
            near_RK = np.take_along_axis(looks_RN, nearest_RK, axis=1) >= _MIN_LOOKS
            for row, column in zip(
                rows.repeat(num_nearest)[near_RK.ravel()], nearest_RK[near_RK], strict=True
            ):
                yield int(min(row, column)), int(max(row, column)), is_mirrored


def _shared_moments(
    fingerprints: Sequence[Fingerprint], mean_NHW: Floats, content_N: Indices
) -> Iterator[Candidate]:
    """Yield, for each video, the few that share most of a moment of much change with it."""
    moments = [_moments(fingerprint) for fingerprint in fingerprints]
    owner_M = np.repeat(np.arange(len(moments)), [len(found) for found in moments])
    if not len(owner_M):
        return
    seen = np.concatenate(moments)
    looks_ND = _standardize(mean_NHW)
    for is_mirrored in (False, True):
        best: dict[int, dict[int, float]] = defaultdict(dict)
        moment_MD = _flatten(seen)
        other_MD = _flatten(seen[..., ::-1]) if is_mirrored else moment_MD
        other_ND = _standardize(mean_NHW[:, :, ::-1]) if is_mirrored else looks_ND
        for row_start in range(0, len(owner_M), _TILE):
            for column_start in range(row_start, len(owner_M), _TILE):
                shared_RC = (
                    moment_MD[row_start : row_start + _TILE] @ other_MD[column_start : column_start + _TILE].T
                )
                rows, columns = _strongest(shared_RC)
                a, b = owner_M[row_start + rows], owner_M[column_start + columns]
                kept = content_N[a] != content_N[b]
                kept[kept] = (looks_ND[a[kept]] * other_ND[b[kept]]).sum(axis=1) >= _MIN_MOMENT_LOOKS
                for first, second, value in zip(
                    a[kept], b[kept], shared_RC[rows, columns][kept], strict=True
                ):
                    _keep_best(best, int(first), int(second), float(value))
                    _keep_best(best, int(second), int(first), float(value))
        for video, others in best.items():
            for other in sorted(others, key=lambda other: -others[other])[:_NUM_MOMENT_PAIRS]:
                yield min(video, other), max(video, other), is_mirrored


def _strongest(shared_RC: Floats) -> tuple[Indices, Indices]:
    """Return rows and columns of what is shared enough in a tile: of very much, the most."""
    rows, columns = np.nonzero(shared_RC >= _MIN_MOMENT)
    if len(rows) > _MAX_OF_TILE:
        most = np.argpartition(shared_RC[rows, columns], -_MAX_OF_TILE)[-_MAX_OF_TILE:]
        rows, columns = rows[most], columns[most]
    return rows, columns


def _keep_best(best: dict[int, dict[int, float]], video: int, other: int, value: float) -> None:
    """Note what two videos share; of many, forget the least now and then."""
    others = best[video]
    others[other] = max(value, others.get(other, -1.0))
    if len(others) > 8 * _NUM_MOMENT_PAIRS:
        kept = sorted(others, key=lambda key: -others[key])[:_NUM_MOMENT_PAIRS]
        best[video] = {key: others[key] for key in kept}


def _moments(fingerprint: Fingerprint) -> Floats:
    """Return what changes around the few moments of most change, (M, 5, 8, 8), M up to 3."""
    moving = describe(fingerprint.pictures())
    change_TD, size_T = moving.changes_TD, moving.change_T
    if not len(change_TD):
        return np.zeros((0, 2 * _REACH + 1, _POOLED_SIDE, _POOLED_SIDE), np.float32)
    smooth_T = np.convolve(np.pad(size_T, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    cell = GREY_SIDE // _POOLED_SIDE
    small_THW = change_TD.reshape(-1, _POOLED_SIDE, cell, _POOLED_SIDE, cell).mean(axis=(2, 4))
    small_THW = np.pad(small_THW, ((_REACH, _REACH), (0, 0), (0, 0)))
    chosen: list[int] = []
    for moment in np.argsort(-smooth_T, kind="stable").tolist():
        if all(abs(moment - other) > _REACH for other in chosen):
            chosen.append(moment)
        if len(chosen) == _NUM_MOMENTS:
            break
    return np.stack([small_THW[moment : moment + 2 * _REACH + 1] for moment in chosen])


def _standardize(pictures_NHW: Floats) -> Floats:
    """Return pictures as rows (N, D) of mean 0 and length 1."""
    rows_ND = pictures_NHW.reshape(len(pictures_NHW), -1)
    return _to_unit(rows_ND - rows_ND.mean(axis=1, keepdims=True))


def _flatten(moments: Floats) -> Floats:
    return _to_unit(moments.reshape(len(moments), -1))


def _to_unit(rows_ND: Floats) -> Floats:
    return np.asarray(rows_ND / (np.linalg.norm(rows_ND, axis=1, keepdims=True) + 1e-6), dtype=np.float32)
