"""Decoded frames and features of videos on disk, kept from one run to the next.

    CACHE/frames/SETTINGS/VIDEO.npy      all frames of a video, at the size that clips are cut from
    CACHE/features/SETTINGS/VIDEO.npy    the outputs of a frozen backbone

SETTINGS is a digest of everything that all files of the folder depend on, such as the clip settings or
the weights of the backbone. VIDEO is a digest of the video's path, size, time of change and span. A
change of any of these leads to another file, so that an outdated one is never read.

A file is one NumPy record whose fields are arrays, each with a CRC-32 of every row. It is mapped into
memory and only the rows wanted are read. A row that is not what was written raises `DamagedFile`.

Files are written under a temporary name and then renamed. Two processes that need the same video at
the same time may both compute it; the last one to finish replaces an identical file.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import mmap
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from vidcli.data.caches import find_cache, stored_files, take_cache
from vidcli.data.items import VideoItem
from vidcli.errors import WriteError
from vidcli.runtime.files import is_leftover, open_regular, write_whole
from vidcli.storage.sources import identity_of

Read = TypeVar("Read")
Array = npt.NDArray[Any]

_FORMAT_VERSION = 1
_NUM_DIGITS = 40
_CHECKSUM_SUFFIX = "_crc32"
_HEADER_BYTES = 512
_MAGIC_BYTES = 10  # magic string, version and length of the header of a .npy file
# Pruning frees this share of the bound at once, so that not every later file has to prune again.
_SLACK = 1 / 32
# A temporary file is written within seconds, so one of this age belongs to a process that was killed.
_LEFTOVER_SECONDS = 3600.0


class DamagedFile(Exception):
    """A stored file does not hold what was written; the message says how this was noticed."""


@functools.lru_cache(maxsize=256)  # most videos of a data set have equal headers
def _read_header(header: bytes) -> np.dtype[Any]:
    """Return the type of the record that follows the header of a .npy file."""
    file = io.BytesIO(header)
    np.lib.format.read_magic(file)
    shape, _, record_type = np.lib.format.read_array_header_1_0(file)
    if shape != (1,):
        raise ValueError("not a single record")
    return record_type


class StoredArrays:
    """The named arrays of one stored file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Map a file that `write_arrays` wrote.

        Raises:
            DamagedFile: the header or the length is not what was written.
            OSError: the file cannot be read, or is no regular file.
        """
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size < _MAGIC_BYTES:
                raise DamagedFile("it is shorter than a header")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        begin = _MAGIC_BYTES + int.from_bytes(mapped[_MAGIC_BYTES - 2 : _MAGIC_BYTES], "little")
        try:
            record_type = _read_header(mapped[:begin])
        except Exception as error:  # NumPy raises one of many kinds, depending on which byte changed
            raise DamagedFile("its header has changed") from error
        if record_type.names is None or len(mapped) != begin + record_type.itemsize:
            raise DamagedFile("its header or its length has changed")
        record = np.frombuffer(mapped, record_type, 1, begin)
        self._arrays: dict[str, Array] = {name: record[name][0] for name in record_type.names}

    def take(self, name: str, rows: npt.NDArray[np.int64] | None = None) -> Array:
        """Return a copy of rows of an array.

        Args:
            name: name under which the array was written.
            rows: indices along the first axis; None takes all rows in order.

        Raises:
            DamagedFile: the array is missing, or one of the rows is not what was written.
        """
        try:
            array, checksums = self._arrays[name], self._arrays[name + _CHECKSUM_SUFFIX]
        except KeyError as error:
            raise DamagedFile("its header has changed") from error
        indices = np.arange(len(array)) if rows is None else np.asarray(rows)
        taken = array[indices]
        for index, checksum in zip(indices, _checksums(name, array.shape, taken), strict=True):
            if checksum != checksums[index]:
                raise DamagedFile(f"row {index} of its {name} has changed")
        return taken


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays of at least one dimension into a file, without a copy of them in memory.

    Raises:
        OSError: the disk is full, or fails.
    """
    fields = {}
    for name, array in arrays.items():
        fields[name] = rows = np.ascontiguousarray(array)
        fields[name + _CHECKSUM_SUFFIX] = np.array(_checksums(name, rows.shape, rows), np.uint32)
    record = np.dtype([(name, array.dtype, array.shape) for name, array in fields.items()])
    header = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (1,)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for array in fields.values():
            file.write(array.data)


