"""Videos that show the same: equal files, and copies that were coded, scaled or timed anew.

Near duplicates are found in two steps, both in tiles of NumPy, none of them a loop over pairs:

    hash     448 bits a video, the signs of neighbouring differences in the mean pictures of its
             eight segments (difference hash); pairs with few unequal bits are candidates
    motion   candidates must also change alike over time: the correlation of what each segment
             differs from the video's mean, and how strongly

The second step is what tells clips of one fixed camera apart, which all have the same hash, and a
clip from its own reversal. Measured: copies (half size, stretched, MPEG-4, other frame rate, strong
compression, darker) correlate by 0.87 and more where anything moves visibly, different motions of
one built-in scene by 0.73 and less, 342 clips of six recordings of a cage by 0.72 and less (one pair
by 0.85, of unlike strength). Not found: parts of a video, mirrored copies, other crops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vidcli.doctor.inspect import GREY_SIDE, NUM_SEGMENTS, Fingerprint, Floats

_HASH_SIDE = 8
_NUM_BITS = NUM_SEGMENTS * _HASH_SIDE * (_HASH_SIDE - 1)
_MAX_UNEQUAL_BITS = round(0.2 * _NUM_BITS)
_MIN_STEP = 0.5  # grey levels: less is coding noise of a flat picture
_MIN_CORRELATION = 0.85
_MAX_STRENGTH_RATIO = 2.0
_MAX_COLOUR_DISTANCE = 16.0  # root mean square, of 255
_MAX_STILL_DISTANCE = 4.0  # likewise, of two still pictures
_TILE = 512

Words = npt.NDArray[np.uint64]


def cluster_alike(
    fingerprints: Sequence[Fingerprint], is_still: Sequence[bool], contents: Sequence[object]
) -> list[list[int]]:
    """Return the groups of videos that show the same, as ascending positions; singles left out.

    Args:
        fingerprints: one a video.
        is_still: whether nothing moves; stills are compared as pictures, and with stills only.
        contents: what a video was cut from; two of equal content are not compared.
    """
    if len(fingerprints) < 2:
        return []
    grey_NKHW = np.stack([fingerprint.grey_KHW for fingerprint in fingerprints])
    colour_NF = np.stack([fingerprint.colour_HWC.ravel() for fingerprint in fingerprints])
    still_N = np.array(is_still)
    numbers: dict[object, int] = {}
    content_N = np.array([numbers.setdefault(content, len(numbers)) for content in contents])
    hashes_NW = _hash(grey_NKHW)
    change_NF, strength_N = _describe_change(grey_NKHW)
    picture_NF = grey_NKHW.mean(axis=1).reshape(len(grey_NKHW), -1)

    root_N = np.arange(len(fingerprints))
    for row_start, column_start in _tiles(len(fingerprints)):
        rows = np.arange(row_start, min(row_start + _TILE, len(fingerprints)))
        columns = np.arange(column_start, min(column_start + _TILE, len(fingerprints)))
        near_RC = _unequal_bits(hashes_NW[rows], hashes_NW[columns]) <= _MAX_UNEQUAL_BITS
        near_RC &= content_N[rows, None] != content_N[None, columns]
        near_RC &= still_N[rows, None] == still_N[None, columns]
        near_RC &= rows[:, None] < columns[None]
        rows, columns = rows[near_RC.any(axis=1)], columns[near_RC.any(axis=0)]
        if not len(rows):
            continue
        near_RC = near_RC[np.ix_(near_RC.any(axis=1), near_RC.any(axis=0))]
        near_RC &= _distances(colour_NF[rows], colour_NF[columns]) <= _MAX_COLOUR_DISTANCE
        ratio_RC = strength_N[rows, None] / strength_N[None, columns]
        moves_alike_RC = change_NF[rows] @ change_NF[columns].T >= _MIN_CORRELATION
        moves_alike_RC &= np.maximum(ratio_RC, 1 / ratio_RC) <= _MAX_STRENGTH_RATIO
        looks_alike_RC = _distances(picture_NF[rows], picture_NF[columns]) <= _MAX_STILL_DISTANCE
        near_RC &= np.where(still_N[rows, None], looks_alike_RC, moves_alike_RC)
        for row, near_C in zip(rows, near_RC, strict=True):
            if near_C.any():
                met = np.unique(np.append(root_N[columns[near_C]], root_N[row]))
                root_N[np.isin(root_N, met)] = met[0]
    members: dict[int, list[int]] = defaultdict(list)
    for index, root in enumerate(root_N.tolist()):
        members[root].append(index)
    return [group for group in members.values() if len(group) > 1]


def _tiles(count: int) -> Iterator[tuple[int, int]]:
    """Yield where the square tiles of the upper triangle of all pairs start: small enough to stay fast."""
    for row in range(0, count, _TILE):
        for column in range(row, count, _TILE):
            yield row, column


def _hash(grey_NKHW: Floats) -> Words:
    """Return difference hashes, uint64 (N, 7)."""
    cell = GREY_SIDE // _HASH_SIDE
    small_NKHW = grey_NKHW.reshape(-1, NUM_SEGMENTS, _HASH_SIDE, cell, _HASH_SIDE, cell).mean(axis=(3, 5))
    bits_NB = (np.diff(small_NKHW, axis=3) > _MIN_STEP).reshape(len(grey_NKHW), _NUM_BITS)
    return np.ascontiguousarray(np.packbits(bits_NB, axis=1)).view(np.uint64)


def _unequal_bits(a_RW: Words, b_NW: Words) -> npt.NDArray[np.uint16]:
    """Return the Hamming distances (R, N)."""
    count_RN = np.zeros((len(a_RW), len(b_NW)), np.uint16)
    for word in range(a_RW.shape[1]):
        count_RN += _count_ones(a_RW[:, word, None] ^ b_NW[None, :, word])
    return count_RN


def _count_ones(words: Words) -> npt.NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.asarray(np.bitwise_count(words), dtype=np.uint8)
    table = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1)
    ones = table.sum(axis=1, dtype=np.uint8)
    return np.asarray(ones[words.view(np.uint16).reshape(*words.shape, 4)].sum(axis=-1), dtype=np.uint8)


def _describe_change(grey_NKHW: Floats) -> tuple[Floats, Floats]:
    """Return what segments differ from their video's mean, (N, K*H*W) of length 1, and how strongly."""
    change_NF = (grey_NKHW - grey_NKHW.mean(axis=1, keepdims=True)).reshape(len(grey_NKHW), -1)
    strength_N = np.maximum(np.linalg.norm(change_NF, axis=1), 1e-3)
    return change_NF / strength_N[:, None], strength_N


def _distances(a_RF: Floats, b_CF: Floats) -> Floats:
    """Return the root mean square differences (R, C)."""
    squares_RC = (a_RF**2).sum(axis=1)[:, None] + (b_CF**2).sum(axis=1)[None] - 2 * a_RF @ b_CF.T
    return np.asarray(np.sqrt(np.maximum(squares_RC, 0.0) / a_RF.shape[1]), dtype=np.float32)
