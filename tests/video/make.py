"""Small videos of every kind that PyAV can write, and the plain decoder that ours is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidcli.runtime.threads import scheduling_kept


@dataclass(frozen=True, eq=False)
class Recipe:
    """One kind of file.

    `gaps` are the durations of frames in ticks of 1/1000 s, repeated; `first_pts` shifts them.
    """

    name: str
    suffix: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (48, 64)
    num_frames: int = 60
    gaps: Sequence[int] = (40,)
    first_pts: int = 0
    rotation: int = 0
    pixel_aspect: Fraction | None = None
    container_options: dict[str, str] = field(default_factory=dict)
    color: tuple[int, int] | None = None  # colour matrix and range

    def write(self, folder: Path) -> Path:
        path = folder / f"{self.name}{self.suffix}"
        pictures = moving_pictures(self.num_frames, *self.size)
        with scheduling_kept(), av.open(str(path), "w", options=self.container_options) as container:
            stream = container.add_stream(self.codec, rate=25, options=self.options)
            stream.height, stream.width = self.size
            stream.pix_fmt = self.pixel_format
            stream.thread_count = 1
            stream.codec_context.time_base = Fraction(1, 1000)
            if self.codec in ("mpeg2video", "mpeg1video", "gif", "mpeg4"):
                stream.codec_context.time_base = Fraction(1, 25)
            if self.pixel_aspect:
                stream.codec_context.sample_aspect_ratio = self.pixel_aspect
            if self.color:
                stream.codec_context.colorspace, stream.codec_context.color_range = self.color
            if self.rotation:
                stream.set_display_rotation(self.rotation)
            pts = self.first_pts
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=self.pixel_format)
                frame.pts, frame.time_base = pts, Fraction(1, 1000)
                if stream.codec_context.time_base == Fraction(1, 25):
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                pts += self.gaps[number % len(self.gaps)]
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)
        return path


class PackedRecipe(Recipe):
    """MPEG-4 in AVI as DivX 5 writes it: the first B-frame in the packet of the P-frame before it."""

    def write(self, folder: Path) -> Path:
        plain = super().write(folder)
        packed = plain.with_name(f"{self.name}_packed{self.suffix}")
        mux_anew(plain, packed, pack_pictures)
        return packed.rename(plain)


NOT_CODED = b"\0\0\1\xb6\x50\x4f"
"""A picture of MPEG-4 at 25 frames a second that says: as the one before."""


def mux_anew(source: Path, target: Path, change: Callable[[list[bytes]], Iterable[bytes]]) -> None:
    """Write the packets of an MPEG-4 file to another after a change, a frame apart."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        copied = made.add_stream_from_template(stream)
        coded = [bytes(packet) for packet in given.demux(stream) if packet.size]
        for number, data in enumerate(change(coded)):
            packet = av.Packet(data)
            packet.stream, packet.time_base = copied, stream.time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = _kind_of(data) == 0
            made.mux(packet)


def _kind_of(data: bytes) -> int:
    return data[data.index(b"\0\0\1\xb6") + 4] >> 6


def pack_pictures(coded: list[bytes], encoder: bytes = b"DivX503b1393p") -> Iterator[bytes]:
    """Yield packets of which some hold two pictures, and empty ones where AVI lacks a packet then."""
    start = coded[0].index(b"\0\0\1\xb6")
    waiting = [coded[0][:start] + b"\0\0\1\xb2" + encoder + coded[0][start:], *coded[1:]]
    while waiting:
        reference = waiting.pop(0)
        between = []
        while waiting and _kind_of(waiting[0]) == 2:
            between.append(waiting.pop(0))
        yield reference + (between[0] if between else b"")
        yield from between[1:]
        if between:
            yield NOT_CODED