def _checksums(name: str, shape: tuple[int, ...], rows: Array) -> list[int]:
    """Return the CRC-32 of each row, which also depends on the name, type and shape of the whole array."""
    start = zlib.crc32(f"{name} {rows.dtype.str} {shape}".encode())
    return [zlib.crc32(row, start) for row in rows]


class Store:
    """Stored files of one kind and one set of settings, in a folder that processes may share.

    Attributes:
        root: folder of all files of the kind; the bound on bytes is for all of them together.
        folder: folder inside of `root` for the files with these settings.
    """

    def __init__(
        self, kind: Literal["frames", "features"], settings: Sequence[object], max_bytes: float
    ) -> None:
        """Name the folders; nothing is written before `prepare` or the first `write`.

        Args:
            kind: what the files hold.
            settings: everything that the files depend on besides the video, as JSON values.
            max_bytes: bound on the bytes of all files of this kind.
        """
        self.root = find_cache(kind)
        self.folder = self.root / _digest([_FORMAT_VERSION, *settings])
        self._kind, self._max_bytes = kind, max_bytes
        self._names: dict[tuple[VideoItem, str], str] = {}
        self._in_use: set[Path] = set()
        self._total_bytes: int | None = None
        self._is_writing = True
        self._lock = threading.RLock()
        self._notices: list[str] = []

    def prepare(self) -> str | None:
        """Make the folder and bring it within its bound; return the reason where it cannot be written.

        Files that are already there can be read even where none can be written.
        """
        with self._lock:
            try:
                take_cache(self.root)
                self._total_bytes = self._make_room(0)
            except OSError as error:
                self._is_writing = False
                return _describe(error)
        return None

    def size_of(self, item: VideoItem) -> int | None:
        """Return the bytes of a video's file, which this run will use; None where there is none."""
        path = self._path_of(item, ())
        try:
            size = path.stat().st_size if path is not None else None
        except OSError:
            return None
        if path is not None:
            self._mark_used(path)
        return size

    def read(
        self, item: VideoItem, take: Callable[[StoredArrays], Read], about: Sequence[object] = ()
    ) -> Read | None:
        """Return what `take` makes of a video's stored arrays; None where there is no sound file.

        Args:
            item: video, or span of one.
            take: called with the arrays; may find them damaged.
            about: what else the file depends on, as JSON values.
        """
        path = self._path_of(item, about)
        if path is None:
            return None
        try:
            taken = take(StoredArrays(path))
        except FileNotFoundError:
            return None
        except DamagedFile as damage:
            self._discard(path, damage)
            return None
        except OSError as error:
            self._stop_writing(f"{path} cannot be read ({_describe(error)})")
            return None
        self._mark_used(path)
        return taken

    def write(self, item: VideoItem, arrays: Mapping[str, Array], about: Sequence[object] = ()) -> None:
        """Store arrays of a video; where that fails, a notice tells why and no more are stored.

        Args:
            item: video, or span of one.
            arrays: arrays of at least one dimension, by name.
            about: what else they depend on, as JSON values.
        """
        path = self._path_of(item, about)
        if path is None or not self._is_writing:
            return
        try:
            num_bytes = _HEADER_BYTES + sum(array.nbytes + 4 * len(array) for array in arrays.values())
            if not self._reserve(num_bytes):
                bound = f"data.cache_gib={self._max_bytes / 2**30:g}"
                self._stop_writing(f"the {self._kind} take more than {bound}")
                return
            self.folder.mkdir(exist_ok=True)
            if self.folder.is_symlink():
                raise OSError(errno.ELOOP, "is a link, which is not followed", str(self.folder))
            # Seen by other threads only once it counts as in use.
            self._mark_used(path)
            write_whole(path, lambda temporary: write_arrays(temporary, arrays), flush=False)
        except OSError as error:
            self._stop_writing(_describe(error))
        except WriteError as error:
            cause = error.__cause__
            self._stop_writing(_describe(cause) if isinstance(cause, OSError) else str(error))

    def prune(self) -> None:
        """Delete the least recently used files beyond the bound; those that this run used stay."""
        with suppress(OSError), self._lock:  # a folder that cannot be written has nothing to prune
            self._total_bytes = self._make_room(0)

    def take_notices(self) -> list[str]:
        """Return what the user should know since this was last called."""
        with self._lock:
            notices, self._notices = self._notices, []
        return notices

    def _path_of(self, item: VideoItem, about: Sequence[object]) -> Path | None:
        """Return where the file of a video belongs; None if the video is not there.

        The name is determined once a run, so that a video that changes meanwhile counts as the old one.
        """
        key = item, json.dumps(about)
        with self._lock:
            name = self._names.get(key)
        if name is None:
            try:
                of_file = identity_of(item.path)
            except OSError:
                return None  # decoding the video tells why
            subject = [item.track, item.box] if item.track or item.box else []
            name = _digest([*of_file, item.start_seconds, item.end_seconds, *subject, *about])
            with self._lock:
                self._names[key] = name
        return self.folder / f"{name}.npy"

    def _mark_used(self, path: Path) -> None:
        """Note that this run uses a file, and renew its time: files used longest ago are deleted first."""
        with self._lock:
            if path in self._in_use:
                return
            self._in_use.add(path)
        with suppress(OSError):  # not there yet, or of another user
            os.utime(path)

    def _discard(self, path: Path, damage: DamagedFile) -> None:
        self._tell(f"{path} is damaged ({damage}); the video is decoded anew")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._stop_writing(_describe(error))

    def _stop_writing(self, reason: str) -> None:
        with self._lock:
            was_writing, self._is_writing = self._is_writing, False
        if was_writing:
            when = "in every epoch" if self._kind == "frames" else "in the next run"
            self._tell(f"{reason}; videos that are not in it yet are decoded anew {when}")

    def _tell(self, text: str) -> None:
        with self._lock:
            self._notices.append(f"{self._kind.removesuffix('s')} cache: {text}")

    def _reserve(self, num_bytes: int) -> bool:
        """Count bytes that are about to be written, after pruning if need be; False where they do not fit.

        Bytes that other processes write meanwhile are counted at the next pruning.
        """
        with self._lock:
            if self._total_bytes is None:
                take_cache(self.root)
                self._total_bytes = self._make_room(0)
            if self._total_bytes + num_bytes > self._max_bytes:
                self._total_bytes = self._make_room(num_bytes)
            if self._total_bytes + num_bytes > self._max_bytes:
                return False
            self._total_bytes += num_bytes
            return True

    def _make_room(self, needed: int) -> int:
        return _delete_oldest(self.root, self._max_bytes, needed, self._in_use, self.folder)


