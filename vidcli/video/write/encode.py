"""Encode frames to a file, for tests, benchmarks and the built-in videos; state library versions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.error

from vidcli.arrays import Frames
from vidcli.errors import VideoError
from vidcli.video.open.video_bytes import reason
from vidcli.video.write.x264 import repeatable


def encode_video(
    path: str | os.PathLike[str],
    frames: Iterable[Frames],
    fps: float,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> None:
    """Encode frames to a file.

    Args:
        path: the new file, whose suffix names the container.
        frames: uint8 (H, W, 3), RGB, all of one size; at least one.
        fps: frames per second.
        codec: FFmpeg's name of the encoder.
        pixel_format: FFmpeg's name of the format that is coded.
        options: of the encoder.

    Raises:
        VideoError: the file or the codec cannot be written.
    """
    rate = Fraction(fps).limit_denominator(1001)
    options = repeatable(options or {}) if codec == "libx264" else options or {}
    try:
        with av.open(str(path), mode="w") as container:
            stream = None
            for array in frames:
                if stream is None:
                    stream = container.add_stream(codec, rate=rate, options=options)
                    stream.height, stream.width = array.shape[:2]
                    stream.pix_fmt = pixel_format
                    stream.thread_count = 1
                container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
            if stream is None:
                raise ValueError("encode_video needs at least one frame")
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(path, f"cannot be written ({reason(error)})") from error


def write_png(path: str | os.PathLike[str], picture: Frames) -> None:
    """Write a picture, uint8 (H, W, 3), RGB, as PNG, which is lossless.

    Raises:
        VideoError: the file cannot be written.
    """
    coder = av.VideoCodecContext.create("png", "w")
    coder.height, coder.width = picture.shape[:2]
    coder.pix_fmt, coder.time_base = "rgb24", Fraction(1)
    packets = [*coder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *coder.encode(None)]
    try:
        Path(path).write_bytes(b"".join(map(bytes, packets)))
    except OSError as error:
        raise VideoError(path, f"cannot be written ({reason(error)})") from error


def repeat_video(source: str | os.PathLike[str], target: str | os.PathLike[str], times: int) -> None:
    """Write a video that repeats the pictures of another one, without encoding them again.

    Args:
        source: a video file.
        target: the new file, whose suffix names the container.
        times: how often the pictures are repeated.

    Raises:
        VideoError: the source cannot be read, or the target cannot be written.
    """
    try:
        with av.open(str(target), mode="w") as output:
            copied: av.VideoStream | None = None
            shift = 0
            for _ in range(times):
                end = 0
                with av.open(f"file:{os.path.abspath(source)}", mode="r") as container:
                    stream = container.streams.video[0]
                    if copied is None:
                        copied = output.add_stream_from_template(stream)
                    for packet in container.demux(stream):
                        if packet.pts is None or packet.dts is None:
                            continue
                        end = max(end, packet.pts + (packet.duration or 0))
                        packet.pts += shift
                        packet.dts += shift
                        packet.stream = copied
                        output.mux(packet)
                shift += end
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(target, f"cannot be written ({reason(error)})") from error


def library_versions() -> dict[str, str]:
    """Return the versions of PyAV and of the FFmpeg libraries inside it."""
    codec = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return {"PyAV": av.__version__, "FFmpeg": getattr(av, "ffmpeg_version_info", f"libavcodec {codec}")}
