"""The resume file: what was saved comes back, and nothing else is loaded."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vidcli.artifacts.resume_file import load_resume, save_resume
from vidcli.errors import CheckpointError


def test_resume_state_round_trip(tmp_path: Path) -> None:
    state = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(2.5)}}}, "rows": [{"loss": 0.5}]}
    save_resume(tmp_path / "resume.pt", state)
    assert load_resume(tmp_path / "resume.pt") == state


class _Intruder:
    """Makes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))]
)
def test_pickled_code_is_refused_and_not_run(save: Callable[[Any, Path], object], tmp_path: Path) -> None:
    path, trace = tmp_path / "resume.pt", tmp_path / "trace"
    save({"epoch": _Intruder(trace)}, path)
    with pytest.raises(CheckpointError, match="is not a readable resume state") as caught:
        load_resume(path)
    assert not trace.exists()
    assert "weights_only" not in str(caught.value)  # no advice on how to run it after all


@pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04 broken"])
def test_damaged_resume_states_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a readable resume state"):
        load_resume(path)


def test_other_resume_states_are_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="is not a resume state"):
        load_resume(tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="no such file; this run has saved no state"):
        load_resume(tmp_path / "gone.pt")


def test_resume_states_that_swell_are_refused(tmp_path: Path) -> None:
    save_resume(tmp_path / "plain.pt", {"a": torch.zeros(10**6)})
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "resume.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(CheckpointError, match="compressed parts, which torch does not write"):
        load_resume(tmp_path / "resume.pt")


def test_a_pipe_is_no_resume_state(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="is a pipe, where a regular file was expected"):
        load_resume(tmp_path / "resume.pt")