def _delete_oldest(root: Path, max_bytes: float, needed: int, in_use: set[Path], own_folder: Path) -> int:
    """Delete files until `needed` bytes fit the bound, the least recently used first.

    Files that this run uses stay: where a data set does not fit, a part that stays serves every epoch,
    while a part that changes would serve none. Temporary files that a killed process left go as well.

    Returns:
        The bytes of the files that are left.
    """
    files = sorted(stored_files(root), key=lambda file: file[1].st_mtime_ns)
    total = sum(status.st_size for _, status in files)
    target = max_bytes - max(needed, max_bytes * _SLACK) if total + needed > max_bytes else float("inf")
    oldest = time.time() - _LEFTOVER_SECONDS
    for path, status in files:
        is_abandoned = is_leftover(path) and status.st_mtime < oldest
        if is_abandoned or (total > target and not is_leftover(path) and path not in in_use):
            path.unlink(missing_ok=True)
            total -= status.st_size
    for folder in {path.parent for path, _ in files} - {own_folder}:
        with suppress(OSError):  # it holds other files
            folder.rmdir()
    return total


def _digest(about: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:_NUM_DIGITS]


def _describe(error: OSError) -> str:
    name = error.filename or ""
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return f"{name}: {error.strerror}" if name else str(error.strerror or error)
