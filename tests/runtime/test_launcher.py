"""What torchrun tells a process is read from its variables, in one module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vidcli
from vidcli.errors import ConfigError
from vidcli.runtime import launcher

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS"):
        monkeypatch.delenv(name, raising=False)


def test_a_process_that_was_started_by_itself_is_one_of_one() -> None:
    assert (launcher.num_processes(), launcher.num_local_processes(), launcher.local_rank()) == (1, 1, 0)
    assert launcher.num_restarts() == 0
    assert not launcher.may_restart()


def test_the_ranks_of_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, "5813", strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "4")
    assert launcher.all_ranks() == (5, 8, 1, 3)
    assert (launcher.num_processes(), launcher.num_local_processes(), launcher.local_rank()) == (8, 3, 1)
    assert launcher.num_restarts() == 2
    assert launcher.may_restart()


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_a_variable_that_is_missing_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(VARIABLES) - {missing}:
        monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigError, match=f"WORLD_SIZE=2 is set but '{missing}' is not"):
        launcher.all_ranks()


def test_no_other_module_reads_the_variables() -> None:
    folder = Path(vidcli.__file__).parent
    reads = re.compile(r"""["'](LOCAL_)?(RANK|WORLD_SIZE)["']|["']TORCHELASTIC_""")
    readers = {path.name for path in folder.rglob("*.py") if reads.search(path.read_text(encoding="utf-8"))}
    assert readers == {"launcher.py"}
