"""The videos that annotation files name: found by their stem, whatever their folder and suffix became.

A file may name `C:\\lab\\day 1\\cage3.avi`, `file:///home/a/cage3.mts` or `/data/upload/2/1f0a77c2-cage3.mp4`
where there is `videos/day1/cage3.mp4` today. Of several with one stem, the one with most of the same folders
is taken, then the one with the same suffix.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

from vidcli.data.folders import look_through
from vidcli.errors import DataError
from vidcli.names import normal_name
from vidcli.video import VIDEO_SUFFIXES

_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")
_LINK = re.compile(r"[a-zA-Z][a-zA-Z+.-]+://|.*[?&]d=")


class MediaFolder:
    """The videos below a folder, by the names that annotation files may give them.

    Attributes:
        videos: all of them.
    """

    def __init__(self, place: Path) -> None:
        """Look for videos.

        Args:
            place: a folder, or a single video.

        Raises:
            DataError: it is not there, or holds no video.
        """
        if place.is_file():
            videos = [place]
        elif place.is_dir():
            try:
                videos = look_through(place).videos
            except OSError as error:
                raise DataError(f"{error.filename or place}: cannot be read ({error.strerror})") from error
        else:
            raise DataError(f"{place}: no such folder; name the one that holds the videos")
        if not videos:
            raise DataError(f"{place}: holds no videos; name the folder that does")
        self.videos = videos
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in videos:
            self._by_stem[_key(path.stem)].append(path)

    def find(self, name: str) -> list[Path]:
        """Return the videos that a name can mean: one, none, or several that it does not tell apart."""
        parts = parts_of(name)
        if not parts:
            return []
        last = parts[-1]
        stem, suffix = os.path.splitext(last)
        upload = _UPLOAD.fullmatch(stem)
        # A stem may hold a dot itself, where a name has no suffix.
        keys = [last] if suffix.lower() not in VIDEO_SUFFIXES else []
        keys += [stem, *([upload[1]] if upload else [])]
        found = next((self._by_stem[_key(key)] for key in keys if _key(key) in self._by_stem), [])
        if len(found) > 1:
            shared = {path: _num_shared(path, parts) for path in found}
            found = [path for path in found if shared[path] == max(shared.values())]
        if len(found) > 1:
            found = [path for path in found if path.suffix.lower() == suffix.lower()] or found
        return found


def parts_of(name: str) -> list[str]:
    """Return the folders and the file of a path or an address, of any system."""
    if link := _LINK.match(name):
        name = unquote(name[link.end() :] if "d=" in link[0] else name[link.end() :].partition("?")[0])
    return [part for part in re.split(r"[/\\]", name.strip()) if part not in ("", ".")]


def _key(stem: str) -> str:
    return normal_name(stem).casefold()


def _num_shared(path: Path, parts: list[str]) -> int:
    """Return how many of the folders above a file agree, from the file upwards."""
    pairs = zip(path.absolute().parts[-2::-1], parts[-2::-1], strict=False)
    agree = [_key(there) == _key(named) for there, named in pairs]
    return agree.index(False) if False in agree else len(agree)
