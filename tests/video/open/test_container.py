"""Intact files as programs in the wild write them are opened, and read to their end."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.make import moving_pictures
from tests.video.wild import PLAIN, SIZE, WHERE, WHICH, encode_pictures, numbers, replace_bytes, write
from vidcli.errors import VideoError
from vidcli.video import decode_frames, probe, rewrite_video, stream_frames
from vidcli.video.exact.convert import Converter
from vidcli.video.open.container import _says_encrypted


def test_the_pictures_are_told_apart(plain: Path) -> None:
    assert numbers(plain, WHERE) == WHICH


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".flv"])
def test_titles_that_are_no_utf8(suffix: str, tmp_path: Path) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = tmp_path / f"titled{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "QQQQcafeQQQQ"
        stream = container.add_stream(codec, rate=25, options={} if codec == "mpeg4" else PLAIN)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for packet in encode_pictures(stream, moving_pictures(100, *SIZE), 25, 0.0, None):
            container.mux(packet)
    odd = replace_bytes(path, tmp_path / f"odd{suffix}", b"QQQQcafeQQQQ", b"Film \xe9t\xe9\xff   ")
    assert numbers(odd, WHERE) == WHICH
    assert probe(odd).duration_seconds == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("aspect", [20_000, 1_000_000, 9])
def test_pixels_of_nonsense_count_as_square(aspect: int, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=PLAIN)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for packet in encode_pictures(stream, moving_pictures(8, *SIZE), 25, 0.0, None):
            container.mux(packet)
    content = bytearray((tmp_path / "wide.mp4").read_bytes())
    start = content.index(b"pasp")
    assert struct.unpack(">II", content[start + 4 : start + 12]) == (2, 1)
    assert probe(tmp_path / "wide.mp4").upright_size == (48, 128)
    content[start + 4 : start + 12] = struct.pack(">II", aspect, 1)
    (tmp_path / "odd.mp4").write_bytes(content)
    assert probe(tmp_path / "odd.mp4").upright_size == SIZE
    assert decode_frames(tmp_path / "odd.mp4").frames.shape == (8, *SIZE, 3)


def test_empty_packets_say_that_nothing_changed(tmp_path: Path) -> None:
    pictures = list(moving_pictures(3, *SIZE))
    with av.open(str(tmp_path / "still.nut"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        for number in range(60):
            if number % 20 == 0:
                frame = av.VideoFrame.from_ndarray(pictures[number // 20], format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                (packet,) = stream.encode(frame.reformat(format="yuvj420p"))
            else:
                packet = av.Packet(0)
                packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    decoded = decode_frames(tmp_path / "still.nut")
    assert decoded.pts_seconds.tolist() == pytest.approx([0.0, 0.8, 1.6])
    assert decoded.duration_seconds == pytest.approx(2.4, abs=0.05)
    moments = decode_frames(tmp_path / "still.nut", lambda duration: np.array([0.7, 0.9, 2.3])).pts_seconds
    assert moments.tolist() == pytest.approx([0.0, 0.8, 1.6])


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_the_stream_that_moves_is_meant(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"two{suffix}"
    with av.open(str(path), "w") as container:
        still = container.add_stream("mjpeg", rate=25)
        still.height, still.width, still.pix_fmt = 32, 32, "yuvj420p"
        stream = container.add_stream("libx264", rate=25, options=PLAIN)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for packet in [*still.encode(frame.reformat(format="yuvj420p")), *still.encode(None)]:
            container.mux(packet)
        for packet in encode_pictures(stream, moving_pictures(100, *SIZE), 25, 0.0, None):
            container.mux(packet)
    info = probe(path)
    assert (info.codec, info.num_video_streams) == ("h264", 2)
    assert numbers(path, WHERE) == WHICH


def test_a_stream_that_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        streams = []
        for _ in range(2):
            stream = container.add_stream("libx264", rate=25, options=PLAIN)
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            streams.append(stream)
        for stream in streams:
            for packet in encode_pictures(stream, moving_pictures(100, *SIZE), 25, 0.0, None):
                container.mux(packet)
    content = bytearray(path.read_bytes())
    start = content.index(b"avc1", content.index(b"stsd"))
    content[start : start + 4] = b"xyz0"
    path.write_bytes(content)
    assert numbers(path, WHERE) == WHICH


def test_a_bare_picture_sequence_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "raw.y4m"
    with open(path, "wb") as file:
        file.write(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
        for picture in moving_pictures(100, *SIZE):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            file.write(b"FRAME\n" + frame.to_ndarray().tobytes())
    assert numbers(path, WHERE) == WHICH


def test_encrypted_frames_are_called_so(tmp_path: Path) -> None:
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    path = write(tmp_path / "locked.mp4", container_options=options)
    with pytest.raises(VideoError, match="is encrypted"):
        decode_frames(path)
    with pytest.raises(VideoError, match="is encrypted"):
        probe(path)


@pytest.mark.skipif(not hasattr(av.Packet, "has_sidedata"), reason="PyAV 15 cannot say that it is")
def test_encrypted_frames_that_happen_to_decode_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "plain.mp4")
    decode_frames(path)
    monkeypatch.setattr("vidcli.video.open.container._says_encrypted", lambda packet: True)
    for attempt in (
        lambda: decode_frames(path),
        lambda: decode_frames(path, lambda duration: np.zeros(2)),
        lambda: list(stream_frames(path, 0.5)),
    ):
        with pytest.raises(VideoError, match="is encrypted"):
            attempt()


@pytest.mark.skipif(not hasattr(av.Packet, "has_sidedata"), reason="PyAV 15 cannot say that it is")
def test_packets_say_that_they_are_encrypted(tmp_path: Path) -> None:
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    for path, expected in (
        (write(tmp_path / "locked.mp4", container_options=options), True),
        (write(tmp_path / "plain.mp4"), False),
    ):
        with av.open(str(path)) as container:
            assert _says_encrypted(next(container.demux(video=0))) is expected


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("odd"), OSError(95, "no"), KeyError("x")]
)
def test_whatever_goes_wrong_with_a_video_is_its_error(
    error: Exception, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(Converter, "_to_rgb", fail)
    for attempt in (
        lambda: decode_frames(plain),
        lambda: decode_frames(plain, lambda duration: np.zeros(2)),
        lambda: decode_frames(plain, lambda duration: np.linspace(0, duration, 9), num_threads=2),
        lambda: list(stream_frames(plain, 0.5)),
        lambda: rewrite_video(plain, tmp_path / "new.mp4", lambda picture, seconds: None),
    ):
        with pytest.raises(VideoError, match=r"plain\.mp4: cannot be "):
            attempt()


def test_a_plan_that_fails_is_its_makers_error(plain: Path) -> None:
    def plan(duration: float) -> np.ndarray:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        decode_frames(plain, plan)
    with pytest.raises(ValueError, match="finite moments"):
        decode_frames(plain, lambda duration: np.array([np.nan]))
