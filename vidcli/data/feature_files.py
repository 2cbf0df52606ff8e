"""Features of a frozen backbone on disk: one array a video, or a clip of one.

    CACHE/features/KEY/NAME.npy    float32

KEY is a digest of all that every array depends on, such as the backbone's weights; NAME of the video
file, its span and what else makes this array another than the next. Nothing in a file says what it is
but its name, so that a change of any of these is a new file, and an old one is never read by mistake.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vidcli.data.caches import find_cache, own_files, own_folders, take_cache
from vidcli.data.items import VideoItem
from vidcli.errors import WriteError
from vidcli.runtime.files import is_leftover, open_regular, write_whole

_CACHE_VERSION = 1
_DIGITS = 24
_FOLDER_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")
_FILE_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}\.npy")

Features = npt.NDArray[np.float32]


class FeatureFiles:
    """The features that one backbone made under one set of settings."""

    def __init__(self, about: Sequence[object]) -> None:
        """Name the folder; nothing is written yet.

        Args:
            about: all that the features depend on beside the video, as JSON values.
        """
        self._root = find_cache("features")
        self.folder = self._root / _digest([_CACHE_VERSION, *about])

    def read(self, item: VideoItem, about: Sequence[object], shape: Sequence[int | None]) -> Features | None:
        """Return what was written of a video; None if nothing is there, or what is has another shape.

        Args:
            item: the video.
            about: what else these features depend on.
            shape: None stands for any length.
        """
        file = self._file_of(item, about)
        if file is None:
            return None
        try:
            with open_regular(file) as stream:
                features: Features = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError):
            return None  # not there, or cut short: it is computed, and written, again
        if features.dtype != np.float32 or features.ndim != len(shape):
            return None
        fits = all(wanted in (None, length) for wanted, length in zip(shape, features.shape, strict=True))
        return features if fits else None

    def write(self, item: VideoItem, about: Sequence[object], features: Features) -> None:
        """Keep features; a folder that cannot be written only costs the time to compute them again."""
        file = self._file_of(item, about)
        if file is None:
            return
        with suppress(OSError, WriteError):
            take_cache(self._root)
            self.folder.mkdir(exist_ok=True)
            if not self.folder.is_symlink():
                write_whole(file, lambda temporary: np.save(temporary, features, allow_pickle=False))

    def prune(self, max_bytes: float) -> None:
        """Delete the features of other backbones and settings, oldest first, beyond so many bytes."""
        try:
            folders = list(own_folders(self._root, _FOLDER_NAME.fullmatch))
            folders.sort(key=lambda path: (path == self.folder, path.stat().st_mtime), reverse=True)
            total = 0
            for folder in folders:
                files = list(own_files(folder, _is_own_file))
                total += sum(status.st_size for _, status in files)
                if total > max_bytes and folder != self.folder:
                    for path, _ in files:
                        path.unlink(missing_ok=True)
                    with suppress(OSError):  # holds something of somebody else's
                        folder.rmdir()
        except OSError:
            return  # another process prunes at the same time, or there is no cache at all

    def _file_of(self, item: VideoItem, about: Sequence[object]) -> Path | None:
        """Return where features of a video are kept; None for a file that is not there."""
        try:
            status = item.path.stat()
        except OSError:
            return None  # decoding tells why
        of_video = [str(item.path.absolute()), status.st_size, status.st_mtime_ns]
        return self.folder / f"{_digest([*of_video, item.start_seconds, item.end_seconds, *about])}.npy"


def digest_of_weights(module: nn.Module) -> str:
    """Return a digest of the names, types, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_own_file(name: str) -> bool:
    return _FILE_NAME.fullmatch(name) is not None or is_leftover(Path(name))


def _digest(about: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:_DIGITS]
