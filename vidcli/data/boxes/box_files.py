"""Files of boxes of all formats, known by their content, and which of them is about which video.

A file that names no videos is about the one that it is called after: `day1.csv`, `day1DLC_resnet50.csv` or
`day1/gt/gt.txt` about `day1.mp4`. A single such file may have any name where there is one video.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from vidcli.data.annotations.documents import BLANK, faults_named, parse_json, text_in
from vidcli.data.annotations.media import parts_of
from vidcli.data.boxes.box_table import EXPECTED, read_box_table
from vidcli.data.boxes.coco import is_coco, read_coco
from vidcli.data.boxes.deeplabcut import is_deeplabcut, read_deeplabcut
from vidcli.data.boxes.mot import is_mot, read_mot
from vidcli.data.boxes.sleap import is_sleap_table, read_sleap_hdf5, read_sleap_table
from vidcli.data.boxes.tracked import BoxFile, Track
from vidcli.data.items import name_few
from vidcli.errors import DataError
from vidcli.names import normal_name
from vidcli.runtime.files import read_regular
from vidcli.sheets import name_columns, open_table
from vidcli.video import VIDEO_SUFFIXES

_MAX_BYTES = 2**30
_HDF5 = b"\x89HDF\r\n\x1a\n"
_AFTER_NAMES = ("_", ".", "-", " ", "dlc")
"""What programs write after the name of a video."""
_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".h5", ".hdf5")
KNOWN = (
    "MOT (gt.txt, det.txt), COCO JSON, DeepLabCut CSV, SLEAP analysis (HDF5, CSV), or a table with the "
    f"columns {EXPECTED}"
)


class BoxPlace(NamedTuple):
    """A file of boxes, or a folder of such, as it is now.

    Attributes:
        path: as it was named.
        state: changes when a file is written anew.
    """

    path: Path
    state: tuple[tuple[str, int, int], ...]


def find_boxes(path: str | os.PathLike[str]) -> BoxPlace:
    """Return the files that a path names.

    Raises:
        DataError: there are none.
    """
    place = Path(path)
    try:
        if place.is_dir():
            names = [
                Path(folder, name)
                for folder, _, names in os.walk(place)
                for name in names
                if Path(name).suffix.lower() in _SUFFIXES
            ]
            if not names:
                raise DataError(f"{place}: holds no {', '.join(_SUFFIXES)}; expected files of boxes: {KNOWN}")
        else:
            names = [place]
        stats = [(str(name), name.stat()) for name in sorted(names)]
    except OSError as error:
        raise DataError(
            f"{place}: cannot be read ({error.strerror}); expected a file of boxes: {KNOWN}"
        ) from error
    return BoxPlace(place, tuple((name, status.st_size, status.st_mtime_ns) for name, status in stats))


def tracks_of(place: BoxPlace, video: Path) -> tuple[Path, list[Track]]:
    """Return the file that is about a video, and the tracks in it; none where no file is.

    Args:
        place: as `find_boxes` returned it.
        video: path of the video.

    Raises:
        DataError: the file cannot be read, or several can be meant.
    """
    files = [Path(name) for name, _, _ in place.state]
    if len(files) == 1 and not place.path.is_dir():
        content = read_boxes(*place.state[0])
        return files[0], _about(content.tracks, video, place.path)
    found = _called_after(files, place.path, video)
    if len(found) > 1:
        raise DataError(f"{place.path}: boxes of {video.name} can be {name_few(found)}; keep one of them")
    if not found:
        return place.path, []
    state = next(state for state in place.state if Path(state[0]) == found[0])
    return found[0], _about(read_boxes(*state).tracks, video, found[0])


def require_one_video(place: BoxPlace, videos: Iterable[Path]) -> None:
    """Refuse a single file that names no videos, where there are several.

    Raises:
        DataError: it is so.
    """
    if place.path.is_dir() or len(names := {video.resolve() for video in videos}) < 2:
        return
    if any(not track.video for track in read_boxes(*place.state[0]).tracks):
        raise DataError(
            f"{place.path}: does not say which of {len(names)} videos its boxes are of; name a folder with a "
            "file for each, called after it, or a table with a column video"
        )


@lru_cache(maxsize=64)
def read_boxes(path: str, size: int, changed: int) -> BoxFile:
    """Read a file of boxes of any of the formats that are known.

    Args:
        path: the file.
        size: of the file, in bytes.
        changed: when it was written; a file that was written anew is read anew.

    Raises:
        DataError: it cannot be read, is of no known format, or is damaged; says which.
    """
    with faults_named(path):
        content = _read(Path(path), read_regular(path, _MAX_BYTES))
        content.tracks[:] = [track for track in content.tracks if len(track.places_N)]
        if not content.tracks:
            raise ValueError(f"was read as {content.form}, and holds no box")
        if max(float(track.boxes_N4.max()) for track in content.tracks) <= 1:
            raise ValueError("has no side or place above 1; expected pixels, not shares of the picture")
        pa.default_memory_pool().release_unused()  # tens of MB where boxes are of hours
        return content


def _read(path: Path, content: bytes) -> BoxFile:
    if content.startswith(_HDF5):
        return read_sleap_hdf5(content)
    begin = text_in(content, KNOWN)[0].lstrip(BLANK)
    if begin[0] in "{[":
        value = parse_json(begin)
        if not is_coco(value):
            found = name_columns(list(value)) if isinstance(value, dict) else f"a list of {len(value)}"
            raise ValueError(f"is JSON without images and annotations ({found}); expected {KNOWN}")
        return read_coco(value)
    if is_deeplabcut(begin):
        return read_deeplabcut(begin)
    if is_mot(begin):
        return read_mot(begin)
    table = open_table(begin.split("\n", 1)[0] + "\n")
    if is_sleap_table(table.columns):
        return read_sleap_table(open_table(begin))
    return read_box_table(path)


def _about(tracks: Sequence[Track], video: Path, file: Path) -> list[Track]:
    """Return the tracks of one video."""
    stem = _key(video.stem)
    found = [track for track in tracks if not track.video or _key(_stem(track.video)) == stem]
    names = {track.video for track in found}
    if len(names) > 1:  # of several files called alike, the one in the same folders
        upwards = [_key(part) for part in video.absolute().parts[-2::-1]]
        shared = {name: _num_shared(upwards, parts_of(name)[-2::-1]) for name in names}
        names = {name for name in names if shared[name] == max(shared.values())}
        found = [track for track in found if track.video in names]
    if len(names) > 1:
        raise DataError(f"{file}: {' and '.join(sorted(names))} can both be {video}; name folders in it too")
    return found


def _called_after(files: Sequence[Path], root: Path, video: Path) -> list[Path]:
    """Return the files that are called after a video: by its stem, else by a folder, else by a beginning."""
    stem = _key(video.stem)

    def begins(file: Path) -> bool:
        before, begin, rest = _key(file.stem).partition(stem)
        return not before and bool(begin) and rest.startswith(_AFTER_NAMES)

    ways = (
        [file for file in files if _key(file.stem) == stem],
        [file for file in files if stem in map(_key, file.relative_to(root).parts[:-1])],
        [file for file in files if begins(file)],
    )
    return next((found for found in ways if found), [])


def _num_shared(upwards: Sequence[str], named: Sequence[str]) -> int:
    agree = [there == _key(part) for there, part in zip(upwards, named, strict=False)]
    return agree.index(False) if False in agree else len(agree)


def _stem(name: str) -> str:
    last = (parts_of(name) or [name])[-1]
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in VIDEO_SUFFIXES else last


def _key(name: str) -> str:
    return normal_name(name).casefold()
