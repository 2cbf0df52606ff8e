"""The resume file of a run: the tensors and plain values that training needs to go on."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidcli.artifacts.run_folder import RESUME_FILE
from vidcli.errors import CheckpointError
from vidcli.runtime.files import write_whole
from vidcli.runtime.plain import one_line
from vidcli.runtime.tensors import load_plain_tensors


def save_resume(path: Path, state: Mapping[str, Any]) -> None:
    """Write a resume file.

    Args:
        path: of the file; an old one is replaced once the new one is whole.
        state: tensors, numbers, strings, and lists and dicts of them.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; the old file is kept.
    """

    def write(temporary: Path) -> None:
        # Given a path instead of an open file, torch does not tell why a write failed.
        with temporary.open("wb") as file:
            torch.save(dict(state), file)

    write_whole(path, write)


def load_resume(path: Path) -> dict[str, Any]:
    """Read a resume file; code pickled in it is refused, never run.

    Raises:
        CheckpointError: the file is missing or damaged, or another program wrote it.
    """
    try:
        state = load_plain_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; this run has saved no state to resume") from error
    except pickle.UnpicklingError as error:  # its text tells how to run the code all the same
        raise CheckpointError(
            f"{path}: is not a readable resume state; it holds more than tensors and plain values, which "
            f"is never loaded. Expected {RESUME_FILE} of a run directory"
        ) from error
    except Exception as error:  # torch.load raises what pickle and zipfile raise, which is anything
        told = one_line(getattr(error, "strerror", None) or error)
        raise CheckpointError(f"{path}: is not a readable resume state ({told})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: is not a resume state; expected {RESUME_FILE} of a run directory")
    return state
