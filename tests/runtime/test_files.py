"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidcli.errors import WriteError
from vidcli.runtime.files import is_leftover, remove_leftovers, temporary_file, write_text, write_whole


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("disk full")])
def test_a_failing_write_keeps_the_old_file(error: Exception, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(WriteError, match=r"cannot be written .*unchanged"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def interrupt(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupt)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_is_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("flush")
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        steps.append("rename")
        assert source.parent == target.parent
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_rename)
    write_text(tmp_path / "x.txt", "läuft")
    assert steps == ["flush", "rename"]
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "läuft"


def test_a_new_file_takes_nobodys_place(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("theirs")
    with pytest.raises(WriteError, match="exists"):
        write_text(path, "ours", replace=False)
    assert path.read_text() == "theirs"
    write_text(tmp_path / "y.txt", "ours", replace=False)
    assert (tmp_path / "y.txt").read_text() == "ours"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.txt", "y.txt"]


def test_a_name_of_255_bytes(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "long")
    assert path.read_text() == "long"


def test_temporary_files_have_the_rights_of_usual_ones_and_are_known(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    (tmp_path / ".mine.tmp").touch()
    with temporary_file(tmp_path, ".mp4") as path:
        assert path.suffix == ".mp4"
        assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
        assert is_leftover(path)
        (kept := tmp_path / path.name.replace(".vidcli-", ".vidcli-0")).touch()
        remove_leftovers(tmp_path)
        assert not path.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([".mine.tmp", kept.name, "usual"])
