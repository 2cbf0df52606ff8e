"""No file makes the decoder read another one, crash, hang or leak."""

from __future__ import annotations

import gc
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.make import RECIPES, Recipe
from vidcli.errors import VideoError
from vidcli.video import DecodeLimits, decode_frames, probe
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import all_packets_of, decode_stream, open_video

Video = Callable[[str], Path]


def three(duration_seconds: float) -> np.ndarray:
    return np.array([0.1, 0.5, 0.9]) * duration_seconds


@pytest.fixture
def canary(video: Video, tmp_path: Path) -> Path:
    """A video that must not be opened; a real one, so that reading it would succeed."""
    path = tmp_path / "canary.ts"
    path.write_bytes(video("h264_late_start.ts").read_bytes())
    assert len(decode_frames(path, three).frames) == 3
    return path


def playlist(canary: Path) -> str:
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{canary}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("name", ["list.mp4", "list.avi", "list.m3u8", "list.ts", "list.mkv"])
def test_playlists_are_no_videos(name: str, canary: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text(playlist(canary))
    if name == "list.m3u8":
        with av.open(str(tmp_path / name)) as unguarded:
            assert next(unguarded.decode(video=0)), "the playlist must work where it is allowed"
    with pytest.raises(VideoError, match="not a video that can be opened"):
        decode_frames(tmp_path / name, three)
    with pytest.raises(VideoError):
        probe(tmp_path / name)


def test_concatenation_lists_are_no_videos(canary: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{canary}'\n")
    with pytest.raises(VideoError, match="not a video that can be opened"):
        decode_frames(path, three)


def test_playlists_inside_an_avi_are_not_followed(canary: Path, tmp_path: Path) -> None:
    # FFmpeg once took the text track of an AVI (GAB2) for a file of its own, and so a playlist.
    text = playlist(canary).encode()
    gab2 = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"x\0" + struct.pack("<HI", 4, len(text)) + text
    stream = b"strh" + struct.pack("<I4s4s", 56, b"txts", b"\0\0\0\0").ljust(60, b"\0")
    header = b"LIST" + struct.pack("<I", 4 + len(stream)) + b"strl" + stream
    movie = b"LIST" + struct.pack("<I", 12 + len(gab2)) + b"movi00tx" + struct.pack("<I", len(gab2)) + gab2
    path = tmp_path / "list.avi"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(header) + len(movie)) + b"AVI " + header + movie)
    with pytest.raises(VideoError):
        decode_frames(path, three)


