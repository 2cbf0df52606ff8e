"""Kept frames equal decoded ones, and the store survives kills, damage, full disks and other processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.forks import Forked
from vidcli.arrays import Frames
from vidcli.config import Config
from vidcli.data import check, frames, store
from vidcli.data.check import check_videos
from vidcli.data.frames import DiskCache, FrameCache, FrameSource, MemoryCache, decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.store import Store, StoredArrays
from vidcli.errors import ConfigError
from vidcli.sampling import ClipSampler, Seconds
from vidcli.transforms import ClipTransform
from vidcli.video import DecodedFrames

Configure = Callable[..., Config]
WriteVideo = Callable[..., Path]
BIG = 2**30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of stored frames, in a cache folder of the test's own."""
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "frames"


@pytest.fixture
def item(tmp_path: Path, write_video: WriteVideo) -> VideoItem:
    return VideoItem(write_video(tmp_path / "x.mp4", num_frames=24), "left")


@pytest.fixture
def videos(tmp_path: Path, write_video: WriteVideo) -> list[VideoItem]:
    return [VideoItem(write_video(tmp_path / f"v{n}.mp4", seed=n), "left") for n in range(6)]


def frame_store(config: Config, max_bytes: float = BIG) -> Store:
    return Store("frames", decoding_settings(config), max_bytes)


def disk_source(config: Config, max_bytes: float = BIG) -> FrameSource:
    kept = frame_store(config, max_bytes)
    assert kept.prepare() is None
    return FrameSource(config, DiskCache(kept))


def some(duration_seconds: float) -> Seconds:
    return np.array([0.1, 0.45, 0.8]) * duration_seconds


def stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/[0-9a-f]*.npy"))


def unfinished(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/.vidcli-*.tmp.npy"))


def num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*"))


def refuse_to_decode(*args: object, **kwargs: object) -> DecodedFrames:
    raise AssertionError("decoded again")


# --- the same frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("span", [(0.0, None), (0.25, None), (0.3, 0.81), (0.0, 0.5), (0.9, 99.0)])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_kept_frames_equal_decoded_ones(
    kind: str,
    suffix: str,
    span: tuple[float, float | None],
    folder: Path,
    tmp_path: Path,
    write_video: WriteVideo,
    small_config: Configure,
) -> None:
    # 24 frames a second: Matroska rounds their times to a millisecond.
    item = VideoItem(write_video(tmp_path / f"x.{suffix}", num_frames=36, fps=24), "left", None, None, *span)
    config = small_config(clip__size=16)
    keeping = disk_source(config) if kind == "disk" else FrameSource(config, MemoryCache())
    plain = FrameSource(config)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(6):
        shares = rng.random(8)

        def plan(duration_seconds: float, shares: Seconds = shares) -> Seconds:
            wanted = np.sort(shares) * duration_seconds * 1.2  # past the end as well
            return np.concatenate([[0.0, duration_seconds], wanted])

        cached = keeping.frames(item, plan)
        np.testing.assert_array_equal(cached, plain.frames(item, plan))
        seen |= {frame.tobytes() for frame in cached}
    assert len(seen) > 5  # the frames differ, so that a wrong one would show
    assert len(stored(folder)) == (kind == "disk")


