"""Open a file as a video and nothing else, read its packets and frames, and translate FFmpeg's errors.

A file is data, never an address: only the `file:` protocol and the demuxers of real containers are
allowed, so that no playlist, concatenation list or external reference can make FFmpeg read another file.
What lies afar or in a tar file is read by `storage`, and FFmpeg is given no protocol at all.
"""

from __future__ import annotations

import heapq
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import av
import av.container
import av.error
from av.codec.hwaccel import HWAccel

from vidcli.errors import VideoError
from vidcli.storage.sources import open_source
from vidcli.video.open.budget import Budget
from vidcli.video.open.truncation import find_missing_end
from vidcli.video.open.video_bytes import VideoBytes, open_bytes, reason

VIDEO_SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m1v"),
        *(".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut"),
        *(".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)

# Containers that hold their own pictures. Left out on purpose: hls, dash, concat, sdp, rtsp,
# image2 and other formats that list addresses.
DEMUXERS = (
    "mov,mp4,matroska,webm,avi,asf,flv,gif,mpegts,mpeg,mpegvideo,m4v,mxf,ogg,h264,hevc,obu,av1,ivf,"
    "mjpeg,dv,nut,rm,wtv,swf,yuv4mpegpipe"
)
_OPEN_OPTIONS = {
    "format_whitelist": DEMUXERS,
    "enable_drefs": "0",
    "use_absolute_path": "0",
}
# When it opens a file, FFmpeg decodes at least a frame to find the pixel format, which every decoded
# frame states anyway: 8 ms on 1280x720 H.264, against 0.3 ms without. The header of an MP4 or Matroska
# file holds everything else. `codec_whitelist` names the decoders allowed for this trial decode.
_LEAN_OPTIONS = {"codec_whitelist": "none", "probesize": "4096"}
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_EBML_MAGIC = b"\x1a\x45\xdf\xa3"

_STILL_SHARE = 10
"""A video stream so many times shorter than the longest one of the file is a still or a trailer."""

_SEARCHED_BYTES = 1 << 20
_ENCRYPTION_BOXES = (b"encv", b"tenc", b"pssh")
_ENCRYPTED = "is encrypted: its frames cannot be decoded without a key"


class EncryptedError(Exception):
    """The packets of an open file are encrypted."""


FOREIGN_ERRORS = (av.error.FFmpegError, OSError, ValueError)
"""The exceptions that PyAV raises for a bad file."""


@contextmanager
def open_video(
    path: str | os.PathLike[str],
    budget: Budget,
    num_threads: int = 1,
    lean: bool = False,
    is_fast: bool = False,
    hardware: HWAccel | None = None,
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file and yield its container and first video stream.

    Args:
        path: a local file; any string is a file name, also `http://...` and `concat:...`. Only a
            `StoredPath` is read from elsewhere.
        budget: limits on the size of frames and on the time spent.
        num_threads: decoder threads; more than one decodes several frames at once.
        lean: skip the trial decode of an MP4 or Matroska file, which finds the pixel format, and an
            aspect ratio or reordering depth that the header omits.
        is_fast: decode without the loop filter, not exactly.
        hardware: the device that decodes; None is the CPU.

    Raises:
        VideoError: no such file, not a video, or beyond a limit.
    """
    with open_bytes(path) as source, _open_container(source, budget, lean, hardware) as container:
        stream = _choose_stream(path, container)
        budget.check_size(stream.height, stream.width)
        decoder_options = {"max_pixels": str(budget.limits.pixels)}
        if is_fast:
            decoder_options["skip_loop_filter"] = "all"
        stream.codec_context.options = decoder_options
        set_threads(stream, num_threads)
        try:
            yield container, stream
        except EncryptedError as error:
            raise VideoError(path, _ENCRYPTED) from error


def _open_container(
    source: VideoBytes, budget: Budget, lean: bool, hardware: HWAccel | None
) -> av.container.InputContainer:
    """Let FFmpeg open the bytes of a video; see `open_video`."""
    options = _OPEN_OPTIONS | {"protocol_whitelist": source.protocol}
    if lean and (source.head[4:] in _MOV_BOXES or source.head[:4] == _EBML_MAGIC):
        options |= _LEAN_OPTIONS
    try:
        # PyAV's own timeouts are not used: they take the interpreter lock at every read, and
        # raise when the clocks of two processor cores disagree.
        return av.open(
            source.for_ffmpeg,
            mode="r",
            options={"max_pixels": str(budget.limits.pixels)},
            container_options=options,
            metadata_errors="replace",  # titles are not used, and may be in any encoding
            hwaccel=hardware,
        )
    except (*FOREIGN_ERRORS, RuntimeError) as error:  # RuntimeError: the device cannot decode this
        budget.check_time()
        sizes = find_missing_end(source.path)
        why = f"cut off: {sizes}" if sizes else reason(error)
        raise VideoError(source.path, f"is not a video that can be opened ({why})") from error


def can_be_lean(container: av.container.InputContainer) -> bool:
    """Tell whether `open_video` skips anything for an open file's container where `lean` is set."""
    return container.format.name.startswith(("mov,mp4", "matroska"))


def set_threads(stream: av.VideoStream, num_threads: int) -> None:
    """Choose how many threads decode, before the first packet; several decode frames at once."""
    stream.codec_context.thread_count = num_threads
    stream.codec_context.thread_type = "AUTO" if num_threads > 1 else "SLICE"


def video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Return the video streams of an open file, without cover art, which is a stream of one still."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _choose_stream(path: str | os.PathLike[str], container: av.container.InputContainer) -> av.VideoStream:
    """Return the video stream to decode.

    Streams that can be decoded come first, then those that are no stills, the default, the longest.

    Raises:
        VideoError: there is none.
    """
    streams = video_streams(container)
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        found = f"only {' and '.join(kinds)}" if kinds else "no streams"
        raise VideoError(path, f"holds no video stream ({found})")
    if len(streams) > 1:
        longest = max(map(_stated_length, streams))

        def rank(stream: av.VideoStream) -> tuple[bool, bool, bool, float]:
            length = _stated_length(stream)
            is_still = stream.frames == 1 or 0 < length < longest / _STILL_SHARE
            is_default = bool(stream.disposition & av.stream.Disposition.default)
            return stream.codec_context is not None, not is_still, is_default, length

        streams.sort(key=rank, reverse=True)  # keeps the order of equals
    if streams[0].codec_context is None:
        raise VideoError(path, "is coded in a way that this build of FFmpeg cannot decode")
    return streams[0]


def _stated_length(stream: av.VideoStream) -> float:
    """Return the length of a stream in seconds as its file states it; 0 where it does not."""
    tagged = parse_clock(stream.metadata.get("DURATION", ""))
    if tagged is not None:
        return tagged
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0


def parse_clock(text: str) -> float | None:
    """Return the seconds of a `HH:MM:SS.fraction` tag; None for anything else."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    total = 3600 * hours + 60 * minutes + seconds
    return total if math.isfinite(total) and total > 0 else None


def all_packets_of(
    container: av.container.InputContainer, streams: av.VideoStream | Sequence[av.stream.Stream]
) -> Iterator[av.Packet[Any]]:
    """Yield the packets of streams, and at the end an empty one of each, without times.

    Where FFmpeg found more streams after the file was opened, as in damaged files and joined recordings,
    PyAV reads beyond its list of streams and may raise an IndexError at the end, once all packets of
    these streams were read. That error is ignored.

    Raises:
        EncryptedError: the first packet is encrypted.
    """
    is_first = True
    try:
        for packet in container.demux(streams):
            if is_first and packet.size:
                is_first = False
                if _says_encrypted(packet):
                    raise EncryptedError
            yield packet
    except IndexError:
        return


def _says_encrypted(packet: av.Packet[Any]) -> bool:
    """Tell whether a packet carries information to decrypt it (PyAV 15 does not expose that).

    The decoder's errors are not enough: encrypted bytes are random, and about one short file in some
    hundreds decodes to noise without an error.
    """
    return hasattr(packet, "has_sidedata") and packet.has_sidedata("encryption_info")


def packets_of(
    container: av.container.InputContainer, streams: av.VideoStream | Sequence[av.stream.Stream]
) -> Iterator[av.Packet[Any]]:
    """Yield the packets that are not empty, and at the end an empty one of each stream.

    An empty packet with a time only states that the picture before it is still shown.
    """
    for packet in all_packets_of(container, streams):
        if packet.size or (packet.pts is None and packet.dts is None):
            yield packet


def has_guessed_times(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Tell whether the decoder of an open file gives frames wrong presentation times.

    AVI stores none. FFmpeg's decoder of MPEG-4 sorts the times of the packets; those of H.264 and HEVC do
    not, so that frames which are shown in another order than coded get each other's times.
    """
    codec = stream.codec_context
    return (
        container.format.name == "avi"
        and codec.codec.canonical_name in ("h264", "hevc")
        and codec.reorder_depth > 0
    )


def decode_packets(
    packets: Iterator[av.Packet[Any]], container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[list[av.VideoFrame]]:
    """Yield the frames that each packet completes, with correct presentation times.

    Damage before the first frame is skipped, since a recording that was cut out of a running broadcast
    starts with packets whose references are missing.

    Args:
        packets: of the stream, in file order.
        container: the open file.
        stream: its video stream.

    Raises:
        FFmpegError: damage after the first frame.
    """
    waiting: list[int] | None = [] if has_guessed_times(container, stream) else None
    has_decoded = False
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if has_decoded:
                raise
            continue
        has_decoded = has_decoded or bool(frames)
        if waiting is not None:
            if packet.size and packet.pts is not None:
                heapq.heappush(waiting, packet.pts)
            for frame in frames:
                frame.pts = heapq.heappop(waiting) if waiting else None
        yield frames


def decode_stream(
    budget: Budget, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Yield the frames in presentation order; damage before the first one is skipped.

    Args:
        budget: what the file may cost.
        container: the open file.
        stream: its video stream.

    Raises:
        VideoError: damage after the first frame, or a limit is exceeded.
    """
    num_decoded = 0

    def packets() -> Iterator[av.Packet[Any]]:
        for packet in packets_of(container, stream):
            budget.check_time()
            yield packet

    try:
        for frames in decode_packets(packets(), container, stream):
            budget.spend_frames(len(frames))
            for frame in frames:
                num_decoded += 1
                yield frame
    except FOREIGN_ERRORS as error:
        budget.check_time()
        if not num_decoded and not stream.width:
            # FFmpeg refuses frames above `max_pixels` without stating their size.
            raise VideoError(
                budget.path,
                f"has frames of unknown size, or more than the limit of {budget.limits.pixels} pixels",
            ) from error
        if is_encrypted(budget.path):
            raise VideoError(budget.path, _ENCRYPTED) from error
        sizes = find_missing_end(budget.path)
        why = f"cut off: {sizes}" if sizes else reason(error)
        raise VideoError(budget.path, f"is damaged after frame {num_decoded} ({why})") from error
    if not num_decoded:
        raise VideoError(
            budget.path,
            _ENCRYPTED
            if is_encrypted(budget.path)
            else "holds a video stream without a single frame that can be decoded",
        )


def is_encrypted(path: str | os.PathLike[str]) -> bool:
    """Tell whether an MP4 file states that it is encrypted (ISO 23001-7)."""
    with suppress(OSError), open_source(path) as file:
        ends = [file.read(_SEARCHED_BYTES)]
        file.seek(max(0, file.seek(0, io.SEEK_END) - _SEARCHED_BYTES))
        ends.append(file.read())
        return any(box in part for part in ends for box in _ENCRYPTION_BOXES)
    return False


def seconds_of(frame: av.VideoFrame) -> float | None:
    """Return the presentation time of a frame on the file's own clock; None where it has none."""
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)
