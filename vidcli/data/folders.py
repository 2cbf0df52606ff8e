"""Video files in folders, without the files of operating systems and of vidcli itself.

Operating systems and network drives leave folders and files among the user's videos. vidcli writes run
directories, evaluations, explanations and exports, which may hold videos too. None of these are data.
Hidden files and folders, whose names start with a dot, never count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
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


def look_through(folder: Path, goes_on: bool = False) -> FolderContents:
    """Find the videos below a folder, and what is passed over there.

    Args:
        folder: top folder; its own name and files do not lead to it being passed over.
        goes_on: list folders that cannot be read in the result instead of raising an error.

    Raises:
        OSError: a folder cannot be read and `goes_on` is False.
    """
    found = FolderContents()

    def note(error: OSError) -> None:
        if not goes_on:
            raise error
        found.unreadable.append(Path(error.filename or folder))

    for root, folders, names in os.walk(folder, onerror=note):
        if Path(root) != folder and _is_of_vidcli(names):
            found.of_vidcli.append(Path(root))
            folders.clear()
            continue
        found.of_system.extend(Path(root, name) for name in sorted(folders) if is_of_system(name))
        found.of_system.extend(Path(root, name) for name in sorted(names) if _is_file_of_system(name))
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and not is_of_system(name))
        found.videos.extend(
            Path(root, name)
            for name in sorted(names)
            if not _is_hidden(name) and Path(name).suffix.lower() in VIDEO_SUFFIXES
        )
    return found


def list_videos(folder: Path) -> list[Path]:
    """Return the files with the suffix of a video below a folder, in path order; see `look_through`.

    Raises:
        OSError: a folder cannot be read.
    """
    return look_through(folder).videos


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the folders directly inside of a folder that may hold data, sorted by name."""
    for path in sorted(folder.iterdir()):
        is_strange = _is_hidden(path.name) or is_of_system(path.name)
        if not is_strange and path.is_dir() and not is_of_vidcli(path):
            yield path


def is_of_vidcli(folder: Path) -> bool:
    """Tell from the names of its files whether a folder was written by vidcli.

    Raises:
        OSError: it cannot be read.
    """
    return _is_of_vidcli(os.listdir(folder))


def is_of_system(name: str) -> bool:
    """Tell whether operating systems or network drives make folders of this name."""
    return name.casefold() in _SYSTEM_FOLDERS or name.casefold().startswith(".trash-")


def find_others(folder: Path, used: Collection[Path]) -> Sequence[Path]:
    """Return the unused files of a folder, without hidden files and those of operating systems."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path not in used
        and not _is_hidden(path.name)
        and not _is_file_of_system(path.name)
    ]


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_file_of_system(name: str) -> bool:
    return name.casefold() in _SYSTEM_FILES or name.startswith("._")


def _is_of_vidcli(names: Sequence[str]) -> bool:
    """Tell whether a folder with files of these names was written by vidcli."""
    there = set(names)
    return any(own <= there for own in _OWN_FILES) or any(_OWN_RECORD.fullmatch(name) for name in names)
