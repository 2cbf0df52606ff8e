"""Folders for files that can be made again, which vidcli alone fills and empties.

    CACHE/frames/.vidcli-cache    says that vidcli made the folder, or took it while it was empty
    CACHE/frames/...              decoded frames; only files with a name of vidcli's are ever deleted
    CACHE/fetched/...             copies of models and manifests that lie afar
    CACHE/outputs/...             files that are being written to an address, or could not be sent there
    CACHE/motion-v.../motion.json says that the folder holds built-in motion videos

A folder named `frames` without the marker belongs to somebody else, and so does a link: nothing in it is
read, written or deleted, and CACHE/vidcli-frames is used in its place.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vidcli.errors import WriteError
from vidcli.runtime.files import TEMPORARY_NAME

CACHE_MARKER = ".vidcli-cache"
CACHE_KINDS = ("frames", "features", "bench", "fetched", "outputs", "motion")

_TEXT = "vidcli made this folder, and may delete what it put here; all of it can be made again.\n"
_DIGEST = "[0-9a-f]{40}"
_MOTION_FOLDER = re.compile(r"motion-v\d+-[\w.-]+")
_MOTION_MARKERS = ("motion.json", "motion.unfinished.json")
_MOTION_DATA = rf"motion(\.unfinished)?\.json|(train|val|test)/[\w-]+/([\w-]+_\d{{4,}}\.mp4|{TEMPORARY_NAME})"
_STORED = rf"{_DIGEST}/({_DIGEST}\.npy|{TEMPORARY_NAME})"
_BENCH_VIDEO = r"(h264|hevc|vp9|av1|mpeg4)_\d+x\d+\w*\.(mp4|webm|mkv|avi)"
_EXPORTED_FILE = r"(onnx|openvino)-(int8|float32)/[\w.-]+"
# Kind, folder, and the paths below the folder that vidcli gives to files there.
_MARKED_FOLDERS = (
    ("frames", "frames", _STORED),
    ("features", "features", _STORED),
    ("bench", "bench", rf"{_BENCH_VIDEO}|{TEMPORARY_NAME}"),
    ("bench", "bench-infer", rf"motion/({_MOTION_DATA})|\w+-\d+/(model\.safetensors|{_EXPORTED_FILE})"),
    ("fetched", "fetched", rf"{_DIGEST}/[^/]+"),
    ("outputs", "outputs", rf"{_DIGEST}(\.[^/]+)?|{TEMPORARY_NAME}"),
)


@dataclass(frozen=True)
class CacheFolder:
    """A folder of files that vidcli can make again.

    Attributes:
        kind: one of `CACHE_KINDS`.
        path: the folder.
        names: pattern of the paths below the folder that vidcli gives to files there.
    """

    kind: str
    path: Path
    names: str

    def files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the files that vidcli wrote here; others that lie among them, and links, are left out.

        Raises:
            OSError: a folder cannot be read.
        """
        for parent, _, names in os.walk(self.path, onerror=_raise_unless_gone):
            for name in names:
                path = Path(parent, name)
                if not re.fullmatch(self.names, path.relative_to(self.path).as_posix()):
                    continue
                try:
                    status = path.lstat()
                except FileNotFoundError:  # another process deleted it
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield path, status

    def clear(self) -> int:
        """Delete the files that vidcli wrote here, and folders that are empty then; return the bytes freed.

        Raises:
            WriteError: a file cannot be deleted.
        """
        freed = 0
        try:
            files = list(self.files())
            for path, status in files:
                path.unlink(missing_ok=True)
                freed += status.st_size
        except OSError as error:
            raise WriteError(f"{error.filename}: cannot be deleted ({error.strerror})") from error
        parents = {parent for path, _ in files for parent in path.relative_to(self.path).parents}
        for parent in sorted(parents, key=lambda parent: -len(parent.parts)):
            folder = self.path / parent
            with suppress(OSError):  # it holds other files
                if set(os.listdir(folder)) == {CACHE_MARKER}:
                    (folder / CACHE_MARKER).unlink()
                folder.rmdir()
        return freed


def cache_folder() -> Path:
    """Return the folder of all caches: VIDCLI_CACHE, or the usual place of the system."""
    if given := os.environ.get("VIDCLI_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidcli"


def list_caches() -> list[CacheFolder]:
    """Return the cache folders that are there, in the order of `CACHE_KINDS`."""
    marked = [CacheFolder(kind, find_cache(name), names) for kind, name, names in _MARKED_FOLDERS]
    found = [folder for folder in marked if is_cache(folder.path)]
    for path in sorted(cache_folder().glob("motion-v*")):
        is_named = _MOTION_FOLDER.fullmatch(path.name) and is_plain(path, stat.S_ISDIR)
        if is_named and any(is_plain(path / marker, stat.S_ISREG) for marker in _MOTION_MARKERS):
            found.append(CacheFolder("motion", path, _MOTION_DATA))
    return found


def stored_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files of a store of frames or features, unfinished ones included.

    Args:
        root: folder of the store; nothing is yielded unless it is marked.

    Raises:
        OSError: a folder cannot be read.
    """
    if is_cache(root):
        yield from CacheFolder("", root, _STORED).files()


def find_cache(name: str) -> Path:
    """Return the folder for one kind of thing that is kept, made or not; nothing is written.

    Args:
        name: of the folder, below VIDCLI_CACHE or the system's usual place.
    """
    usual = cache_folder() / name
    return usual if not os.path.lexists(usual) or is_cache(usual) or _is_empty(usual) else _renamed(usual)


def take_cache(folder: Path) -> None:
    """Make a folder that is kept and mark it; one that is marked already is left as it is.

    Raises:
        OSError: it cannot be written, or holds other things.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_cache(folder):
        return
    if not _is_empty(folder) and not is_cache(folder):  # another process may just have marked it
        raise OSError(errno.EEXIST, "holds other things than what vidcli keeps there", str(folder))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        marker = os.open(folder / CACHE_MARKER, flags, 0o666)
    except FileExistsError:
        return
    with os.fdopen(marker, "w", encoding="utf-8") as file:
        file.write(_TEXT)


def open_cache(name: str) -> Path:
    """Return the folder for one kind of thing that is kept, made and marked.

    Raises:
        WriteError: it cannot be.
    """
    folder = find_cache(name)
    try:
        take_cache(folder)
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written ({error.strerror}); name another cache folder with VIDCLI_CACHE"
        ) from error
    return folder


def is_cache(folder: Path) -> bool:
    """Tell whether a folder is marked as vidcli's, and no link."""
    try:
        return is_plain(folder, stat.S_ISDIR) and is_plain(folder / CACHE_MARKER, stat.S_ISREG)
    except OSError:
        return False


def is_plain(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Tell whether a path is itself, and not by a link, of a kind such as `stat.S_ISREG`."""
    try:
        return is_kind(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def measure_caches() -> dict[Path, int]:
    """Return the folders of frames and features that hold any, and their bytes."""
    folders = [folder for folder in list_caches() if folder.kind in ("frames", "features")]
    sizes = {folder.path: sum(status.st_size for _, status in folder.files()) for folder in folders}
    return {path: size for path, size in sizes.items() if size}


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files in a folder and those below it; no link is followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process was faster
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_empty(folder: Path) -> bool:
    return is_plain(folder, stat.S_ISDIR) and not any(folder.iterdir())


def _renamed(folder: Path) -> Path:
    return folder.with_name(f"vidcli-{folder.name}")
