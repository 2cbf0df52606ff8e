"""Boxes or points in a table with a header: video, frame or time, track, and left, top, width, height.

video, frame, track, x, y, w, h            or x1, y1, x2, y2; or x and y alone, of which the box is around all
day1,  0,     a,     10, 20, 40, 30        points of a subject in a frame
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidcli.arrays import Float64
from vidcli.data.boxes.tracked import BoxFile, make_track, rows_of_each
from vidcli.data.cells import Batch, CellTable, open_cells
from vidcli.data.clock import parse_seconds
from vidcli.data.column_names import PATH_NAMES, TRACK_NAMES, find_column
from vidcli.names import normal_name
from vidcli.sheets import name_columns

FORM = "table of boxes"
_NAMES: Mapping[str, Sequence[str]] = {
    "video": ("video", *PATH_NAMES),
    "track": (*TRACK_NAMES, "id", "subject", "animal", "individual", "identity", "instance", "object_id"),
    "frame": ("frame", "frame_id", "frame_idx", "frame_index", "frame_number", "image_id"),
    "time": ("time", "seconds", "timestamp", "time_s", "time (s)", "t"),
    "x": ("x", "left", "bb_left", "bbox_x", "box_x"),
    "y": ("y", "top", "bb_top", "bbox_y", "box_y"),
    "w": ("w", "width", "bb_width", "bbox_w", "bbox_width", "box_w"),
    "h": ("h", "height", "bb_height", "bbox_h", "bbox_height", "box_h"),
    "x1": ("x1", "xmin", "x_min"),
    "y1": ("y1", "ymin", "y_min"),
    "x2": ("x2", "xmax", "x_max", "right"),
    "y2": ("y2", "ymax", "y_max", "bottom"),
}
KNOWN = tuple(dict.fromkeys(name for names in _NAMES.values() for name in names))
_BETWEEN = "\0"
_SIDES = (("x", "y", "w", "h"), ("x1", "y1", "x2", "y2"), ("x", "y"))
EXPECTED = "frame or time, x, y, w, h and optionally video, track"


def read_box_table(path: Path) -> BoxFile:
    """Return the tracks of a table.

    Raises:
        DataError: the file is no table.
        ValueError: columns are missing, or a cell cannot be read; names its line.
    """
    table = open_cells(path, KNOWN)
    found = {name: find_column(table.columns, names) for name, names in _NAMES.items()}
    columns = {name: column for name, column in found.items() if column is not None}
    sides = next((sides for sides in _SIDES if set(sides) <= columns.keys()), None)
    where = "frame" if "frame" in columns else "time" if "time" in columns else None
    if sides is None or where is None:
        raise ValueError(f"has the columns {name_columns(table.columns)}; expected {EXPECTED}")
    wanted = {name: columns[name] for name in ("video", "track", where, *sides) if name in columns}
    parts = list(_read(table, wanted, (where, *sides)))
    if not parts:
        raise ValueError("holds no rows under its header")
    numbers_RC = np.concatenate([numbers_MC for numbers_MC, _ in parts])
    keys = pa.chunked_array([keys for _, keys in parts]).combine_chunks().dictionary_encode()
    tracks = []
    for code, rows_M in rows_of_each(keys.indices.to_numpy().astype(np.int64)):
        video, name = keys.dictionary[code].as_py().split(_BETWEEN)
        places_M, sides_MC = numbers_RC[rows_M, 0], numbers_RC[rows_M, 1:]
        if "x2" in sides:
            sides_MC = np.concatenate([sides_MC[:, :2], sides_MC[:, 2:] - sides_MC[:, :2]], axis=1)
        elif "w" not in sides:
            places_M, sides_MC = _around_points(places_M, sides_MC)
        tracks.append(
            make_track(video.strip(), normal_name(name.strip()), places_M, sides_MC, where == "frame")
        )
    return BoxFile(FORM, tracks, table.notes)


def _around_points(places_M: Float64, points_M2: Float64) -> tuple[Float64, Float64]:
    """Return each place once, and the box around its points."""
    there_M = np.isfinite(points_M2).all(axis=1)
    order_M = np.argsort(places_M[there_M], kind="stable")
    places_M, points_M2 = places_M[there_M][order_M], points_M2[there_M][order_M]
    places_N, firsts_N = np.unique(places_M, return_index=True)
    low_N2, high_N2 = (of.reduceat(points_M2, firsts_N, axis=0) for of in (np.minimum, np.maximum))
    return places_N, np.concatenate([low_N2, high_N2 - low_N2], axis=1)


def _read(
    table: CellTable, wanted: Mapping[str, str], numbers: Sequence[str]
) -> list[tuple[Float64, pa.Array]]:
    """Return the numbers (M, C) of each batch of rows, and what video and track each row is of.

    Args:
        table: its header was read.
        wanted: the column of each thing.
        numbers: which of these are numbers.

    Raises:
        ValueError: a cell cannot be read.
    """
    columns = list(wanted.values())
    if table.is_plain:
        try:
            return [_of_batch(batch, wanted, numbers) for batch in table.quick_batches(columns)]
        except (ValueError, pa.ArrowException):
            pass  # read again, with the lines counted
    return [_of_batch(batch, wanted, numbers) for batch in table.batches(columns, KNOWN)]


def _of_batch(batch: Batch, wanted: Mapping[str, str], numbers: Sequence[str]) -> tuple[Float64, pa.Array]:
    numbers_MC = np.stack([_numbers(batch, wanted[name], name) for name in numbers], axis=1)
    none = pa.array([""] * len(numbers_MC), pa.string())
    names = [batch.cells[wanted[name]] if name in wanted else none for name in ("video", "track")]
    return numbers_MC, pc.binary_join_element_wise(*names, _BETWEEN)


def _numbers(batch: Batch, column: str, name: str) -> Float64:
    cells = pc.utf8_trim_whitespace(batch.cells[column])
    filled = pc.if_else(pc.equal(cells, ""), "nan", cells)
    try:
        return np.asarray(pc.cast(filled, pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid:
        if batch.lines is None:
            raise
    values = []
    for line, cell in zip(batch.lines, filled.to_pylist(), strict=True):
        try:
            values.append(parse_seconds(cell, name) if ":" in cell else float(cell.replace(",", ".")))
        except ValueError:
            raise ValueError(f"line {line}: {column} {cell!r}; expected a number") from None
    return np.array(values)