def test_a_second_run_decodes_nothing(
    videos: list[VideoItem], folder: Path, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(data__cache="disk")
    first = check_videos(videos, config)
    drawn = [first.source.frames(item, some) for item in videos]
    monkeypatch.setattr(frames, "decode_frames", refuse_to_decode)
    monkeypatch.setattr(check, "probe", refuse_to_decode)
    second = check_videos(videos, config)
    assert second.usable == videos
    for item, before in zip(videos, drawn, strict=True):
        np.testing.assert_array_equal(second.source.frames(item, some), before)


@pytest.mark.parametrize("change", ["content", "time", "place"])
def test_a_changed_file_is_decoded_anew(
    change: str, item: VideoItem, folder: Path, small_config: Configure, write_video: WriteVideo
) -> None:
    config = small_config()
    before = disk_source(config).frames(item, some)
    if change == "content":
        write_video(item.path, num_frames=24, seed=5)
    elif change == "time":
        os.utime(item.path, ns=(0, item.path.stat().st_mtime_ns + 1))
    else:
        item = VideoItem(item.path.rename(item.path.with_name("y.mp4")), "left")
    after = disk_source(config).frames(item, some)
    assert np.array_equal(before, after) == (change != "content")
    np.testing.assert_array_equal(after, FrameSource(config).frames(item, some))
    assert len(stored(folder)) == 2


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"clip.size": 24}, False),
        ({"clip.fit": "stretch"}, False),
        ({"clip.crop_ratio": 0.8}, False),
        ({"data.decode": "fast"}, False),
        ({"data.max_frames": 100}, False),
        ({"clip.length": 7, "augment.crop_scale": 0.5, "train.seed": 3, "data.workers": 1}, True),
    ],
)
def test_files_belong_to_the_settings_that_frames_depend_on(
    changes: dict[str, object], is_same: bool, item: VideoItem, folder: Path, small_config: Configure
) -> None:
    for config in (small_config(), small_config(changes)):
        kept = disk_source(config).frames(item, some)
        np.testing.assert_array_equal(kept, FrameSource(config).frames(item, some))
    assert len(stored(folder)) == (1 if is_same else 2)


@pytest.mark.parametrize("is_kept", [False, True])
def test_moments_come_with_their_neighbours(
    is_kept: bool, folder: Path, videos: list[VideoItem], small_config: Configure
) -> None:
    config = small_config()
    source = disk_source(config) if is_kept else FrameSource(config)
    sampler = ClipSampler(5, neighbours=True)
    for item in videos[:2]:
        frames = source.frames(item, sampler)
        assert frames.shape[:2] == (5, 3)
        flat = FrameSource(config).frames(item, lambda seconds: sampler(seconds).ravel())
        np.testing.assert_array_equal(frames.reshape(flat.shape), flat)


def test_all_that_the_size_depends_on_is_in_the_name(small_config: Configure) -> None:
    def sizes(config: Config) -> list[tuple[int, int]]:
        rule = ClipTransform(config.clip).decode_size
        return [rule(height, width) for height, width in ((100, 90), (720, 1280), (1080, 608))]

    plain = small_config()
    others = {"length": 3, "size": "32x48", "fit": "stretch", "crop_ratio": 0.7, "sampling": "dense"}
    others |= {"stride_seconds": 0.3, "views": 3, "crops": 3, "focus": 0.5, "resize": "80x90"}
    others |= {"mean": [0.1, 0.2, 0.3], "std": [0.1, 0.2, 0.3], "panels": "whole,follow"}
    assert others.keys() >= type(plain.clip).model_fields.keys()
    for name, value in others.items():
        changed = small_config({f"clip.{name}": value})
        assert changed.clip != plain.clip
        if sizes(changed) != sizes(plain):
            assert decoding_settings(changed) != decoding_settings(plain), name


def test_spans_of_one_file_are_kept_apart(item: VideoItem, folder: Path, small_config: Configure) -> None:
    config = small_config()
    source = disk_source(config)
    for span in ((0.0, 1.0), (1.0, 2.0), (1.0, None)):
        part = VideoItem(item.path, "left", None, None, *span)
        np.testing.assert_array_equal(source.frames(part, some), FrameSource(config).frames(part, some))
    assert len(stored(folder)) == 3


# --- bounds ---------------------------------------------------------------------------------------


