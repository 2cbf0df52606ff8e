"""A lock has one holder."""

from __future__ import annotations

from pathlib import Path

from vidcli.runtime.locks import FileLock


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
