"""What can go wrong and the user can mend.

    VidcliError
    ├── ConfigError       a setting, recipe or option that cannot be
    ├── VideoError        a file that is no video, is damaged, or does not hold what was asked for
    ├── DataError         a folder, manifest or split that cannot be trained or evaluated on
    ├── CheckpointError   a model file or run directory that is missing, damaged or foreign
    ├── DeviceError       a device that is not there
    ├── TrainError        an optimisation that went astray
    ├── PeerError         another process of the same run that ended
    ├── OutputError       something in the place of an output that must not be replaced
    ├── WriteError        a file that cannot be written
    │   └── StreamError   standard output that cannot be written, or that nobody reads any more
    └── ExportError       a model that cannot be exported, or whose export is not as good

A message names the subject, what was found, what was expected and the next step. Misuse of a
function by its caller is a `ValueError`, not one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vidcli.names import visible


class VidcliError(Exception):
    """Anything the user can mend; the message says how."""

    exit_code = 1


class ConfigError(VidcliError):
    """A setting, recipe or command-line value that cannot be used."""

    exit_code = 2


class VideoError(VidcliError):
    """A file that cannot be decoded; `reason` is the message without the path."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{visible(str(path))}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class DataError(VidcliError):
    """A data set that cannot be used as it is."""


class CheckpointError(VidcliError):
    """A model file or run directory that cannot be loaded or written."""


class DeviceError(VidcliError):
    """A device that was asked for and cannot be used."""

    exit_code = 2


class TrainError(VidcliError):
    """Training that cannot go on, such as a loss that is no number."""


class PeerError(VidcliError):
    """Another process of the same run ended, so that this one cannot go on."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("another process of this run ended; what it said before tells why")
        self.exit_code = exit_code


class OutputError(VidcliError):
    """Something lies where an output would go, and must not be replaced."""

    exit_code = 2


class WriteError(VidcliError):
    """A file that cannot be written; what was there is unchanged."""


class StreamError(WriteError):
    """Standard output that takes no more results; files are written all the same."""

    def __init__(self, reason: str, exit_code: int = 1) -> None:
        super().__init__(f"standard output: cannot be written ({reason})")
        self.exit_code = exit_code


class ExportError(VidcliError):
    """A model that cannot be exported, or whose export differs from it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name nearest to `name`, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
