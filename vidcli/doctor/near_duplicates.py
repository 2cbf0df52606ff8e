"""Find pairs of videos that may be near copies: coded, scaled, cropped, mirrored, brightened or cut anew.

The module `similarity` compares two videos in about a millisecond. Comparing all pairs would take too long,
so matrix products, computed in tiles, find the candidates first:

    looks     the few videos whose mean pictures are nearest, also mirrored and cropped
    moments   the few videos that share a moment of much change, at any time in either, and whose mean
              pictures are not too different

The number of candidates of each video is limited, so that only the time of the products grows with the square
of the number of videos: 10,000 clips of ten seconds take about half a minute.

Axis letters: N videos, D values that describe one; R and C rows and columns of a tile.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vidcli.arrays import Float32, Int64
from vidcli.doctor.fingerprint import GREY_SIDE, Fingerprint
from vidcli.doctor.similarity import Moving, Similarity, compare_moving, describe, zoomed

_TILE = 1024
_NUM_DESCRIBED = 512  # videos in memory at once: a described clip of ten seconds takes 250 kB
_NUM_NEAREST = 2
_MIN_LOOKS = 0.9
_TYPICAL_ZOOM = 1.08

_NUM_MOMENTS = 3  # of each video
_NUM_MOMENT_PAIRS = 4  # of each video, at most
_MIN_MOMENT = 0.6
_MIN_MOMENT_LOOKS = 0.7
_MAX_OF_TILE = 8192
_POOLED_SIDE = 8
_REACH = 2  # slots before and after a moment that describe it too

Candidate = tuple[int, int, bool]
"""The positions of two videos to compare, the lower first, and whether to mirror the second."""


@dataclass(frozen=True)
class Match:
    """The positions of two videos that may be near copies, the lower first, and their similarity."""

    first: int
    second: int
    similarity: Similarity


def find_alike(fingerprints: Sequence[Fingerprint], contents: Sequence[object]) -> list[Match]:
    """Return the pairs of videos that may be near copies, the surest first.

    Args:
        fingerprints: one of each video.
        contents: an identity of the file that each video was cut from; videos of one file are not compared.
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
        similarity = compare_moving(described(first), described(second), is_mirrored, offset_seconds)
        if similarity is not None and similarity.is_copy:
            known = matches.get((first, second))
            if known is None or known.similarity.sureness < similarity.sureness:
                matches[first, second] = Match(first, second, similarity)
    return sorted(matches.values(), key=lambda match: -match.similarity.sureness)


def _nearest_looks(mean_NHW: Float32, content_N: Int64) -> Iterator[Candidate]:
    """Yield each video with the few others whose mean pictures are nearest to its own."""
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
    fingerprints: Sequence[Fingerprint], mean_NHW: Float32, content_N: Int64
) -> Iterator[Candidate]:
    """Yield each video with the few others that are most like it at a moment of much change."""
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


def _strongest(shared_RC: Float32) -> tuple[Int64, Int64]:
    """Return rows and columns of the pairs in a tile that are alike enough; of too many, the best."""
    rows, columns = np.nonzero(shared_RC >= _MIN_MOMENT)
    if len(rows) > _MAX_OF_TILE:
        most = np.argpartition(shared_RC[rows, columns], -_MAX_OF_TILE)[-_MAX_OF_TILE:]
        rows, columns = rows[most], columns[most]
    return rows, columns


def _keep_best(best: dict[int, dict[int, float]], video: int, other: int, value: float) -> None:
    """Record how much two videos are alike, and drop the least of a video's records when they are many."""
    others = best[video]
    others[other] = max(value, others.get(other, -1.0))
    if len(others) > 8 * _NUM_MOMENT_PAIRS:
        kept = sorted(others, key=lambda key: -others[key])[:_NUM_MOMENT_PAIRS]
        best[video] = {key: others[key] for key in kept}


def _moments(fingerprint: Fingerprint) -> Float32:
    """Return the changes around the moments of most change, (M, 5, 8, 8), M up to 3."""
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


def _standardize(pictures_NHW: Float32) -> Float32:
    """Return pictures as rows (N, D) of mean 0 and length 1."""
    rows_ND = pictures_NHW.reshape(len(pictures_NHW), -1)
    return _to_unit(rows_ND - rows_ND.mean(axis=1, keepdims=True))


def _flatten(moments: Float32) -> Float32:
    return _to_unit(moments.reshape(len(moments), -1))


def _to_unit(rows_ND: Float32) -> Float32:
    return np.asarray(rows_ND / (np.linalg.norm(rows_ND, axis=1, keepdims=True) + 1e-6), dtype=np.float32)
