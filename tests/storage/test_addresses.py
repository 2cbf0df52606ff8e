"""Addresses are paths that show no secrets; all other text stays what it was."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from vidcli.errors import DataError, VideoError
from vidcli.storage import connections
from vidcli.storage.addresses import StoredPath, is_afar, path_of, split_member, text_of, without_secrets
from vidcli.storage.file_systems import list_afar
from vidcli.video import probe

pytest.importorskip("fsspec")


@pytest.mark.parametrize(
    ("text", "shown", "name"),
    [
        ("s3://bucket/day/a.mp4", "s3://bucket/day/a.mp4", "a.mp4"),
        ("gs://bucket/day/a b.mp4", "gs://bucket/day/a b.mp4", "a b.mp4"),
        ("az://videos@account.net/a.mp4", "az://videos@account.net/a.mp4", "a.mp4"),
        ("https://h.org/a.mp4?id=3", "https://h.org/a.mp4?id=3", "a.mp4"),
        ("https://h.org/a.mp4?id=3&X-Amz-Signature=0", "https://h.org/a.mp4?…", "a.mp4"),
        ("https://h.org/a.mp4?sv=1&sig=0%2F1", "https://h.org/a.mp4?…", "a.mp4"),
        ("https://me:pass@h.org/a.mp4", "https://me@h.org/a.mp4", "a.mp4"),
        ("sftp://me:pa:ss@h.org:22/home/me/a.mp4", "sftp://me@h.org:22/home/me/a.mp4", "a.mp4"),
    ],
)  # fmt: skip
def test_addresses_are_shown_without_secrets(text: str, shown: str, name: str) -> None:
    path = path_of(text)
    assert isinstance(path, StoredPath)
    assert (str(path), os.fspath(path), without_secrets(text)) == (shown, shown, shown)
    assert text_of(path) == text
    assert (path.name, path.suffix, path.stem) == (name, ".mp4", name[:-4])
    assert path.absolute() == path.resolve() == path == path_of(path) == pickle.loads(pickle.dumps(path))
    assert text_of(pickle.loads(pickle.dumps(path))) == text
    assert path.is_absolute()
    assert path.exists()  # nobody was asked


def test_secrets_tell_two_videos_apart() -> None:
    first, second = (path_of(f"https://h.org/get?key={number}") for number in (1, 2))
    assert str(first) == str(second)
    assert first != second
    assert len({first, second}) == 2


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4",
        "/data/a.mp4",
        "http://h.org/a.mp4",
        "concat:a|b.mp4",
        "file:///a.mp4",
        "s3:",
        "s3:///a",
        "S3://b/a",
    ],
)
def test_other_text_names_a_local_file(text: str) -> None:
    assert type(path_of(text)) is type(Path())
    assert path_of(text) == Path(text)


def test_text_becomes_no_address_below_the_door() -> None:
    with pytest.raises(VideoError, match="no such file"):
        probe("https://localhost:1/a.mp4")


@pytest.mark.parametrize("text", ["s3://b//a.mp4", "s3://b/../a.mp4", "https://h.org/a?to=https://x//y"])
def test_addresses_that_a_path_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="between two slashes"):
        path_of(text)


def test_paths_below_an_address_are_addresses() -> None:
    folder = path_of("https://me:pass@h.org/videos/data.csv?sig=1").parent
    assert text_of(folder / "a" / "b.mp4") == "https://me:pass@h.org/videos/a/b.mp4"
    assert text_of(path_of("a/b.mp4", folder)) == "https://me:pass@h.org/videos/a/b.mp4"
    assert text_of(path_of("s3://b/a.mp4", folder)) == "s3://b/a.mp4"
    assert path_of("a.mp4", Path("/data")) == Path("/data/a.mp4")


def test_members_of_tar_files(tmp_path: Path) -> None:
    member = path_of("shards/000.tar/k/a.mp4")
    assert isinstance(member, StoredPath)
    assert not is_afar(member)
    assert split_member(member) == (Path("shards/000.tar"), "k/a.mp4")
    assert split_member(path_of("s3://b/000.tar/a.mp4")) == (path_of("s3://b/000.tar"), "a.mp4")
    assert split_member(path_of("s3://b/000.tar")) == (path_of("s3://b/000.tar"), None)
    assert not member.exists()
    assert member.absolute() == Path.cwd() / "shards/000.tar/k/a.mp4"


@pytest.mark.parametrize(
    ("folder", "listed", "found"),
    [
        ("gs://b/day", ["b/day/a.mp4", "b/day/x/b.mp4"], ["gs://b/day/a.mp4", "gs://b/day/x/b.mp4"]),
        ("az://c@a.net/day", ["c/day/a.mp4"], ["az://c@a.net/day/a.mp4"]),
        ("hf://datasets/o/n", ["datasets/o/n/a.mp4"], ["hf://datasets/o/n/a.mp4"]),
        ("sftp://me@h:22/day", ["/day/a.mp4"], ["sftp://me@h:22/day/a.mp4"]),
    ],
)
def test_listed_names_become_addresses_again(
    folder: str, listed: list[str], found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listing:
        def find(self, place: str) -> list[str]:
            return listed

    def connect(path: StoredPath) -> tuple[Any, ...]:
        return (), Listing(), folder.partition("://")[2]

    monkeypatch.setattr(connections, "_connect", connect)
    path = path_of(folder)
    assert isinstance(path, StoredPath)
    assert [text_of(one) for one in list_afar(path)] == found


def test_an_account_of_azure_may_follow_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    path = path_of("az://c@me.blob.core.windows.net/day/a.mp4")
    assert isinstance(path, StoredPath)
    _, system, place = connections._connect(path)
    assert (system.account_name, place) == ("me", "c/day/a.mp4")
