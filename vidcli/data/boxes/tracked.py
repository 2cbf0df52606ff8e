"""What every file of boxes holds: where each subject of each video is when.

Shape suffixes: N boxes or frames, P points of a subject, R rows, C columns.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv

from vidcli.arrays import Float64, Int64
from vidcli.runtime.plain import one_line

_LEAST_LIKELIHOOD = 0.5
"""Of a point that counts, 0 to 1."""


@dataclass(frozen=True)
class Track:
    """Where one subject of one video is.

    Attributes:
        video: as the file names it; empty where it names none.
        name: of the subject; empty where the file tells none apart.
        places_N: numbers of frames from 0, or seconds, ascending and all different.
        boxes_N4: left, top, width and height in pixels.
        in_frames: whether places are numbers of frames.
    """

    video: str
    name: str
    places_N: Float64
    boxes_N4: Float64
    in_frames: bool


@dataclass(frozen=True)
class BoxFile:
    """The content of one file.

    Attributes:
        form: name of the format, for messages.
        tracks: at least one.
        notes: a sentence on each kind of thing that was passed over or guessed.
    """

    form: str
    tracks: list[Track]
    notes: list[str] = field(default_factory=list)


def make_track(video: str, name: str, places_N: Float64, boxes_N4: Float64, in_frames: bool) -> Track:
    """Return a track of the boxes that are there, in the order of time.

    Args:
        video: as the file names it.
        name: of the subject.
        places_N: frames or seconds in any order.
        boxes_N4: not a number where there is none.
        in_frames: whether places are numbers of frames.

    Raises:
        ValueError: two boxes are at one place, or a place or a box cannot be.
    """
    who = f"subject {name!r}" if name else "the subject"
    if not np.isfinite(places_N).all() or (places_N < 0).any():
        raise ValueError(f"{who} has a frame or time that is no number of 0 or more")
    if in_frames and (places_N != np.floor(places_N)).any():
        wrong = places_N[places_N != np.floor(places_N)][0]
        raise ValueError(
            f"{who} has the frame {wrong:g}; expected whole numbers, or a column time of seconds"
        )
    there_N = np.isfinite(boxes_N4).all(axis=1)
    places_N, boxes_N4 = places_N[there_N], boxes_N4[there_N]
    if (boxes_N4[:, 2:] < 0).any():
        raise ValueError(f"{who} has a box of a width or height below 0; expected left, top, width, height")
    order_N = np.argsort(places_N, kind="stable")
    places_N = places_N[order_N]
    if (twice_N := np.diff(places_N) == 0).any():
        where = f"{'frame' if in_frames else 'time'} {places_N[1:][twice_N][0]:g}"
        way_on = "" if name else "; several subjects need names, in a column track"
        raise ValueError(f"{who} has two boxes at {where}{way_on}")
    return Track(video, name, places_N, boxes_N4[order_N], in_frames)


def box_around(points_NP2: Float64, likelihoods_NP: Float64 | None = None) -> Float64:
    """Return the box (N, 4) around the points of each frame; not a number where there are none.

    Args:
        points_NP2: x and y in pixels; not a number where a point was not found.
        likelihoods_NP: how sure each is, 0 to 1; None counts all.
    """
    counts_NP = np.asarray(np.isfinite(points_NP2).all(axis=2))
    if likelihoods_NP is not None:
        counts_NP = counts_NP & (likelihoods_NP >= _LEAST_LIKELIHOOD)
    low_N2 = np.where(counts_NP[..., None], points_NP2, np.inf).min(axis=1)
    high_N2 = np.where(counts_NP[..., None], points_NP2, -np.inf).max(axis=1)
    boxes_N4 = np.full((len(points_NP2), 4), np.nan)
    seen_N = np.asarray(counts_NP.any(axis=1))
    boxes_N4[seen_N] = np.concatenate([low_N2, high_N2 - low_N2], axis=1)[seen_N]
    return boxes_N4


def rows_of_each(codes_R: Int64) -> Iterator[tuple[int, Int64]]:
    """Yield each code and the rows that have it."""
    order_R = np.argsort(codes_R, kind="stable")
    codes, firsts = np.unique(codes_R[order_R], return_index=True)
    yield from zip(codes.tolist(), np.split(order_R, firsts[1:]), strict=True)


def read_numbers(lines: str, delimiter: str) -> Float64:
    """Return rows of numbers (R, C) without a header; an empty cell is not a number.

    Args:
        lines: the text.
        delimiter: between cells.

    Raises:
        ValueError: a cell holds something else, or rows differ in length.
    """
    first = lines.split("\n", 1)[0]
    names = [str(column) for column in range(first.count(delimiter) + 1)]
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.float64()), null_values=["", "NaN", "nan", "NA"]
    )
    read = pyarrow.csv.ReadOptions(column_names=names, use_threads=False)
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter)
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(lines.encode()), read, parse, convert)
    except pa.ArrowException as error:
        raise ValueError(f"holds a row that is no row of numbers: {one_line(error)}") from error
    return np.stack([column.to_numpy() for column in table.columns], axis=1).astype(np.float64)
