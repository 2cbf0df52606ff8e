"""Only what vidcli made is deleted from a cache folder, also where a project of the user is named as one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.forks import Forked
from vidcli.config import Config
from vidcli.data.caches import CACHE_MARKER, find_cache, is_cache, open_cache, take_cache
from vidcli.data.check import check_videos
from vidcli.data.items import VideoItem
from vidcli.data.store import Store
from vidcli.errors import DataError, WriteError
from vidcli.synthetic import MotionVideoOptions, write_motion_videos

DIGEST = "0123456789" * 4
ONE_FILE = 600  # bytes in which one stored file fits, but not two


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the user's that is named as cache folder, with names as vidcli gives them."""
    folder = tmp_path / "project"
    for name in (
        f"features/{DIGEST}/{DIGEST}.npy",
        "features/mine/x.npy",
        f"frames/{DIGEST}/{DIGEST}.npy",
        f"frames/{DIGEST}/.vidcli-0123456789abcdef.tmp.npy",
        "bench/h264.mp4",
        "notes.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    monkeypatch.setenv("VIDCLI_CACHE", str(folder))
    return folder


@pytest.fixture
def item(tmp_path: Path, write_video: Callable[..., Path]) -> VideoItem:
    return VideoItem(write_video(tmp_path / "v.mp4"), "left")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def keep_features(item: VideoItem, about: str, max_bytes: float = ONE_FILE) -> Store:
    kept = Store("features", [about], max_bytes)
    kept.write(item, {"features": np.zeros((2, 3), np.float32)})
    return kept


def read_features(kept: Store, item: VideoItem) -> np.ndarray | None:
    return kept.read(item, lambda stored: stored.take("features"))


def test_a_project_that_is_named_as_cache_is_left_as_it_is(
    project: Path, item: VideoItem, small_config: Callable[..., Config]
) -> None:
    before = contents(project)
    first, second = keep_features(item, "a"), keep_features(item, "b")
    assert second.folder.parent == project / "vidcli-features"
    assert read_features(second, item) is not None
    assert not first.folder.exists()  # pruned: it is ours
    checked = check_videos([item], small_config(data__cache="disk"))
    assert checked.source.cache is not None
    checked.source.frames(item, lambda seconds: np.array([0.0]))
    assert len(list((project / "vidcli-frames").glob("*/*.npy"))) == 1
    assert open_cache("bench") == project / "vidcli-bench"
    after = contents(project)
    assert {name: after.get(name) for name in before} == before
    added = {Path(name).parts[0] for name in after.keys() - before.keys()}
    assert added == {"vidcli-features", "vidcli-frames", "vidcli-bench"}


@pytest.mark.parametrize("place", ["new", "empty", "marked"])
def test_a_folder_that_is_new_empty_or_marked_is_taken(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path))
    if place != "new":
        (tmp_path / "features").mkdir()
    if place == "marked":
        take_cache(tmp_path / "features")
        (tmp_path / "features" / "more").mkdir()
    assert find_cache("features") == open_cache("features") == tmp_path / "features"
    assert is_cache(tmp_path / "features")


@pytest.mark.parametrize("planted", ["folder", "marker"])
def test_links_are_not_followed(planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    monkeypatch.setenv("VIDCLI_CACHE", str(cache))
    other.mkdir()
    (cache / "features").parent.mkdir()
    if planted == "folder":
        take_cache(other)
        (cache / "features").symlink_to(other)
    else:
        (cache / "features").mkdir()
        (cache / "features" / CACHE_MARKER).symlink_to(other / "missing")
    assert find_cache("features") == cache / "vidcli-features"
    with pytest.raises(OSError, match="holds other things"):
        take_cache(cache / "features")


def test_where_both_names_are_taken_nothing_is_kept(project: Path, item: VideoItem) -> None:
    for name in ("features", "frames", "bench"):
        (project / f"vidcli-{name}").mkdir()
        (project / f"vidcli-{name}" / "mine").write_text("mine")
    before = contents(project)
    assert read_features(keep_features(item, "a"), item) is None
    told = Store("frames", [], 2**30).prepare()
    assert told is not None
    assert "holds other things than what vidcli keeps there" in told
    with pytest.raises(WriteError, match="VIDCLI_CACHE"):
        open_cache("bench")
    assert contents(project) == before


def test_foreign_things_within_our_folders_stay(
    tmp_path: Path, item: VideoItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{DIGEST}.npy").write_text("mine")
    mixed = keep_features(item, "a").folder
    root = mixed.parent
    (mixed / "notes.npy").write_text("mine")
    (mixed / f"{DIGEST[::-1]}.npy").symlink_to(other / f"{DIGEST}.npy")
    (root / "mine").mkdir()
    (root / "mine" / f"{DIGEST}.npy").write_text("mine")
    (root / DIGEST).symlink_to(other)
    keep_features(item, "b")
    assert sorted(path.name for path in mixed.iterdir()) == sorted(["notes.npy", f"{DIGEST[::-1]}.npy"])
    assert (root / "mine" / f"{DIGEST}.npy").read_text() == "mine"
    assert (other / f"{DIGEST}.npy").read_text() == "mine"


def test_a_planted_link_in_place_of_our_folder_is_not_followed(
    tmp_path: Path, item: VideoItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    other.mkdir()
    kept = Store("features", ["a"], 2**30)
    assert kept.prepare() is None
    kept.folder.symlink_to(other)
    kept.write(item, {"features": np.zeros((2, 3), np.float32)})
    assert list(other.iterdir()) == []
    (notice,) = kept.take_notices()
    assert notice.startswith("feature cache: ")
    assert "is a link, which is not followed" in notice
    assert notice.endswith("decoded anew in the next run")


# --- motion videos --------------------------------------------------------------------------------


def test_processes_that_want_the_same_motion_videos_share_them(tmp_path: Path) -> None:
    script = (
        "from vidcli.synthetic import *; "
        "write_motion_videos('m', 2, 0, 0, 0, MotionVideoOptions(size=(32, 32), num_frames=8))"
    )
    started = [Forked(["-c", script], cwd=tmp_path) for _ in range(3)]
    assert [child.wait(timeout=120) for child in started] == [0, 0, 0]
    write_motion_videos(tmp_path / "n", 2, 0, 0, 0, MotionVideoOptions(size=(32, 32), num_frames=8))
    assert contents(tmp_path / "m") == contents(tmp_path / "n")


def test_a_users_file_in_place_of_the_lock_stays(tmp_path: Path) -> None:
    (tmp_path / "motion.lock").write_text("mine")
    with pytest.raises(DataError, match=r"holds other things \(motion.lock\)"):
        write_motion_videos(tmp_path, 1, 0, 0)
    assert contents(tmp_path) == {"motion.lock": hashlib.sha256(b"mine").hexdigest()}


def test_planted_names_of_partial_videos_are_not_written_through(tmp_path: Path) -> None:
    look = MotionVideoOptions(size=(32, 32), num_frames=8)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "m" / "train" / "left"
    folder.mkdir(parents=True)
    (folder / ".partial-left_0001.mp4").symlink_to(victim)
    (tmp_path / "m" / "motion.unfinished.json").write_text("{}")
    write_motion_videos(tmp_path / "m", 1, 0, 0, 0, look)
    assert victim.read_text() == "mine"
