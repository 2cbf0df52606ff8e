"""Errors that the user can fix.

    VidcliError
    ├── ConfigError       a setting, recipe or option that cannot be used
    ├── VideoError        a file that is no video, is damaged, or lacks the wanted frames
    ├── DataError         a folder, manifest or split that cannot be trained or evaluated on
    ├── CheckpointError   a model file or run directory that is missing, damaged or foreign
    ├── DeviceError       a device that is not there
    ├── TrainError        a training that cannot go on
    ├── PeerError         the end of another process of the same run
    ├── OutputError       a file in the place of an output that must not be replaced
    ├── WriteError        a file that cannot be written
    │   └── StreamError   standard output that cannot be written, or that nobody reads any more
    └── ExportError       a model that cannot be exported, or an export that differs from its model

A message names the subject, what was found, what was expected and the next step. If a caller misuses a
function, the error is a `ValueError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vidcli.names import visible


class VidcliError(Exception):
    """An error that the user can fix; the message says how."""

    exit_code = 1


class ConfigError(VidcliError):
    """A setting, recipe or command-line value that cannot be used."""

    exit_code = 2


class VideoError(VidcliError):
    """A file that cannot be decoded.

    Attributes:
        path: the file.
        reason: the message without the path.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{visible(str(path))}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class DataError(VidcliError):
    """A folder, manifest or split on which a model cannot be trained or evaluated."""


class CheckpointError(VidcliError):
    """A model file or run directory that cannot be loaded or written."""


class DeviceError(VidcliError):
    """A device that cannot be used."""

    exit_code = 2


class TrainError(VidcliError):
    """A training that cannot go on, for example because the loss is no number."""


class PeerError(VidcliError):
    """The end of another process of the same run, without which this one cannot go on."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("another process of this run ended; what it said before tells why")
        self.exit_code = exit_code


class OutputError(VidcliError):
    """A file or folder in the place of an output, which must not be replaced."""

    exit_code = 2


class WriteError(VidcliError):
    """A file that cannot be written; an earlier file in its place is unchanged."""


class StreamError(WriteError):
    """Standard output that takes no more results; outputs to files go on."""

    def __init__(self, reason: str, exit_code: int = 1) -> None:
        super().__init__(f"standard output: cannot be written ({reason})")
        self.exit_code = exit_code


class ExportError(VidcliError):
    """A model that cannot be exported, or an export that differs from its model."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name nearest to `name`, or nothing if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
