"""Frames that were decoded once and are kept: in memory, or on disk from one run to the next.

All frames of a video are kept, with their timestamps, at the size that the model's clips are cut
from. Any sampler can then draw any moment, and a clip is the same, bit for bit, as one drawn from
the file. Fewer frames would save space only for long videos, and there a few moments are decoded
faster from the file, which is what happens when the frames do not fit.

On disk there is one pack a video (`packs`), named by all that its frames depend on:

    FOLDER/4f/4f3c….pack       whole, for it was renamed when it was
    FOLDER/4f/4f3c….partial    being written, by whoever holds the lock on it
    FOLDER/size                bytes of all of them, changed only under the lock on this file

Locks are the system's own (flock): they end with the process, however it ends. A partial file
that nobody holds is therefore a leftover, and is taken over or removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeAlias

import numpy as np

from vidcli.data.caches import own_files, own_folders, take_cache
from vidcli.data.items import VideoItem
from vidcli.data.packs import PACK_VERSION, DamagedPack, Pack, open_pack, pack_size, write_pack
from vidcli.sampling import Seconds, shown_frames
from vidcli.video import DecodedFrames, Frames, Plan

Decode: TypeAlias = Callable[[], DecodedFrames]

_DIGITS = 40
_FOLDER_NAME = re.compile("[0-9a-f]{2}")
_FILE_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}\.(pack|partial)")
_POLL_SECONDS = 0.02
# Below the bound by this share after making room, so that not every video has to make room anew.
_SLACK = 1 / 32


class FrameCache(Protocol):
    """Where the frames of a video are once they were decoded.

    Attributes:
        kind: what `data.cache` calls it.
    """

    kind: Literal["memory", "disk"]

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return frames (N, H, W, 3) at the moments of `plan`; `decode` gives all that there are."""

    def take_notices(self) -> list[str]:
        """Return what the user should know since this was last asked."""


