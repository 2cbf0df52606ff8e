"""A model as bytes, for machines that see no file of this one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vidcli.artifacts.exported import read_export
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import EXPORT_FILE, MODEL_FILE
from vidcli.errors import CheckpointError
from vidcli.runtime.files import read_regular

_MAX_BYTES = 2**36


def read_model(model: Path) -> dict[str, bytes]:
    """Return the files of a model by name: one file, or those of an exported model.

    Args:
        model: as `find_model` returns it; a published model becomes a file.

    Raises:
        CheckpointError: it cannot be read.
    """
    if not model.is_dir() and not model.exists():
        with tempfile.TemporaryDirectory(prefix="vidcli-") as folder:
            save_checkpoint(Path(folder, MODEL_FILE), load_checkpoint(model))
            return {MODEL_FILE: Path(folder, MODEL_FILE).read_bytes()}
    names = [*read_export(model)["export"]["files"], EXPORT_FILE] if model.is_dir() else [""]
    try:
        return {name or MODEL_FILE: read_regular(model / name, _MAX_BYTES) for name in names}
    except OSError as error:
        raise CheckpointError(f"{model}: cannot be read ({error.strerror})") from error


@contextmanager
def unpacked(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Let the files of `read_model` lie on the disk while the body loads the model from the given path."""
    with tempfile.TemporaryDirectory(prefix="vidcli-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        yield Path(folder) if EXPORT_FILE in files else Path(folder, MODEL_FILE)
