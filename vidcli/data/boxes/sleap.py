"""Points as SLEAP exports them for analysis: HDF5, or CSV with a row for each instance.

HDF5   tracks (T, 2, P, N), track_names (T)       T tracks, P points, N frames
CSV    track, frame_idx, instance.score, nose.x, nose.y, nose.score, ...
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidcli.data.boxes.tracked import BoxFile, box_around, make_track
from vidcli.sheets import OpenTable

FORM = "SLEAP"
_NUM_AXES = 4


def is_sleap_table(columns: Sequence[str]) -> bool:
    """Tell whether a table has the columns of SLEAP's CSV."""
    return "frame_idx" in columns and any(name.endswith(".x") for name in columns)


def read_sleap_table(table: OpenTable) -> BoxFile:
    """Return a track for each name in the column track.

    Args:
        table: of which the rows are read here.

    Raises:
        ValueError: a cell holds no number; names its line.
    """
    place = {name: number for number, name in enumerate(table.columns)}
    parts = [name.removesuffix(".x") for name in table.columns if name.endswith(".x")]
    columns = [place[f"{part}.{axis}"] for part in parts for axis in "xy" if f"{part}.{axis}" in place]
    if len(columns) != 2 * len(parts):
        raise ValueError("has points with .x and without .y")
    found: dict[str, list[list[float]]] = {}
    for line, fields in table.rows:
        cells = [fields[number] if number < len(fields) else "" for number in (place["frame_idx"], *columns)]
        try:
            row = [float(cell) if cell.strip() else np.nan for cell in cells]
        except ValueError:
            raise ValueError(f"line {line}: holds a frame or a point that is no number") from None
        name = fields[place["track"]].strip() if "track" in place else ""
        found.setdefault(name, []).append(row)
    tracks = []
    for name, rows in found.items():
        rows_NC = np.array(rows)
        points_NP2 = rows_NC[:, 1:].reshape(len(rows), -1, 2)
        tracks.append(make_track("", name, rows_NC[:, 0], box_around(points_NP2), True))
    return BoxFile(FORM, tracks)


def read_sleap_hdf5(content: bytes) -> BoxFile:
    """Return a track for each of an analysis file.

    Raises:
        ValueError: h5py is not installed, or the file holds no tracks.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError("HDF5 needs h5py, which is not installed: pip install 'vidcli[boxes]'") from None
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            points = np.asarray(_dataset(file, "tracks"), dtype=np.float64)
            names = (
                [_text(name) for name in np.ravel(file["track_names"][()])] if "track_names" in file else []
            )
            video = _text(file["video_path"][()]) if "video_path" in file else ""
    except (OSError, RuntimeError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read as HDF5 of SLEAP ({error})") from error
    if points.ndim != _NUM_AXES or points.shape[1] != 2:
        raise ValueError(f"has tracks of the shape {points.shape}; expected tracks, 2, points, frames")
    names = (
        names
        if len(names) == len(points)
        else ["" if len(points) == 1 else str(n) for n in range(len(points))]
    )
    frames_N = np.arange(points.shape[3], dtype=np.float64)
    tracks = [
        make_track(video, name, frames_N, box_around(points_2PN.transpose(2, 1, 0)), True)
        for name, points_2PN in zip(names, points, strict=True)
    ]
    return BoxFile(FORM, tracks)


def _dataset(file: Any, name: str) -> Any:
    if name not in file:
        raise ValueError(f"has no {name}; export it from SLEAP as an analysis file, not a project (.slp)")
    return file[name][()]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
