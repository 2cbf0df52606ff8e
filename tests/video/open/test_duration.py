"""A video is as long as its pictures are shown, whatever its header says."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.wild import PLAIN, WHERE, WHICH, numbers, replace_bytes, write
from vidcli.video import decode_frames, probe
from vidcli.video.open.duration import next_start


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("last", [1.2, 10.0])
def test_the_last_picture_may_be_shown_for_long(last: float, threads: int, tmp_path: Path) -> None:
    path = write(tmp_path / "pause.mp4", last_seconds=last)
    assert probe(path).duration_seconds == pytest.approx(3.96 + last)
    assert numbers(path, (0.5, 3.97, 3.96 + last), num_threads=threads) == [12, 99, 99]
    assert len(decode_frames(path).frames) == 100
    spread = decode_frames(path, lambda duration: np.linspace(0, duration, 16), num_threads=threads)
    assert spread.duration_seconds == pytest.approx(3.96 + last)


def test_a_gif_may_pause_at_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gif", "gif", 20, {}, rate=10, pixel_format="rgb8")
    content = bytearray(path.read_bytes())
    last = content.rindex(b"\x21\xf9\x04")
    content[last + 4 : last + 6] = (300).to_bytes(2, "little")
    path.write_bytes(content)
    decoded = decode_frames(path, lambda duration: np.array([0.0, duration]))
    assert decoded.duration_seconds == pytest.approx(4.9)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".nut", ".mp4"])
@pytest.mark.parametrize("late", [0.5, 6.0])
@pytest.mark.usefixtures("planner")
def test_pictures_may_start_after_the_sound(suffix: str, late: float, tmp_path: Path) -> None:
    path = tmp_path / f"late{suffix}"
    if suffix == ".webm":
        write(path, "libvpx", options={"deadline": "realtime", "b": "2M"}, start=late)
    else:
        write(path, start=late, sound_seconds=12.0)
    assert probe(path).duration_seconds == pytest.approx(4.0, abs=0.05)
    assert numbers(path, WHERE) == WHICH
    assert len(decode_frames(path).frames) == 100


def test_a_clock_may_begin_at_any_hour(tmp_path: Path) -> None:
    path = write(tmp_path / "clock.mkv", start=36_000.0)
    assert probe(path).duration_seconds == pytest.approx(4.0, abs=0.05)
    assert numbers(path, WHERE) == WHICH


def test_sound_may_go_on(tmp_path: Path) -> None:
    path = write(tmp_path / "sound.wmv", "wmv2", options={"b": "2M"}, sound_seconds=10.0)
    assert probe(path).duration_seconds == pytest.approx(4.0, abs=0.05)
    assert numbers(path, WHERE) == WHICH


def test_a_broadcast_may_begin_within_a_group(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=50:min-keyint=50:scenecut=0:bframes=0"}
    content = write(tmp_path / "a.ts", options=options).read_bytes()
    (tmp_path / "b.ts").write_bytes(content[len(content) // 10 // 188 * 188 :])
    assert probe(tmp_path / "b.ts").duration_seconds == pytest.approx(2.0, abs=0.05)
    assert numbers(tmp_path / "b.ts", (0.02, 1.02)) == [50, 75]


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".ts"), ("mpeg2video", ".mpg")])
def test_joined_recordings_are_seen_to_their_end(codec: str, suffix: str, tmp_path: Path) -> None:
    options = PLAIN if codec == "libx264" else {"qscale": "2", "flags": "+qscale"}
    parts = [write(tmp_path / f"{n}{suffix}", codec, 50, options).read_bytes() for n in range(3)]
    (tmp_path / f"joined{suffix}").write_bytes(b"".join(parts))
    info = probe(tmp_path / f"joined{suffix}")
    assert info.duration_seconds == pytest.approx(6.0, abs=0.1)
    assert len(decode_frames(tmp_path / f"joined{suffix}").frames) in (148, 149, 150)
    spread = decode_frames(tmp_path / f"joined{suffix}", lambda duration: np.linspace(0, duration, 7)[:-1])
    assert spread.pts_seconds.tolist() == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.05)


def test_a_bare_stream_is_as_long_as_its_packets(tmp_path: Path) -> None:
    path = write(tmp_path / "bare.mpg", "mpeg1video", options={"qscale": "2", "flags": "+qscale"})
    with av.open(str(path)) as source, open(tmp_path / "bare.m1v", "wb") as target:
        for packet in source.demux(video=0):
            target.write(bytes(packet))
    assert probe(tmp_path / "bare.m1v").duration_seconds == pytest.approx(4.0, abs=0.1)
    assert len(decode_frames(tmp_path / "bare.m1v").frames) == 100


@pytest.mark.usefixtures("planner")
def test_a_tag_may_say_less_than_there_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv")
    for stated in (b"00:00:01.000000000", b"00:00:09.000000000"):
        stale = replace_bytes(path, tmp_path / "stale.mkv", b"00:00:04.000000000", stated)
        assert probe(stale).duration_seconds == pytest.approx(4.0, abs=0.05)
        assert numbers(stale, WHERE) == WHICH


@pytest.mark.parametrize(
    ("stated", "expected"), [(1.25, 1.25), (1.0, 1.04), (0.5, 1.04), (None, 1.04), (1.001, 1.001)]
)
def test_a_frame_whose_time_does_not_grow_starts_one_period_later(
    stated: float | None, expected: float
) -> None:
    assert next_start(stated, previous_seconds=1.0, period_seconds=0.04) == expected
