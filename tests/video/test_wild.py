"""Intact files as programs in the wild write them: opened, read to their end, and shown as they are meant."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.video.format import VideoFormat

from tests.video import make
from vidcli.errors import VideoError
from vidcli.video import decode_frames, probe, rewrite_video, stream_frames
from vidcli.video.exact.convert import Converter
from vidcli.video.open.container import _says_encrypted
from vidcli.video.open.orientation import Orientation, make_upright, orientation_of_matrix

SIZE = (48, 64)


def moving_pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """Return pictures that all differ."""
    return list(make.moving_pictures(count, height, width))


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
        packets = list(_coded(stream, moving_pictures(num_frames, *size), rate, start, last_seconds))
        if sound is not None:
            packets += _silence(sound, sound_seconds)
        # Interleaved as they are decoded, as every program writes them.
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return path


def _coded(
    stream: av.VideoStream,
    pictures: Sequence[np.ndarray],
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
    originals = np.stack(moving_pictures(100, *SIZE)).astype(int)
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


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("wild") / "plain.mp4")


def test_the_pictures_are_told_apart(plain: Path) -> None:
    assert numbers(plain, WHERE) == WHICH


# --- colours and shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matrix", "name"), [(10, "BT.2020"), (13, "derived"), (14, "ICtCp"), (11, "2085"), (12, "derived")]
)
def test_colours_that_cannot_be_converted_are_refused_by_name(matrix: int, name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "odd.mp4", num_frames=12, color=(matrix, 1))
    for attempt in (
        lambda: decode_frames(path),
        lambda: decode_frames(path, lambda duration: np.zeros(2)),
        lambda: list(stream_frames(path, 0.1)),
        lambda: rewrite_video(path, tmp_path / "new.mp4", lambda picture, seconds: None),
    ):
        with pytest.raises(VideoError, match=rf"odd\.mp4: has colours of a kind .*{name}"):
            attempt()


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("size", [(2, 3), (4, 6)])
def test_ycgco_follows_the_equations(is_full: bool, size: tuple[int, int], plain: Path) -> None:
    # H.273, in float64: Cg = G / 2 - (R + B) / 4, Co = (R - B) / 2, Y = G / 2 + (R + B) / 4.
    rng = np.random.default_rng(0)
    if size == (4, 6):
        rgb = rng.integers(0, 256, (4, 6, 3)).astype(np.float64)
    else:  # what is even stays what it is when it is scaled
        rgb = np.broadcast_to(rng.integers(0, 256, 3), (4, 6, 3)).astype(np.float64)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    y, cg, co = green / 2 + (red + blue) / 4, green / 2 - (red + blue) / 4, (red - blue) / 2
    if is_full:
        planes = [y, cg + 128, co + 128]
    else:
        planes = [y * 219 / 255 + 16, cg * 224 / 255 + 128, co * 224 / 255 + 128]
    frame = av.VideoFrame(6, 4, "yuv444p")
    for plane, values in zip(frame.planes, planes, strict=True):
        buffer = np.zeros((4, plane.line_size), np.uint8)
        buffer[:, :6] = np.clip(np.rint(values), 0, 255)
        plane.update(buffer)
    frame.colorspace, frame.color_range = 8, 2 if is_full else 1
    info = probe(plain)
    info = type(info)(**(info.__dict__ | {"height": 4, "width": 6}))
    converted = np.empty((*size, 3), np.uint8)
    Converter("x", info, lambda height, width: size).convert_into(converted, frame)
    assert np.abs(converted - rgb[: size[0], : size[1]]).max() <= 3
    assert frame.colorspace == 8


def test_a_matrix_that_follows_from_known_primaries_is_converted(plain: Path) -> None:
    def picture(matrix: int) -> np.ndarray:
        frame = av.VideoFrame.from_ndarray(moving_pictures(1, *SIZE)[0], format="rgb24").reformat(
            format=VideoFormat("yuv420p"), dst_colorspace="ITU709"
        )
        frame.colorspace, frame.color_primaries = matrix, 1
        target = np.empty((*SIZE, 3), np.uint8)
        Converter("x", probe(plain), None).convert_into(target, frame)
        return target

    np.testing.assert_array_equal(picture(12), picture(1))


@pytest.mark.parametrize("aspect", [20_000, 1_000_000, 9])
def test_pixels_of_nonsense_count_as_square(aspect: int, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=PLAIN)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for packet in _coded(stream, moving_pictures(8, *SIZE), 25, 0.0, None):
            container.mux(packet)
    content = bytearray((tmp_path / "wide.mp4").read_bytes())
    start = content.index(b"pasp")
    assert struct.unpack(">II", content[start + 4 : start + 12]) == (2, 1)
    assert probe(tmp_path / "wide.mp4").upright_size == (48, 128)
    content[start + 4 : start + 12] = struct.pack(">II", aspect, 1)
    (tmp_path / "odd.mp4").write_bytes(content)
    assert probe(tmp_path / "odd.mp4").upright_size == SIZE
    assert decode_frames(tmp_path / "odd.mp4").frames.shape == (8, *SIZE, 3)


def test_another_shape_is_fitted_in_and_not_squeezed(tmp_path: Path) -> None:
    muxer = {"muxdelay": "0"}
    tall = write(tmp_path / "a.ts", num_frames=25, container_options=muxer)
    wide = write(tmp_path / "b.ts", num_frames=25, size=(48, 128), start=1.0, container_options=muxer)
    (tmp_path / "joined.ts").write_bytes(tall.read_bytes() + wide.read_bytes())
    decoded = decode_frames(tmp_path / "joined.ts")
    assert decoded.frames.shape == (50, *SIZE, 3)
    first, second = decoded.frames[:25], decoded.frames[25:]
    assert first[:, :10].mean() > 20
    # 48x128 in 48x64 is 24x64, with twelve black rows above and below.
    assert second[:, :12].max() == second[:, 36:].max() == 0
    alone = make.decode_all(wide, (24, 64)).frames
    np.testing.assert_array_equal(second[:, 12:36], alone)


# --- titles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".flv"])
def test_titles_that_are_no_utf8(suffix: str, tmp_path: Path) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = tmp_path / f"titled{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "QQQQcafeQQQQ"
        stream = container.add_stream(codec, rate=25, options={} if codec == "mpeg4" else PLAIN)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for packet in _coded(stream, moving_pictures(100, *SIZE), 25, 0.0, None):
            container.mux(packet)
    odd = replace_bytes(path, tmp_path / f"odd{suffix}", b"QQQQcafeQQQQ", b"Film \xe9t\xe9\xff   ")
    assert numbers(odd, WHERE) == WHICH
    assert probe(odd).duration_seconds == pytest.approx(4.0, abs=0.05)


# --- lengths --------------------------------------------------------------------------------------


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
@pytest.mark.parametrize("planner", ["survey", "lookahead"])
def test_pictures_may_start_after_the_sound(
    suffix: str, late: float, planner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planner == "lookahead":
        monkeypatch.setattr("vidcli.video.exact.decode.is_short", lambda container, stream: False)
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


@pytest.mark.parametrize("planner", ["survey", "lookahead"])
def test_a_tag_may_say_less_than_there_is(
    planner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planner == "lookahead":
        monkeypatch.setattr("vidcli.video.exact.decode.is_short", lambda container, stream: False)
    path = write(tmp_path / "a.mkv")
    for stated in (b"00:00:01.000000000", b"00:00:09.000000000"):
        stale = replace_bytes(path, tmp_path / "stale.mkv", b"00:00:04.000000000", stated)
        assert probe(stale).duration_seconds == pytest.approx(4.0, abs=0.05)
        assert numbers(stale, WHERE) == WHICH


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".wmv", ".flv"])
def test_what_was_cut_off_is_still_refused(suffix: str, tmp_path: Path) -> None:
    codec = {".avi": "mpeg4", ".wmv": "wmv2"}.get(suffix, "libx264")
    options = PLAIN if codec == "libx264" else {"b": "2M"}
    faststart = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = write(tmp_path / f"whole{suffix}", codec, options=options, container_options=faststart)
    content = whole.read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(VideoError, match=r"cut off|truncated"):
        decode_frames(tmp_path / f"cut{suffix}", lambda duration: np.linspace(0, duration, 8))
    assert decode_frames(whole, lambda duration: np.linspace(0, duration, 8)).frames.shape[0] == 8


# --- packets that hold nothing --------------------------------------------------------------------


def test_empty_packets_say_that_nothing_changed(tmp_path: Path) -> None:
    pictures = moving_pictures(3, *SIZE)
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


# --- several streams ------------------------------------------------------------------------------


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
        for packet in _coded(stream, moving_pictures(100, *SIZE), 25, 0.0, None):
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
            for packet in _coded(stream, moving_pictures(100, *SIZE), 25, 0.0, None):
                container.mux(packet)
    content = bytearray(path.read_bytes())
    start = content.index(b"avc1", content.index(b"stsd"))
    content[start : start + 4] = b"xyz0"
    path.write_bytes(content)
    assert numbers(path, WHERE) == WHICH


# --- orientation ----------------------------------------------------------------------------------

TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "as it is": ((1, 0, 0, 1), lambda p: p),
    "hflip": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "vflip": ((1, 0, 0, -1), lambda p: p[::-1]),
    "180": ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    "90 clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "270 clockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "transpose": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "antitranspose": ((0, -1, -1, 0), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
    "nothing": ((0, 0, 0, 0), lambda p: p),
}


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_display_matrix_turns_and_mirrors(name: str, threads: int, plain: Path, tmp_path: Path) -> None:
    (a, b, c, d), expected = TURNS[name]
    content = bytearray(plain.read_bytes())
    start = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30 if name != "nothing" else 0]
    content[start : start + 36] = struct.pack(">9i", *values)
    path = tmp_path / "turned.mp4"
    path.write_bytes(content)
    (upright,) = decode_frames(path, lambda duration: np.array([2.0]), num_threads=threads).frames
    (coded,) = decode_frames(plain, lambda duration: np.array([2.0])).frames
    np.testing.assert_array_equal(upright, expected(coded))
    assert probe(path).upright_size == upright.shape[:2]


def test_a_matrix_moves_points_as_the_standard_says() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    for (a, b, c, d), expected in TURNS.values():
        if (a, b, c, d) == (0, 0, 0, 0):
            continue
        points = {
            (a * x + c * y, b * x + d * y): picture[y, x] for y in range(3) for x in range(4)
        }  # shown at
        columns, rows = sorted({x for x, _ in points}), sorted({y for _, y in points})
        moved = np.array([[points[x, y] for x in columns] for y in rows])
        np.testing.assert_array_equal(moved, expected(picture))
        orientation = orientation_of_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        np.testing.assert_array_equal(make_upright(picture, orientation), moved)


@pytest.mark.parametrize("planner", ["survey", "lookahead"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("rotate=90", Orientation(270, False)),
        ("rotate=180", Orientation(180, False)),
        ("flip=horizontal", Orientation(0, True)),
        ("flip=vertical", Orientation(180, True)),
        ("rotate=90:flip=horizontal", Orientation(270, True)),
    ],
)
def test_a_coded_stream_may_say_how_it_is_turned(
    options: str,
    expected: Orientation,
    planner: str,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if planner == "lookahead":
        monkeypatch.setattr("vidcli.video.exact.decode.is_short", lambda container, stream: False)
    path = tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        bsf = BitStreamFilterContext(
            f"h264_metadata=display_orientation=insert:{options}", source.streams.video[0]
        )
        for packet in source.demux(video=0):
            for changed in bsf.filter(packet if packet.size else None):
                changed.stream = stream
                target.mux(changed)
    info = probe(path)
    assert (info.rotation, info.is_mirrored) == expected
    (coded,) = decode_frames(plain, lambda duration: np.array([3.5])).frames
    # A frame that comes late says nothing of it by itself.
    (upright,) = decode_frames(path, lambda duration: np.array([3.5])).frames
    np.testing.assert_array_equal(upright, make_upright(coded, expected))
    np.testing.assert_array_equal(decode_frames(path).frames[87], upright)


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [240, 1000, 5000])
def test_the_frame_that_is_asked_for_at_any_rate(rate: int, tmp_path: Path) -> None:
    path = write(tmp_path / "fast.mp4", rate=rate)
    moments = (np.arange(100) + 0.5) / rate
    for mode in ("exact", "sequential"):
        decoded = decode_frames(path, lambda duration: moments, mode=mode)
        assert decoded.pts_seconds.tolist() == pytest.approx((np.arange(100) / rate).tolist())


@pytest.mark.parametrize("num_b_frames", [0, 2, 3])
def test_h264_in_avi_is_shown_in_order(num_b_frames: int, tmp_path: Path) -> None:
    options = {"x264-params": f"keyint=25:min-keyint=25:scenecut=0:b-adapt=0:bframes={num_b_frames}"}
    path = write(tmp_path / "b.avi", options=options)
    assert numbers(path, WHERE) == WHICH
    decoded = decode_frames(path)
    assert decoded.pts_seconds.tolist() == pytest.approx((np.arange(100) / 25).tolist())


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


# --- reasons --------------------------------------------------------------------------------------


def test_a_bare_picture_sequence_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "raw.y4m"
    with open(path, "wb") as file:
        file.write(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
        for picture in moving_pictures(100, *SIZE):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            file.write(b"FRAME\n" + frame.to_ndarray().tobytes())
    assert numbers(path, WHERE) == WHICH


def test_a_missing_index_and_missing_bytes_are_named(plain: Path, tmp_path: Path) -> None:
    content = plain.read_bytes()
    (tmp_path / "no-index.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"that can be opened \(cut off: the index of its frames \(moov\)"):
        probe(tmp_path / "no-index.mp4")
    fast = write(tmp_path / "fast.mp4", container_options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(fast[: len(fast) * 8 // 10])
    with pytest.raises(VideoError, match=rf"it holds {len(fast) * 8 // 10:,} of the {len(fast):,} bytes"):
        decode_frames(tmp_path / "cut.mp4")


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


# --- whatever goes wrong --------------------------------------------------------------------------


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
