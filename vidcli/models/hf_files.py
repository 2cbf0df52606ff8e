"""Files of an encoder of transformers: in a local folder, in the Hugging Face hub's cache, or on the hub.

Nothing is fetched unless the caller asks for it, and no code of a repository is ever fetched or run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from vidcli.errors import CheckpointError, ConfigError
from vidcli.runtime.files import read_regular
from vidcli.runtime.plain import one_line, parse_json, shown
from vidcli.runtime.tensors import load_plain_tensors

CONFIG_FILE = "config.json"
PREPROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
WEIGHTS_FILE, INDEX_FILE, PICKLE_FILE = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)

_MAX_JSON_BYTES = 4 * 2**20
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class EncoderFiles:
    """The files of one encoder.

    Attributes:
        name: as `model.backbone` gives it after `hf:`.
    """

    def __init__(self, name: str, may_fetch: bool) -> None:
        """Find out where the files are.

        Args:
            name: a local folder, or ORG/NAME of the Hugging Face hub.
            may_fetch: whether what is not on this machine may be downloaded.

        Raises:
            ConfigError: it is neither.
        """
        self.name, self._may_fetch = name, may_fetch
        folder = Path(name).expanduser()
        self._folder = folder if os.path.isdir(folder) else None
        if self._folder is None and not _HUB_NAME.fullmatch(name):
            raise ConfigError(
                f"model.backbone=hf:{one_line(name)}: no such folder, and no name of the Hugging Face hub. "
                f"Give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or ORG/NAME such as "
                "hf:facebook/dinov2-small."
            )

    def read_json(self, *names: str) -> tuple[Path, dict[str, Any]] | None:
        """Return the first of some JSON files that is there, and its object; None where there is none.

        Raises:
            ConfigError: it is damaged, or may not or cannot be fetched.
        """
        path = self._first(names)
        if path is None:
            return None
        try:
            values = parse_json(read_regular(path, _MAX_JSON_BYTES).decode("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: cannot be read as JSON ({one_line(error)}). Fetch it again."
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: holds {shown(values)}, expected settings by name. Fetch it again.")
        return path, values

    def load_weights(self) -> tuple[dict[str, Tensor], str]:
        """Return all tensors by name, and where they lie; of a pickle only plain tensors are read.

        Raises:
            ConfigError: there are no weights, or no way to them.
            CheckpointError: a file is damaged.
        """
        path = self._first((WEIGHTS_FILE, INDEX_FILE, PICKLE_FILE))
        if path is None:
            raise ConfigError(
                f"model.pretrained: {self._where()} holds none of {WEIGHTS_FILE}, {INDEX_FILE} and "
                f"{PICKLE_FILE}. Place one there, or set model.pretrained=false."
            )
        paths = self._shards(path) if path.name == INDEX_FILE else [path]
        weights: dict[str, Tensor] = {}
        for part in paths:
            weights |= _load_tensors(part)
        return weights, str(path)

    def _shards(self, index: Path) -> list[Path]:
        """Return the files that an index names, all of them beside it."""
        found = self.read_json(INDEX_FILE)
        names = found[1].get("weight_map") if found else None
        if not isinstance(names, Mapping) or not all(
            isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*\.safetensors", name)
            for name in names.values()
        ):
            raise CheckpointError(f"{index}: names no .safetensors files beside it. Fetch it again.")
        paths = []
        for name in sorted(set(names.values())):
            path = self._first((name,))
            if path is None:
                raise CheckpointError(f"{index}: names {name}, which {self._where()} lacks. Fetch it again.")
            paths.append(path)
        return paths

    def _where(self) -> str:
        return str(self._folder) if self._folder is not None else f"https://huggingface.co/{self.name}"

    def _first(self, names: tuple[str, ...]) -> Path | None:
        """Return the first of some files that there is; None where there is none.

        What is on this machine comes first, so that a run starts without the hub.
        """
        if self._folder is not None:
            paths = (self._folder / name for name in names)
            return next((path for path in paths if os.path.isfile(path)), None)
        import huggingface_hub

        # Of a file that the hub is known not to have, the cache returns an object.
        cached = {name: huggingface_hub.try_to_load_from_cache(self.name, name) for name in names}
        if found := next((path for path in cached.values() if isinstance(path, str)), None):
            return Path(found)
        fetched = (self._fetch(name) for name in names if self._may_fetch and cached[name] is None)
        return next((path for path in fetched if path is not None), None)

    def _fetch(self, name: str) -> Path | None:
        """Return a file of the hub's cache, fetched if it is not there; None where the hub has none.

        Raises:
            ConfigError: it cannot be fetched; says which files to place where.
        """
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(huggingface_hub.hf_hub_download(self.name, name))
        except Exception as error:  # of the network, the hub and its cache
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            raise ConfigError(
                f"model.pretrained: cannot fetch {name} of hf:{self.name} ({one_line(error)}). Download "
                f"{CONFIG_FILE}, {PREPROCESSOR_FILES[1]} and {WEIGHTS_FILE} from "
                f"https://huggingface.co/{self.name}/tree/main elsewhere, place them in one folder here, and "
                "set model.backbone=hf:FOLDER. Some networks want that you agree to their licence and log in "
                "(`hf auth login`) first."
            ) from error


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded = load_plain_tensors(path)
    except Exception as error:  # garbage makes the readers raise all kinds
        raise CheckpointError(
            f"{path}: cannot be read as weights ({one_line(error)}). It is damaged, or holds more than "
            "tensors; fetch it again."
        ) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path}: expected tensors by name (a state dict), found something else.")
    return {str(name): value for name, value in loaded.items()}
