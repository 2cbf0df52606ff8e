"""Intact files as programs in the wild write them, and which pictures a decode shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.video.make import moving_pictures
from vidcli.video import decode_frames

SIZE = (48, 64)


PLAIN = {"x264-params": "keyint=25:min-keyint=25:scenecut=0:bframes=0"}


def write(
    path: Path,
    codec: str = "libx264",
    num_frames: int = 100,
    options: dict[str, str] | None = None,
    *,
    start: float = 0.0,
    last_seconds: float | None = None,
    sound_seconds: float = 0.0,
    rate: int = 25,
    pixel_format: str = "yuv420p",
    color: tuple[int, int] | None = None,
    size: tuple[int, int] = SIZE,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video of pictures that all differ, with sound of another length if asked for."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=PLAIN if options is None else options)
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.thread_count = 1
        if color:
            stream.codec_context.colorspace, stream.codec_context.color_range = color
        sound = None
        if sound_seconds:
            sound = container.add_stream(
                "wmav2" if path.suffix == ".wmv" else "aac", rate=44100, layout="stereo"
            )
            sound.bit_rate = 64_000
        packets = list(
            encode_pictures(stream, list(moving_pictures(num_frames, *size)), rate, start, last_seconds)
        )
        if sound is not None:
            packets += _silence(sound, sound_seconds)
        # Interleaved as they are decoded, as every program writes them.
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return path


def encode_pictures(
    stream: av.VideoStream,
    pictures: Iterable[np.ndarray],
    rate: int,
    start: float,
    last_seconds: float | None,
) -> Iterator[av.Packet]:
    pending: list[av.Packet] = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = number + round(start * rate), Fraction(1, rate)
        pending += stream.encode(frame)
    pending += stream.encode(None)
    if last_seconds is not None:
        pending[-1].duration = round(last_seconds / pending[-1].time_base)
    yield from pending


def _silence(sound: av.AudioStream, seconds: float) -> list[av.Packet]:
    packets: list[av.Packet] = []
    size = 2048 if sound.codec.name == "wmav2" else 1024
    for start in range(0, int(seconds * 44100), size):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, size), np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        packets += sound.encode(frame)
    return packets + sound.encode(None)


def numbers(path: Path, moments: Sequence[float], **kwargs: int) -> list[int]:
    """Return which of the pictures, counted from 0, are shown at the moments."""
    decoded = decode_frames(path, lambda duration: np.array(moments), **kwargs).frames
    originals = np.stack(list(moving_pictures(100, *SIZE))).astype(int)
    distances = np.abs(originals[None] - decoded[:, None].astype(int)).mean(axis=(2, 3, 4))
    assert (distances.min(axis=1) < 45).all()  # other pictures are 75 away and more
    return [int(index) for index in distances.argmin(axis=1)]


def replace_bytes(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    content = source.read_bytes()
    assert old in content
    assert len(old) == len(new)
    target.write_bytes(content.replace(old, new))
    return target


WHERE = (0.5, 1.02, 2.22, 3.9)
"""Moments and, at 25 frames a second, the pictures 12, 25, 55 and 97."""
WHICH = [12, 25, 55, 97]