@pytest.mark.parametrize(
    "address",
    [
        "concat:{0}",
        "subfile,,start,0,end,0,,:{0}",
        "file:{0}",
        "data:video/mp2t;base64,AAAA",
        "http://x/y.mp4",
    ],
)
def test_addresses_are_names_of_files_that_are_not_there(address: str, canary: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        decode_frames(address.format(canary), three)
    with pytest.raises(VideoError, match="no such file"):
        probe(address.format(canary))


def test_a_file_may_be_named_like_an_address(
    canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.ts", "http:x.ts", "-i.ts", "%03d.ts", "a b ï.ts"):
        Path(name).write_bytes(canary.read_bytes())
        assert len(decode_frames(name, three).frames) == 3


def test_external_references_of_a_mov_are_not_followed(video: Video, canary: Path, tmp_path: Path) -> None:
    """Point the data reference of a MOV at another file that holds the same samples."""
    whole = video("h264_no_b.mov").read_bytes()
    own = whole.index(b"url \0\0\0\1") - 4
    other = tmp_path / "other.mov"
    other.write_bytes(whole)
    name = str(other).encode()
    # An alias record (type 2, absolute path), which takes the place of "in this file".
    record = (
        b"alis" + bytes(4) + bytes(150) + struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2)
    )
    record += struct.pack(">HH", 0xFFFF, 0)
    alias = struct.pack(">I", len(record) + 4) + record
    changed = bytearray(whole[:own] + alias + whole[own + 12 :])
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = whole.rindex(box, 0, own) - 4
        size = struct.unpack(">I", whole[at : at + 4])[0]
        changed[at : at + 4] = struct.pack(">I", size + len(alias) - 12)
    # Without its own samples the file shows something only if it reads the other one.
    start = changed.index(b"mdat") + 4
    size = struct.unpack(">I", changed[start - 8 : start - 4])[0]
    changed[start : start + size - 8] = bytes(size - 8)
    path = tmp_path / "reference.mov"
    path.write_bytes(bytes(changed))
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as unguarded:
        assert len(list(unguarded.decode(video=0))) == 60, "the reference must work where it is allowed"
    with pytest.raises(VideoError):
        decode_frames(path, three)
    with pytest.raises(VideoError):
        decode_frames(path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in (
        ("missing.mp4", "no such file"),
        ("empty.mp4", "is empty"),
        ("", "is a folder that holds no video"),
        ("pipe.mp4", "is not a regular file"),
        ("nul\0.mp4", "cannot be read"),
    ):
        with pytest.raises(VideoError, match=reason):
            decode_frames(f"{tmp_path}/{name}", three)


def test_a_truncated_file_says_so(video: Video, tmp_path: Path) -> None:
    whole = video("vp9.webm").read_bytes()
    path = tmp_path / "cut.webm"
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(VideoError, match=r"truncated|damaged"):
        decode_frames(path, three)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Truncate, flip bits, or fill a stretch with zeros."""
    changed = bytearray(data)
    kind = rng.integers(4)
    # Half of the damage hits the headers, where parsers live.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
    if kind == 0:
        return bytes(changed[: rng.integers(1, len(data))])
    if kind == 1:
        for place in rng.integers(0, reach, rng.integers(1, 12)):
            changed[place] ^= 1 << rng.integers(8)
    elif kind == 2:
        start = rng.integers(0, reach)
        length = min(int(rng.integers(1, 400)), len(data) - start)
        changed[start : start + length] = bytes(length)
    else:
        for place in rng.integers(max(0, len(data) - 3000), len(data), 8):
            changed[place] = rng.integers(256)
    return bytes(changed)


def try_mutations(videos: dict[str, Path], folder: Path, count: int, seed: int) -> int:
    """Decode damaged files in several ways; return how many still gave frames."""
    names = sorted(videos)
    limits = DecodeLimits(pixels=2**20, frames=400, seconds=20)
    num_usable = 0
    named: list[bool] = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        path = folder / f"{number}-{name}"
        path.write_bytes(mutate(videos[name].read_bytes(), rng))
        start = time.monotonic()
        for attempt in (
            lambda path=path: probe(path, limits),
            lambda path=path: decode_frames(path, three, limits=limits),
            lambda path=path: decode_frames(path, three, num_threads=2, limits=limits),
            lambda path=path: decode_frames(path, limits=limits),
        ):
            try:
                result = attempt()
            except VideoError as error:
                named.append(str(path) in str(error))
            else:
                frames = getattr(result, "frames", None)
                num_usable += frames is not None and len(frames) > 0
        assert time.monotonic() - start < 60
        path.unlink()
    assert all(named)
    return num_usable


@pytest.mark.usefixtures("planner")
def test_damaged_files_give_frames_or_a_reason(videos: dict[str, Path], tmp_path: Path) -> None:
    assert try_mutations(videos, tmp_path, count=len(videos), seed=1) > 10


@pytest.mark.usefixtures("planner")
@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_damaged_files_give_frames_or_a_reason(
    videos: dict[str, Path], tmp_path: Path, seed: int
) -> None:
    assert try_mutations(videos, tmp_path, count=220, seed=seed) > 10


def test_streams_that_turn_up_later_do_not_end_in_an_error() -> None:
    class Container:
        """As PyAV is where its list of streams is too short: told everything, it fails at random."""

        def demux(self, streams: object) -> Iterator[av.Packet]:
            yield from packets
            raise IndexError("list index out of range")

    packets = [av.Packet(8), av.Packet(0)]
    container: Any = Container()
    assert list(all_packets_of(container, container)) == packets


def open_often(path: Path, times: int) -> float:
    """Return by how many MiB the process grew while a file was opened and decoded again and again."""

    def resident_mib() -> float:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    for _ in range(times // 4):
        decode_frames(path, three)
    before = resident_mib()
    for _ in range(times):
        decode_frames(path, three)
    return resident_mib() - before


@pytest.mark.usefixtures("planner")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize("name", ["h264_b_short.mp4", "vp9.webm", "av1.mkv", "mpeg4_b.avi"])
def test_memory_stays_flat(video: Video, name: str) -> None:
    assert open_often(video(name), 120) < 6


@pytest.mark.usefixtures("planner")
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_stays_flat_over_thousands(video: Video) -> None:
    assert open_often(video("h264_b_short.mp4"), 5000) < 12


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """FFmpeg does not come back from opening files called `hangs*`, until the event is set."""
    monkeypatch.setattr("vidcli.video.open.budget._GRACE_SECONDS", 0.1)
    released, opened = threading.Event(), av.open

    def open_or_hang(file: str, *arguments: object, **options: object) -> object:
        if Path(file).name.startswith("hangs"):
            released.wait()
        return opened(file, *arguments, **options)

    monkeypatch.setattr("vidcli.video.open.container.av.open", open_or_hang)
    yield released
    released.set()


def test_a_call_that_hangs_is_named_and_left_behind(
    video: Video, hanging: threading.Event, tmp_path: Path
) -> None:
    good = video("h264_b_short.mp4")
    bad = tmp_path / "hangs.mp4"
    bad.write_bytes(good.read_bytes())
    limits = DecodeLimits(seconds=0.2)
    for attempt in (lambda: decode_frames(bad, three, limits=limits), lambda: probe(bad, limits)):
        with pytest.raises(VideoError, match=r"hangs: FFmpeg .* 0\.1 s after the limit of 0\.2 s"):
            attempt()
    expected = decode_frames(good, three, mode="sequential").frames
    assert np.array_equal(decode_frames(good, three).frames, expected)
    hanging.set()  # what comes back too late hurts nobody
    assert np.array_equal(decode_frames(bad, three).frames, expected)


def test_ctrl_c_does_not_wait_for_a_call_that_hangs(
    video: Video, hanging: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcli.runtime.timeouts._LEAVE_SECONDS", 0.1)
    path = tmp_path / "hangs.mp4"
    path.write_bytes(video("h264_b_short.mp4").read_bytes())
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        decode_frames(path, three)
    timer.join()
    assert not hanging.is_set()


def test_what_nobody_waits_for_ends_at_the_next_packet(video: Video) -> None:
    budget = Budget(video("h264_b_short.mp4"), DecodeLimits())
    budget.give_up()
    with pytest.raises(VideoError, match="given up"), open_video(budget.path, budget) as (container, stream):
        next(decode_stream(budget, container, stream))


def test_the_rest_goes_on_and_the_process_ends(video: Video, tmp_path: Path) -> None:
    """Held in C, where no signal and no exception of Python reaches the thread."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "hangs.mp4", "z.mp4"):
        (folder / name).write_bytes(video("h264_b_short.mp4").read_bytes())
    script = (
        "import ctypes, sys, av, vidcli.video.open.budget\n"
        "from pathlib import Path\n"
        "from vidcli.runtime.threads import map_ahead\n"
        "from vidcli.errors import VideoError\n"
        "from vidcli.video import DecodeLimits, probe\n"
        "vidcli.video.open.budget._GRACE_SECONDS, opened = 0.1, av.open\n"
        "def open_or_hang(file, **options):\n"
        "    if 'hangs' in file: ctypes.CDLL(None).sleep(60)\n"
        "    return opened(file, **options)\n"
        "av.open = open_or_hang\n"
        "def look(path):\n"
        "    try: return probe(path, DecodeLimits(seconds=0.5)).codec\n"
        "    except VideoError as error: return error.reason[:5]\n"
        "print(*map_ahead(look, sorted(Path(sys.argv[1]).iterdir()), workers=2, ahead=2))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["h264", "hangs", "h264"]


def test_recipes_have_names_of_their_own() -> None:
    names = [recipe.name + recipe.suffix for recipe in RECIPES]
    assert len(set(names)) == len(names)
    assert all(isinstance(recipe, Recipe) for recipe in RECIPES)
