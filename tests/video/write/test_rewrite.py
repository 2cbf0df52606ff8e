"""A rewritten video shows changed pictures when the old ones were shown, and sounds as it did."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from tests.video.make import Recipe
from tests.video.wild import write
from vidcli.errors import VideoError
from vidcli.video import decode_frames, probe, rewrite_video

RECIPES = [
    Recipe("plain", ".mp4", "libx264"),
    Recipe("odd_gaps", ".mkv", "libx264", gaps=(40, 10, 90), num_frames=20),
    Recipe("odd_size", ".mkv", "ffv1", size=(47, 65), num_frames=8),
    Recipe("turned", ".mp4", "libx264", rotation=90, num_frames=8),
]


def add_sound(source, target):
    """Copy a video and give it a tone, coded as AAC."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        pictures = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("aac", rate=8000)
        sound.layout = "mono"
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                new.mux(packet)
        wave = np.sin(np.arange(8192, dtype=np.float32)[None] / 3)
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
            new.mux(sound.encode(frame))
        new.mux(sound.encode(None))


def sound_of(path):
    with av.open(str(path)) as container:
        return [
            (packet.pts, bytes(packet))
            for packet in container.demux(container.streams.audio[0])
            if packet.size
        ]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_picture_keeps_its_time(recipe, tmp_path):
    source = recipe.write(tmp_path)
    told = []

    def darken(picture, seconds):
        told.append(seconds)
        picture //= 2

    rewrite_video(source, tmp_path / "new.mkv", darken)
    old = decode_frames(source, size=lambda height, width: (height & ~1, width & ~1))
    new = decode_frames(tmp_path / "new.mkv")
    assert new.frames.shape == old.frames.shape
    np.testing.assert_allclose(new.pts_seconds, old.pts_seconds, atol=1e-3)
    np.testing.assert_allclose(told, old.pts_seconds, atol=1e-3)
    halved = old.frames.astype(float) // 2
    assert np.abs(new.frames - halved).mean() < 12  # coded with loss
    assert np.abs(new.frames - halved * 2).mean() > 25


def test_sound_is_copied_to_the_last_byte(tmp_path):
    source = Recipe("plain", ".mp4", "libx264", num_frames=25).write(tmp_path)
    add_sound(source, tmp_path / "sound.mp4")
    rewrite_video(tmp_path / "sound.mp4", tmp_path / "new.mp4", lambda picture, seconds: None)
    assert sound_of(tmp_path / "new.mp4") == sound_of(tmp_path / "sound.mp4")
    assert len(sound_of(tmp_path / "new.mp4")) > 5
    assert probe(tmp_path / "new.mp4").duration_seconds == pytest.approx(1.0, abs=0.05)


def test_what_cannot_be_read_or_written(tmp_path):
    source = Recipe("plain", ".mp4", "libx264", num_frames=8).write(tmp_path)

    def refused(old, new, message):
        with pytest.raises(VideoError, match=message):
            rewrite_video(old, new, lambda picture, seconds: None)

    refused(tmp_path / "gone.mp4", tmp_path / "new.mp4", "gone.mp4: no such file")
    refused(
        source, tmp_path / "nowhere" / "new.mp4", r"new.mp4: cannot be written \(No such file or directory"
    )
    refused(source, tmp_path / "new.xyz", "new.xyz: cannot be written")
    refused(source, source, "is the video itself")
    add_sound(source, tmp_path / "sound.mp4")
    refused(tmp_path / "sound.mp4", tmp_path / "new.webm", "'webm' format does not support")
    refused(tmp_path / "sound.mp4", tmp_path / "new.h264", "new.h264: cannot be written")


@pytest.mark.parametrize("kind", ["h264", "joined.ts"])
def test_a_video_without_times_is_written_anew_at_its_own_pace(
    kind: str, plain: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"bare.{kind}"
    if kind == "h264":
        with av.open(str(plain)) as source, open(path, "wb") as target:
            bsf = BitStreamFilterContext("h264_mp4toannexb", source.streams.video[0])
            for packet in source.demux(video=0):
                for changed in bsf.filter(packet if packet.size else None):
                    target.write(bytes(changed))
    else:
        path.write_bytes(b"".join(write(tmp_path / f"{n}.ts", num_frames=50).read_bytes() for n in range(2)))
    told: list[float] = []
    rewrite_video(path, tmp_path / "new.mp4", lambda picture, seconds: told.append(seconds))
    old, new = decode_frames(path), decode_frames(tmp_path / "new.mp4")
    assert len(old.frames) > 95
    np.testing.assert_allclose(told, old.pts_seconds, atol=1e-6)
    np.testing.assert_allclose(new.pts_seconds, old.pts_seconds, atol=2e-3)
