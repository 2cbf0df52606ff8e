"""Video files in folders, without the files of operating systems and of vidcli itself.

Operating systems and network drives leave folders and files among the user's videos. vidcli writes run
directories, evaluations, explanations and exports, which may hold videos too. None of these are data.
Hidden files and folders, whose names start with a dot, never count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidcli.data.items import name_few
from vidcli.video import VIDEO_SUFFIXES

_SYSTEM_FOLDERS = frozenset(
    (
        "__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin",
        "recycler", "recycled", "system volume information", "lost+found", "__pycache__",
        "~snapshot", "lost.dir", "network trash folder", "temporary items", ".appledouble",
        ".ipynb_checkpoints", ".spotlight-v100",
        ".fseventsd", ".trashes", ".documentrevisions-v100", ".temporaryitems", ".apdisk",
    )
)  # fmt: skip
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".localized"))
_OWN_RECORD = re.compile(r"\.vidcli-[a-z]+(\.json)?")
_OWN_FILES = (
    {"config.yaml", "splits.csv"},  # a run
    {"config.yaml", "resume.pt"},
    {"eval.json", "predictions.csv"},
    {"explanation.json", "sheet.png"},
    {"explanation.json", "overlay.mp4"},
    {"vidcli.json"},  # an export
)


@dataclass(frozen=True)
class FolderContents:
    """The videos below a folder, and what was passed over there.

    Attributes:
        videos: files with the suffix of a video, in path order.
        of_system: files and folders that an operating system or a network drive left there.
        of_vidcli: folders that vidcli wrote.
        unreadable: folders that could not be read.
    """

    videos: list[Path] = field(default_factory=list)
    of_system: list[Path] = field(default_factory=list)
    of_vidcli: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return one sentence for each kind of thing that was passed over."""
        kinds = (
            (self.of_system, "files and folders of operating systems and drives are passed over"),
            (self.of_vidcli, "folders that vidcli wrote are passed over"),
        )
        return [f"{len(paths)} {text}: {name_few(paths)}" for paths, text in kinds if paths]


@dataclass(frozen=True)
class _Inside:
    """What lies directly inside of a folder, sorted by name.

    Attributes:
        folders: names of folders, and of links to folders, that may hold data.
        links: those of them that are links, which lead nowhere new in a walk.
        files: names of files that are neither hidden nor of an operating system.
        videos: what has the suffix of a video and is not hidden.
        of_system: folders, then other things, that an operating system or a network drive left there.
        is_of_vidcli: whether vidcli wrote the folder.
    """

    folders: list[str]
    links: set[str]
    files: list[str]
    videos: list[Path]
    of_system: list[Path]
    is_of_vidcli: bool


class Tree:
    """Folders, each of which is read once however much is asked about it; for as long as nothing changes."""

    def __init__(self) -> None:
        self._known: dict[str, _Inside] = {}

    def look_through(self, folder: Path, goes_on: bool = False) -> FolderContents:
        """Find the videos below a folder, and what is passed over there.

        Args:
            folder: top folder; its own name and files do not lead to it being passed over.
            goes_on: list folders that cannot be read in the result instead of raising an error.

        Raises:
            OSError: a folder cannot be read and `goes_on` is False.
        """
        found = FolderContents()
        left = [str(folder)]
        while left:
            path = left.pop()
            try:
                inside = self._inside(path)
            except OSError as error:
                if not goes_on:
                    raise
                found.unreadable.append(Path(error.filename or path))
                continue
            if path != str(folder) and inside.is_of_vidcli:
                found.of_vidcli.append(Path(path))
                continue
            found.of_system.extend(inside.of_system)
            found.videos.extend(inside.videos)
            walked = [os.path.join(path, name) for name in inside.folders if name not in inside.links]
            left += reversed(walked)
        return found

    def list_videos(self, folder: Path) -> list[Path]:
        """Return the files with the suffix of a video below a folder, in path order; see `look_through`.

        Raises:
            OSError: a folder cannot be read.
        """
        return self.look_through(folder).videos

    def subfolders(self, folder: Path) -> Iterator[Path]:
        """Yield the folders directly inside of a folder that may hold data, sorted by name."""
        for name in self._inside(str(folder)).folders:
            path = folder / name
            if not self._inside(str(path)).is_of_vidcli:
                yield path

    def files(self, folder: Path) -> list[str]:
        """Return the names of the files directly inside of a folder, sorted: none hidden, none of a system.

        Raises:
            OSError: it cannot be read.
        """
        return self._inside(str(folder)).files

    def _inside(self, folder: str) -> _Inside:
        known = self._known.get(folder)
        if known is None:
            known = self._known[folder] = _read(folder)
        return known


def _read(folder: str) -> _Inside:
    """Return what lies directly inside of a folder.

    Most file systems tell what an entry is together with its name, so that none is looked at by itself.

    Raises:
        OSError: it cannot be read.
    """
    folders: list[str] = []
    others: list[str] = []
    links: set[str] = set()
    regular: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_true(entry.is_dir):
                folders.append(entry.name)
                if entry.is_symlink():
                    links.add(entry.name)
            else:
                others.append(entry.name)
                if _is_true(entry.is_file):
                    regular.add(entry.name)
    folders.sort()
    others.sort()
    of_system = [name for name in folders if is_of_system(name)]
    of_system += [name for name in others if _is_file_of_system(name)]
    left = set(of_system)
    shown = [name for name in others if not _is_hidden(name)]
    return _Inside(
        [name for name in folders if not _is_hidden(name) and name not in left],
        links,
        [name for name in shown if name in regular and name not in left],
        [Path(folder, name) for name in shown if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES],
        [Path(folder, name) for name in of_system],
        _is_of_vidcli(others),
    )


def _is_true(question: Callable[[], bool]) -> bool:
    """Ask about an entry of a folder; what cannot be looked at is nothing."""
    try:
        return question()
    except OSError:
        return False


def look_through(folder: Path, goes_on: bool = False) -> FolderContents:
    """Find the videos below a folder, and what is passed over there; see `Tree.look_through`.

    Raises:
        OSError: a folder cannot be read and `goes_on` is False.
    """
    return Tree().look_through(folder, goes_on)


def list_videos(folder: Path) -> list[Path]:
    """Return the files with the suffix of a video below a folder, in path order; see `look_through`.

    Raises:
        OSError: a folder cannot be read.
    """
    return look_through(folder).videos


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the folders directly inside of a folder that may hold data, sorted by name."""
    return Tree().subfolders(folder)


def is_of_vidcli(folder: Path) -> bool:
    """Tell from the names of its files whether a folder was written by vidcli.

    Raises:
        OSError: it cannot be read.
    """
    return _is_of_vidcli(os.listdir(folder))


def is_of_system(name: str) -> bool:
    """Tell whether operating systems or network drives make folders of this name."""
    return name.casefold() in _SYSTEM_FOLDERS or name.casefold().startswith(".trash-")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_file_of_system(name: str) -> bool:
    return name.casefold() in _SYSTEM_FILES or name.startswith("._")


def _is_of_vidcli(names: Sequence[str]) -> bool:
    """Tell whether a folder with files of these names was written by vidcli."""
    there = set(names)
    hidden = (name for name in names if _is_hidden(name))
    return any(own <= there for own in _OWN_FILES) or any(map(_OWN_RECORD.fullmatch, hidden))