def moving_pictures(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield RGB pictures of which every one differs from every other, all over."""
    rng = np.random.default_rng(height * 1000 + width)
    tile = rng.integers(0, 256, (height // 4 + 40, width // 4 + 40, 3), dtype=np.uint8)
    ground = tile.repeat(4, 0).repeat(4, 1)
    for number in range(count):
        top, left = round(40 + 38 * np.sin(number / 5)), round(40 + 38 * np.cos(number / 7))
        picture = ground[top : top + height, left : left + width].copy()
        across = number * 5 % max(1, width - 8)
        picture[height // 3 : height // 3 + 8, across : across + 8] = 255 - number
        yield picture


def _h264(name: str, suffix: str, params: str, **kwargs: object) -> Recipe:
    options = {"preset": "veryfast", "crf": "30", "x264-params": params}
    return Recipe(name, suffix, "libx264", options, **kwargs)  # type: ignore[arg-type]


def _hevc(name: str, suffix: str, params: str, **kwargs: object) -> Recipe:
    options = {"preset": "ultrafast", "crf": "32", "x265-params": f"log-level=none:pools=none:{params}"}
    return Recipe(name, suffix, "libx265", options, **kwargs)  # type: ignore[arg-type]


RECIPES = (
    _h264("h264_b_long", ".mp4", "keyint=250:bframes=3:b-pyramid=none"),
    _h264("h264_b_short", ".mp4", "keyint=12:min-keyint=12:bframes=3:scenecut=0"),
    _h264("h264_pyramid_strict", ".mp4", "keyint=30:bframes=7:b-pyramid=strict:b-adapt=0"),
    _h264("h264_pyramid_refs", ".mkv", "keyint=20:min-keyint=20:bframes=5:b-pyramid=normal:ref=4:b-adapt=0"),
    _h264("h264_open_gop", ".mp4", "keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0:b-adapt=0"),
    _h264(
        "h264_open_gop_refs",
        ".mkv",
        "keyint=10:min-keyint=10:bframes=5:open-gop=1:scenecut=0:b-adapt=0:ref=5",
    ),
    _h264("h264_no_b", ".mov", "keyint=15:min-keyint=15:bframes=0"),
    _h264("h264_refresh", ".mp4", "keyint=20:bframes=0:intra-refresh=1"),
    _h264("h264_interlaced", ".mp4", "keyint=12:min-keyint=12:bframes=2:interlaced=1"),
    _h264("h264_vfr", ".mp4", "keyint=9:min-keyint=9:bframes=2", gaps=(40, 13, 200, 7, 61)),
    _h264("h264_vfr", ".mkv", "keyint=9:min-keyint=9:bframes=2", gaps=(40, 13, 200, 7, 61)),
    _h264(
        # An edit list hides the first half second, which the rest refers to.
        "h264_trimmed",
        ".mp4",
        "keyint=20:min-keyint=20:bframes=2",
        first_pts=-480,
        container_options={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    ),
    _h264("h264_late_start", ".mp4", "keyint=12:bframes=2", first_pts=1517),
    _h264("h264_late_start", ".ts", "keyint=12:min-keyint=12:bframes=2", first_pts=333),
    _h264("h264_flv", ".flv", "keyint=12:min-keyint=12:bframes=2"),
    _h264("h264_avi", ".avi", "keyint=12:min-keyint=12:bframes=0"),
    _h264("h264_avi_b", ".avi", "keyint=12:min-keyint=12:bframes=2"),
    _h264("h264_raw", ".h264", "keyint=12:min-keyint=12:bframes=2"),
    _h264("h264_10bit", ".mp4", "keyint=12:bframes=2", pixel_format="yuv420p10le"),
    _h264("h264_444", ".mp4", "keyint=12:bframes=2", pixel_format="yuv444p"),
    _h264("h264_odd", ".mkv", "keyint=12:bframes=2", size=(45, 63), pixel_format="yuv444p"),
    _h264("h264_full_range", ".mp4", "keyint=12:bframes=2", pixel_format="yuvj420p", color=(1, 2)),
    _h264("h264_rotated_90", ".mp4", "keyint=12:bframes=2", rotation=90),
    _h264("h264_rotated_180", ".mov", "keyint=12:bframes=2", rotation=180),
    _h264("h264_rotated_270", ".mp4", "keyint=12:bframes=2", rotation=270),
    _h264("h264_anamorphic", ".mp4", "keyint=12:bframes=2", pixel_aspect=Fraction(16, 11)),
    _h264(
        "h264_fragmented",
        ".mp4",
        "keyint=12:min-keyint=12:bframes=2",
        container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    ),
    _h264("h264_one", ".mp4", "keyint=12", num_frames=1),
    _h264("h264_two", ".mkv", "keyint=12:bframes=1", num_frames=2),
    _hevc("hevc_b", ".mp4", "keyint=12:min-keyint=12:bframes=3:open-gop=0"),
    _hevc("hevc_open_gop", ".mp4", "keyint=12:min-keyint=12:bframes=4:open-gop=1:b-adapt=0"),
    _hevc("hevc_pyramid", ".mkv", "keyint=60:bframes=8:rc-lookahead=20:b-adapt=0"),
    _hevc("hevc_layers", ".mp4", "keyint=24:bframes=7:rc-lookahead=20:b-adapt=0:temporal-layers=3"),
    _hevc("hevc_10bit", ".mov", "keyint=12:bframes=3", pixel_format="yuv420p10le"),
    _hevc("hevc_ts", ".ts", "keyint=12:min-keyint=12:bframes=3"),
    _hevc("hevc_raw", ".hevc", "keyint=12:bframes=3"),
    Recipe("vp8", ".webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    Recipe(
        "vp8_hidden",
        ".webm",
        "libvpx",
        {"cpu-used": "5", "g": "20", "auto-alt-ref": "1", "lag-in-frames": "10"},
    ),
    Recipe("vp9", ".webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    Recipe(
        "vp9_hidden",
        ".mkv",
        "libvpx-vp9",
        {"cpu-used": "6", "g": "25", "auto-alt-ref": "1", "lag-in-frames": "12"},
    ),
    Recipe("vp9_odd", ".webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, size=(45, 63)),
    Recipe("vp9_mp4", ".mp4", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    Recipe("av1", ".mkv", "libsvtav1", {"preset": "12", "svtav1-params": "keyint=24:lp=1"}, size=(64, 80)),
    Recipe(
        "av1_low_delay",
        ".mp4",
        "libsvtav1",
        {"preset": "12", "svtav1-params": "keyint=16:pred-struct=1:lp=1"},
        size=(64, 80),
    ),
    Recipe("mpeg4", ".avi", "mpeg4", {"g": "12", "bf": "0"}),
    Recipe("mpeg4_b", ".avi", "mpeg4", {"g": "12", "bf": "2"}),
    Recipe("mpeg4_b_long", ".avi", "mpeg4", {"g": "100", "bf": "3"}),
    PackedRecipe("mpeg4_packed", ".avi", "mpeg4", {"g": "12", "bf": "2"}),
    PackedRecipe("mpeg4_packed_one", ".avi", "mpeg4", {"g": "15", "bf": "1"}),
    Recipe("mpeg4_b", ".mp4", "mpeg4", {"g": "12", "bf": "2"}),
    Recipe("mpeg4_b", ".mkv", "mpeg4", {"g": "12", "bf": "2"}),
    Recipe("mpeg2_b", ".ts", "mpeg2video", {"g": "12", "bf": "2"}),
    Recipe("mpeg2_b", ".mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    Recipe("mpeg2_b", ".mkv", "mpeg2video", {"g": "12", "bf": "2"}),
    Recipe("mpeg1", ".mpg", "mpeg1video", {"g": "12", "bf": "2"}),
    Recipe("mjpeg", ".avi", "mjpeg", {}, "yuvj420p"),
    Recipe("mjpeg", ".mov", "mjpeg", {}, "yuvj422p", gaps=(40, 80)),
    Recipe("prores", ".mov", "prores", {}, "yuv422p10le", num_frames=20),
    Recipe("ffv1", ".mkv", "ffv1", {"g": "5"}, num_frames=20),
    Recipe("flv1", ".flv", "flv", {"g": "12"}),
    Recipe("gif", ".gif", "gif", {}, "rgb8", num_frames=20),
)


@dataclass(frozen=True)
class Reference:
    """All frames of a file, as decoding it from end to end shows them.

    Attributes:
        seconds: start of each frame, from the first.
        frames: each upright, RGB, in its coded size.
        is_key: whether the decoder says that a frame stands alone.
    """

    seconds: list[float]
    frames: list[np.ndarray]
    is_key: list[bool]

    def shown_at(self, moment: float) -> int:
        """Return the number of the last frame that starts by a millisecond after `moment`."""
        number = 0
        for candidate, seconds in enumerate(self.seconds):
            if seconds - 1e-3 > moment:
                break
            number = candidate
        return number


def pts_in_order(path: Path) -> list[int]:
    """Return the times of the packets of a file in which the decoder leaves them as they came."""
    with av.open(str(path)) as container:
        return sorted(packet.pts for packet in container.demux(video=0) if packet.size)


def decode_all(path: Path, size: tuple[int, int] | None = None) -> Reference:
    """Decode every frame in order, the simplest way there is; `size` is upright height and width."""
    seconds: list[float] = []
    frames: list[np.ndarray] = []
    is_key: list[bool] = []
    origin = None
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        times = pts_in_order(path) if stream.codec.name == "h264" and path.suffix == ".avi" else None
        period = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        first = None
        for frame in container.decode(stream):
            first = first or frame
            if times is not None:
                frame.pts = times.pop(0)
            origin = (
                float(frame.pts * frame.time_base) if origin is None and frame.pts is not None else origin
            )
            stamp = None if frame.pts is None else float(frame.pts * frame.time_base) - (origin or 0.0)
            if not seconds:
                seconds.append(0.0)
            elif stamp is not None and stamp > seconds[-1]:
                seconds.append(stamp)
            else:
                seconds.append(seconds[-1] + period)
            turns = round(first.rotation / 90)
            height, width = size or (
                (first.width, first.height) if turns % 2 else (first.height, first.width)
            )
            if turns % 2:
                height, width = width, height
            ranges = {"src_color_range": frame.color_range, "interpolation": "BILINEAR"}
            scaled = frame
            if (height, width) != (frame.height, frame.width) and "420" in frame.format.name:
                scaled = frame.reformat(width, height, "yuv422p", dst_color_range=frame.color_range, **ranges)
            picture = scaled.reformat(width, height, "rgb24", **ranges).to_ndarray()
            frames.append(np.rot90(picture, turns))
            is_key.append(bool(frame.key_frame))
    return Reference(seconds, frames, is_key)