def test_the_least_recently_used_leave_first(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    config = small_config()
    source = disk_source(config)
    source.frames(videos[0], some)
    size = stored(folder)[0].stat().st_size
    for item in videos[1:4]:
        source.frames(item, some)
    ages = {}
    for number, item in enumerate(videos[:4]):
        path = frame_store(config)._path_of(item, ())
        assert path is not None
        os.utime(path, ns=(0, number))
        ages[number] = path
    later = disk_source(config, int(4.5 * size))
    later.frames(videos[0], some)  # used again: now the youngest
    later.frames(videos[4], some)
    assert ages[0].exists()
    assert not ages[1].exists()
    assert ages[3].exists()
    assert num_bytes(folder) <= 4.5 * size


def test_a_run_keeps_its_own_and_says_when_no_more_fit(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    config = small_config()
    disk_source(config).frames(videos[0], some)
    size = stored(folder)[0].stat().st_size
    stored(folder)[0].unlink()
    source = disk_source(config, int(3.5 * size))
    for _ in range(2):
        for item in videos:
            kept = source.frames(item, some)
            np.testing.assert_array_equal(kept, FrameSource(config).frames(item, some))
    assert len(stored(folder)) == 3
    assert unfinished(folder) == []
    (notice,) = source.take_notices()
    assert "more than data.cache_gib" in notice
    assert "decoded anew in every epoch" in notice
    assert source.take_notices() == []
    assert disk_source(config, int(1.5 * size)).take_notices() == []
    assert len(stored(folder)) == 1  # a smaller bound holds at once


def test_files_that_another_process_wrote_count(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    config = small_config()
    disk_source(config).frames(videos[0], some)
    size = num_bytes(folder)
    late = disk_source(config, 3.5 * size)
    early = disk_source(config, 3.5 * size)
    for item in videos[1:3]:
        early.frames(item, some)
    for item in videos[3:]:
        late.frames(item, some)
    frame_store(config, 3.5 * size).prune()
    assert 2 * size <= num_bytes(folder) <= 3.5 * size


# --- several processes, and none that ends well ---------------------------------------------------

_WORKER = """
import json, sys, time
from pathlib import Path
import numpy as np
from vidcli.config import load_config
from vidcli.data import frames, store
from vidcli.data.frames import DiskCache, FrameSource, decoding_settings
from vidcli.data.items import VideoItem

mode, *names = sys.argv[1:]
config = load_config(None, ["clip.size=32"])
plain_decode = frames.decode_frames

def slow(path, *args, **kwargs):
    time.sleep(0.05)
    return plain_decode(path, *args, **kwargs)

def hanging(path, arrays):
    path.write_bytes(b"half of it")
    print("writing", flush=True)
    time.sleep(60)

frames.decode_frames = slow
if mode == "hang":
    store.write_arrays = hanging
kept = store.Store("frames", decoding_settings(config), 2**30)
assert kept.prepare() is None
source = FrameSource(config, DiskCache(kept))
plan = lambda seconds: np.array([0.1, 0.45, 0.8]) * seconds
print("ready", flush=True)
sys.stdin.readline()
sums = [int(source.frames(VideoItem(Path(name), "left"), plan).sum()) for name in names]
print(json.dumps({"sums": sums, "notices": source.take_notices()}), flush=True)
"""


def start_worker(videos: list[VideoItem], mode: str = "plain") -> Forked:
    names = [item.path for item in videos]
    return Forked(["-c", _WORKER, mode, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def begin(worker: Forked) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()


def test_two_processes_may_write_the_same_files(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    workers = [start_worker(order) for order in (videos, videos[::-1], videos)]
    for worker in workers:
        begin(worker)
    results = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    plain = FrameSource(small_config())
    sums = [int(plain.frames(item, some).sum()) for item in videos]
    assert [result["sums"] for result in results] == [sums, sums[::-1], sums]
    assert [result["notices"] for result in results] == [[], [], []]
    assert len(stored(folder)) == len(videos)
    assert unfinished(folder) == []


def test_a_kill_while_writing_leaves_nothing_that_is_read(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    worker = start_worker(videos[:1], "hang")
    begin(worker)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "writing\n"
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=60)
    (left,) = unfinished(folder)
    assert stored(folder) == []
    config = small_config()
    kept = disk_source(config).frames(videos[0], some)
    np.testing.assert_array_equal(kept, FrameSource(config).frames(videos[0], some))
    assert len(stored(folder)) == 1
    assert unfinished(folder) == [left]  # another process may be writing it
    os.utime(left, (0, time.time() - 2 * 3600))
    disk_source(config)
    assert unfinished(folder) == []
    assert len(stored(folder)) == 1


def test_kills_at_any_moment_leave_only_whole_files(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    rng = np.random.default_rng(0)
    workers = [start_worker(order) for order in (videos, videos[::-1])]
    for worker in workers:
        begin(worker)
        time.sleep(float(rng.uniform(0.05, 0.15)))
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=60)
    assert all(StoredArrays(path).take("frames").any() for path in stored(folder))
    config = small_config()
    source, plain = disk_source(config), FrameSource(config)
    for item in videos:
        np.testing.assert_array_equal(source.frames(item, some), plain.frames(item, some))
    assert source.take_notices() == []
    assert len(stored(folder)) == len(videos)


# --- damage ---------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut_to_ten_bytes(path: Path) -> None:
    os.truncate(path, 10)


def other_magic(path: Path) -> None:
    path.write_bytes(b"x" + path.read_bytes()[1:])


def other_shape(path: Path) -> None:
    replace(path, b"(24, 32, 48, 3)", b"(24, 48, 32, 3)")


def other_byte_order(path: Path) -> None:
    replace(path, b"('pts_seconds', '<f8'", b"('pts_seconds', '>f8'")


def other_name(path: Path) -> None:
    replace(path, b"'pts_seconds'", b"'pts_secondz'")


def wrong_time(path: Path) -> None:
    change_byte(path, np.load(path, mmap_mode="r").offset + 8)


def wrong_pixel(path: Path) -> None:
    change_byte(path, path.stat().st_size - 24 * 4 - 1)  # of the last frame: checksums follow


def wrong_checksum(path: Path) -> None:
    change_byte(path, path.stat().st_size - 1)


def change_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


DAMAGES = (
    cut_short, longer, empty, cut_to_ten_bytes, other_magic, other_shape, other_byte_order, other_name,
    wrong_time, wrong_pixel, wrong_checksum,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_noticed_and_made_anew(
    damage: Callable[[Path], None], item: VideoItem, folder: Path, small_config: Configure
) -> None:
    config = small_config()

    def draw(source: FrameSource) -> tuple[Frames, float]:
        # A random plan: what is drawn afterwards must not depend on how often it was asked.
        rng = np.random.default_rng(3)
        drawn = source.frames(item, lambda seconds: np.append(np.sort(rng.random(4)), 1.0) * seconds)
        return drawn, float(rng.random())

    expected = draw(disk_source(config))
    (path,) = stored(folder)
    whole = path.read_bytes()
    damage(path)
    source = disk_source(config)
    drawn, after = draw(source)
    np.testing.assert_array_equal(drawn, expected[0])
    assert after == expected[1]
    (notice,) = source.take_notices()
    assert notice.startswith(f"frame cache: {path} is damaged (")
    assert path.read_bytes() == whole


def test_a_damaged_file_that_cannot_be_removed(
    item: VideoItem, folder: Path, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config()
    disk_source(config).frames(item, some)
    cut_short(stored(folder)[0])
    source = disk_source(config)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    drawn = source.frames(item, some)
    np.testing.assert_array_equal(drawn, FrameSource(config).frames(item, some))
    assert "Permission denied" in source.take_notices()[-1]


# --- nowhere to write -----------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made(videos: list[VideoItem], folder: Path, small_config: Configure) -> None:
    folder.parent.parent.joinpath("cache").write_text("a file where the folder should be")
    checked = check_videos(videos, small_config(data__cache="disk"))
    assert checked.source.cache is None
    assert checked.usable == videos
    (notice,) = checked.notices
    assert notice.startswith("frames are decoded anew in every epoch: they cannot be kept on disk (")
    assert str(folder) in notice
    assert "VIDCLI_CACHE" in notice


@pytest.mark.parametrize("where", ["write_arrays", "take_cache"])
def test_a_disk_that_fills_up(
    where: str,
    videos: list[VideoItem],
    folder: Path,
    small_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config()
    source = disk_source(config)
    source.frames(videos[0], some)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, where, full)
    if where == "take_cache":
        source = FrameSource(config, DiskCache(frame_store(config)))
    for item in videos:
        np.testing.assert_array_equal(source.frames(item, some), FrameSource(config).frames(item, some))
    (notice,) = source.take_notices()
    assert "the disk is full" in notice
    assert unfinished(folder) == []
    assert len(stored(folder)) == 1


def test_a_video_that_fails_leaves_no_unfinished_file(
    folder: Path, tmp_path: Path, small_config: Configure
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    checked = check_videos(
        [VideoItem(broken, "left")], small_config(data__cache="disk", data__max_unusable=1.0)
    )
    assert [failure.path for failure in checked.failures] == [str(broken)]
    assert unfinished(folder) == stored(folder) == []


# --- where they are kept --------------------------------------------------------------------------


def kind(cache: FrameCache | None) -> str:
    return "off" if cache is None else type(cache).__name__.removesuffix("Cache").lower()


@pytest.mark.parametrize(
    ("wanted", "gib", "free_memory", "free_disk", "expected", "told"),
    [
        ("auto", 20, BIG, 50 * BIG, "memory", "kept in memory: "),
        ("auto", 20, 100_000, 50 * BIG, "disk", "kept in "),
        ("auto", 20, 100_000, BIG, "off", "of disk are free"),
        ("auto", 1e-6, BIG, 50 * BIG, "off", "more than data.cache_gib=1e-06"),
        ("memory", 20, 100_000, 50 * BIG, "memory", "kept in memory: "),
        ("disk", 20, BIG, 50 * BIG, "disk", "kept in "),
        ("disk", 20, BIG, BIG, "off", "of disk are free"),
        ("off", 20, BIG, 50 * BIG, "off", None),
    ],
)
def test_what_is_chosen_and_said(
    wanted: str,
    gib: float,
    free_memory: int,
    free_disk: int,
    expected: str,
    told: str | None,
    videos: list[VideoItem],
    folder: Path,
    small_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "free_memory", lambda: free_memory)
    monkeypatch.setattr(check, "_free_disk", lambda folder: free_disk)
    checked = check_videos(videos, small_config(data__cache=wanted, data__cache_gib=gib))
    assert kind(checked.source.cache) == expected
    assert [told in notice for notice in checked.notices if told] == ([True] if told else [])
    assert len(stored(folder)) == (len(videos) if expected == "disk" else 0)


def test_auto_goes_where_the_frames_are(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    check_videos(videos[:5], small_config(data__cache="disk"))
    assert kind(check_videos(videos, small_config()).source.cache) == "memory"
    checked = check_videos(videos[:5], small_config())
    assert kind(checked.source.cache) == "disk"
    assert checked.notices[0].endswith(", all of it from earlier runs")


@pytest.mark.parametrize("wanted", ["memory", "disk"])
def test_what_was_asked_for_and_does_not_fit_is_refused(
    wanted: str, videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    with pytest.raises(ConfigError, match=rf"data\.cache={wanted}: the frames take .* set data\.cache=auto"):
        check_videos(videos, small_config(data__cache=wanted, data__cache_gib=1e-6))


def test_keyframes_are_not_kept_and_that_is_said(
    videos: list[VideoItem], folder: Path, small_config: Configure
) -> None:
    for wanted, told in (
        ("disk", ["data.cache=disk has no effect with data.decode=keyframes"]),
        ("auto", []),
    ):
        checked = check_videos(videos, small_config(data__cache=wanted, data__decode="keyframes"))
        assert checked.source.cache is None
        assert checked.notices == told


def test_free_disk_is_measured_where_no_folder_is_yet(tmp_path: Path) -> None:
    assert check._free_disk(tmp_path / "not" / "made") > 0