class MemoryCache:
    """Frames held for as long as the run lasts."""

    kind: Literal["memory", "disk"] = "memory"

    def __init__(self) -> None:
        self._kept: dict[VideoItem, DecodedFrames] = {}
        self._lock = threading.Lock()

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return frames at the moments of `plan`, decoded where they are not held yet."""
        with self._lock:
            decoded = self._kept.get(item)
        if decoded is None:
            decoded = decode()
            with self._lock:
                self._kept[item] = decoded
        return _draw(decoded, plan)

    def take_notices(self) -> list[str]:
        """Return nothing: memory has nothing to tell."""
        return []


class DiskCache:
    """Packs in a folder that several processes share, the least recently used of which leave first."""

    kind: Literal["memory", "disk"] = "disk"

    def __init__(
        self, folder: Path, max_bytes: int, settings: Sequence[object], patience_seconds: float
    ) -> None:
        """Name the folder; nothing is written before `prepare`.

        Args:
            folder: for packs alone; made and marked where it is not there yet, see `caches`.
            max_bytes: all packs in it together take no more.
            settings: all that decoded frames depend on beside the file and its span, as JSON values.
            patience_seconds: how long to wait for another process that decodes the same video.
        """
        self.folder = folder
        self._max_bytes = max_bytes
        self._settings = list(settings)
        self._patience_seconds = patience_seconds
        self._paths: dict[VideoItem, Path] = {}
        self._in_use: set[Path] = set()
        self._is_writing = False
        self._lock = threading.Lock()
        self._notices: list[str] = []

    def prepare(self) -> str | None:
        """Clear leftovers and bring the folder within its bound; return why it cannot be written, if so.

        Packs that are there can be read even where none can be written.
        """
        try:
            take_cache(self.folder)
            with self._ledger() as ledger:
                for path, _ in self._own_files():
                    if path.suffix == ".partial":
                        _remove_if_abandoned(path)
                ledger.total = self._make_room(0)
        except OSError as error:
            return _reason(error)
        self._is_writing = True
        return None

    def packed_bytes(self, item: VideoItem) -> int | None:
        """Return the size of a video's pack, which this run will use; None where there is none."""
        path = self._path(item)
        try:
            size = path.stat().st_size if path is not None else None
        except OSError:
            return None
        if path is not None:
            self._use(path)
        return size

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return frames at the moments of `plan`, from the video's pack where it has a sound one."""
        plan = _asked_once(plan)
        path = self._path(item)
        if path is None:
            return _draw(decode(), plan)  # which says why the file cannot be read
        for _ in range(2):
            pack = self._open(path)
            if pack is None:
                decoded = self._make(path, decode)
                if decoded is not None:
                    return _draw(decoded, plan)
                continue  # another process has made it
            self._use(path)
            try:
                return _draw(pack, plan)
            except DamagedPack as damage:
                self._discard(path, damage)
        return _draw(decode(), plan)

    def take_notices(self) -> list[str]:
        """Return what the user should know since this was last asked."""
        with self._lock:
            notices, self._notices = self._notices, []
        return notices

    def _path(self, item: VideoItem) -> Path | None:
        """Return where the pack of a video belongs; None if the file is not there.

        A name is found once a run: a file that changes meanwhile is the old one until the next.
        """
        with self._lock:
            known = self._paths.get(item)
        if known is not None:
            return known
        try:
            source = item.path.resolve()
            status = source.stat()
        except OSError:
            return None
        about = [PACK_VERSION, os.fspath(source), status.st_size, status.st_mtime_ns]
        about += [item.start_seconds, item.end_seconds, *self._settings]
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:_DIGITS]
        path = self.folder / name[:2] / f"{name}.pack"
        with self._lock:
            self._paths[item] = path
        return path

    def _open(self, path: Path) -> Pack | None:
        try:
            return open_pack(path)
        except DamagedPack as damage:
            self._discard(path, damage)
        except OSError as error:
            self._stop_writing(f"{path} cannot be read ({_reason(error)})")
        return None

    def _use(self, path: Path) -> None:
        """Mark a pack as just used, once a run: it leaves after all that were used before."""
        with self._lock:
            if path in self._in_use:
                return
            self._in_use.add(path)
        with suppress(OSError):  # gone, or not ours to mark: the order of leaving is all that suffers
            os.utime(path)

    def _make(self, path: Path, decode: Decode) -> DecodedFrames | None:
        """Decode a video and write its pack; None once another process has written it."""
        if not self._is_writing:
            return decode()
        try:
            partial = self._claim(path)
        except OSError as error:
            self._stop_writing(_reason(error))
            return decode()
        if partial is None:
            return None
        with partial:
            try:
                decoded = decode()
                self._write(partial, path, decoded)
            except BaseException:
                _partial_of(path).unlink(missing_ok=True)
                raise
            return decoded

    def _claim(self, path: Path) -> BinaryIO | None:
        """Return the partial file of a pack, locked; None once there is nothing to do for us.

        Where another process has it, wait until it is done: two that start on the same videos then
        share the work.
        """
        partial = _partial_of(path)
        ends = time.monotonic() + self._patience_seconds
        while time.monotonic() < ends:
            partial.parent.mkdir(parents=True, exist_ok=True)
            if partial.parent.is_symlink():
                raise OSError(errno.ELOOP, "is a link, which is not followed", str(partial.parent))
            with ExitStack() as closing:
                file = closing.enter_context(_open_unchanged(partial))
                if _lock_if_free(file) and _is_still(file, partial):
                    if not path.exists():
                        closing.pop_all()
                        return file
                    partial.unlink()
            if path.exists():
                return None
            time.sleep(_POLL_SECONDS)
        return None

    def _write(self, partial: BinaryIO, path: Path, decoded: DecodedFrames) -> None:
        """Write a claimed pack and put it in its place; a disk that is full ends the writing."""
        size = pack_size(decoded)
        try:
            with self._ledger() as ledger:
                if ledger.total + size > self._max_bytes:
                    ledger.total = self._make_room(size)
                has_room = ledger.total + size <= self._max_bytes
                if has_room:
                    ledger.total += size
                    partial.truncate(size)  # counted by whoever sums up the folder meanwhile
            if has_room:
                # Before it is in its place: from then on, others who need room see it.
                with self._lock:
                    self._in_use.add(path)
                write_pack(partial, decoded)
                os.replace(_partial_of(path), path)
                return
            reason = f"the frames take more than data.cache_gib={self._max_bytes / 2**30:g}"
        except OSError as error:
            reason = _reason(error)
        with suppress(OSError):
            _partial_of(path).unlink(missing_ok=True)
            with self._ledger() as ledger:
                ledger.total = self._make_room(0)
        self._stop_writing(reason)

    def _discard(self, path: Path, damage: DamagedPack) -> None:
        self._tell(f"frame cache: {path} is damaged ({damage}); the video is decoded anew")
        try:
            with self._ledger() as ledger:
                size = path.stat().st_size
                path.unlink()
                ledger.total = max(0, ledger.total - size)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:
            self._stop_writing(_reason(error))

    def _stop_writing(self, reason: str) -> None:
        with self._lock:
            was_writing, self._is_writing = self._is_writing, False
        if was_writing:
            self._tell(
                f"frame cache: {reason}; videos that are not in it yet are decoded anew in every epoch"
            )

    def _tell(self, text: str) -> None:
        with self._lock:
            self._notices.append(text)

    @contextmanager
    def _ledger(self) -> Iterator[_Ledger]:
        """Hold the folder's lock; `total` is kept when the block is left without an error."""
        with _open_unchanged(self.folder / "size") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read(32).strip()
            ledger = _Ledger(int(text) if text.isdigit() else self._make_room(0))
            yield ledger
            file.seek(0)
            file.truncate()
            file.write(b"%d\n" % ledger.total)

    def _make_room(self, needed: int) -> int:
        """Remove packs until `needed` bytes fit, the least recently used first; return what is left.

        Packs of this run stay: where a data set does not fit, a part that stays serves every epoch,
        while one that moves on would serve none.
        """
        found: list[tuple[int, int, Path]] = []
        total = 0
        for path, status in self._own_files():
            total += status.st_size
            if path.suffix == ".pack":
                found.append((status.st_mtime_ns, status.st_size, path))
        if total + needed <= self._max_bytes:
            return total
        with self._lock:
            in_use = set(self._in_use)
        target = self._max_bytes - max(needed, int(self._max_bytes * _SLACK))
        for _, size, path in sorted(found):
            if total <= target:
                break
            if path not in in_use:
                path.unlink(missing_ok=True)
                total -= size
        return total

    def _own_files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield all packs, whole and partial; of other files there may be, none is touched."""
        for folder in own_folders(self.folder, _FOLDER_NAME.fullmatch):
            yield from own_files(folder, _FILE_NAME.fullmatch)


class _Ledger:
    """The bytes that all files of the folder take together."""

    def __init__(self, total: int) -> None:
        self.total = total


def _draw(kept: DecodedFrames | Pack, plan: Plan) -> Frames:
    """Return the frames that are shown at the moments of a plan."""
    wanted = np.minimum(np.ravel(plan(kept.duration_seconds)), kept.duration_seconds)
    indices = shown_frames(kept.pts_seconds, wanted)
    return kept.take(indices) if isinstance(kept, Pack) else kept.frames[indices]


def _asked_once(plan: Plan) -> Plan:
    """Return a plan that repeats its first answer: asked again, a random one would draw others."""
    answers: list[Seconds] = []

    def repeat(duration_seconds: float) -> Seconds:
        if not answers:
            answers.append(plan(duration_seconds))
        return answers[0]

    return repeat


def _partial_of(path: Path) -> Path:
    return path.with_suffix(".partial")


def _open_unchanged(path: Path) -> BinaryIO:
    """Open a file for writing, made where it is not there yet, and leave what is in it; follow no link.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    file = os.fdopen(os.open(path, flags, 0o666), "r+b")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
    return file


def _lock_if_free(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Tell whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_if_abandoned(path: Path) -> None:
    """Remove a partial file unless somebody is writing it."""
    try:
        with open(path, "r+b") as file:
            if _lock_if_free(file) and _is_still(file, path):
                path.unlink()
    except FileNotFoundError:
        return


def _reason(error: OSError) -> str:
    name = error.filename or ""
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return f"{name}: {error.strerror}" if name else str(error.strerror or error)
