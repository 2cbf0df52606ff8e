"""Colours come out as the stream says they went in."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.format import VideoFormat

from tests.video.make import decode_all, moving_pictures
from tests.video.wild import SIZE, write
from vidcli.errors import VideoError
from vidcli.video import decode_frames, encode_video, probe, rewrite_video, stream_frames
from vidcli.video.exact.convert import Converter

Video = Callable[[str], Path]

# Bars of the eight corners of the colour cube at 75 % and a grey, 16 pixels wide each.
BARS = np.array(
    [
        *([191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0]),
        *([191, 0, 191], [191, 0, 0], [0, 0, 191], [0, 0, 0], [100, 100, 100]),
    ],
    dtype=np.float64,
)
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # of red and blue (ITU-R BT.601, BT.709)
SPC = {"bt601": 6, "bt709": 1}  # ITU-T H.273 table 4


def to_planes(matrix: str, is_full: bool, bits: int) -> np.ndarray:
    """Return Y, Cb, Cr (3, 9) of the bars by the equations of the standards (H.273 8.3)."""
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = BARS.T / 255
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    cb, cr = (blue - luma) / (2 * (1 - blue_weight)), (red - luma) / (2 * (1 - red_weight))
    if is_full:
        top = 2**bits - 1
        return np.round([luma * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)])
    unit = 2 ** (bits - 8)
    return np.round([(219 * luma + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit])


def write_bars(path: Path, matrix: str, is_full: bool, bits: int, height: int = 32) -> None:
    """Write lossless 4:2:0 bars whose stream names its matrix and range."""
    planes = to_planes(matrix, is_full, bits).repeat(16, axis=1)
    pixel_format = "yuv420p10le" if bits == 10 else "yuv420p"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = planes.shape[1], height, pixel_format
        stream.codec_context.colorspace = SPC[matrix]
        stream.codec_context.color_range = 2 if is_full else 1
        frame = av.VideoFrame(planes.shape[1], height, pixel_format)
        frame.colorspace, frame.color_range = SPC[matrix], 2 if is_full else 1
        for plane, values in zip(frame.planes, planes, strict=True):
            row = values if plane.width == planes.shape[1] else values[::2]
            samples = np.zeros((plane.height, plane.line_size // (2 if bits == 10 else 1)))
            samples[:, : plane.width] = row
            plane.update(samples.astype("<u2" if bits == 10 else "u1").tobytes())
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("scaled", [False, True])
def test_colour_bars(matrix: str, is_full: bool, bits: int, scaled: bool, tmp_path: Path) -> None:
    path = tmp_path / "bars.mp4"
    write_bars(path, matrix, is_full, bits)
    size = (lambda height, width: (height // 2, width // 2)) if scaled else None
    picture = decode_frames(path, size=size).frames[0]
    bar = picture.shape[1] // len(BARS)
    centres = picture[picture.shape[0] // 2, bar // 2 :: bar]
    # Rounding Y, Cb and Cr to 8 bits moves R, G and B by up to 0.5 x (1.164 + 2.115) = 1.6 levels
    # (the blue of BT.709 in studio range); swscale's 8-bit tables add one of their own.
    assert np.abs(centres - BARS).max() <= 3


def test_the_wrong_matrix_would_be_seen(tmp_path: Path) -> None:
    difference = to_planes("bt601", False, 8) - to_planes("bt709", False, 8)
    assert np.abs(difference).max() > 15
    assert np.abs(to_planes("bt601", False, 8) - to_planes("bt601", True, 8)).max() > 10


@pytest.mark.parametrize(("name", "turns"), [("90", 1), ("180", 2), ("270", 3)])
def test_rotated_files_come_upright(name: str, turns: int, video: Video) -> None:
    path = video(f"h264_rotated_{name}.{'mov' if name == '180' else 'mp4'}")
    with av.open(str(path)) as container:
        coded = next(container.decode(video=0))
        # The display matrix turns counter-clockwise (ISO 14496-12 8.2.2), as np.rot90 does.
        assert round(coded.rotation / 90) % 4 == turns
        expected = np.rot90(coded.to_ndarray(format="rgb24"), turns)
    assert probe(path).upright_size == expected.shape[:2]
    decoded = decode_frames(path, lambda duration: np.zeros(1)).frames[0]
    np.testing.assert_array_equal(decoded, expected)


def test_pixels_that_are_not_square(video: Video) -> None:
    info = probe(video("h264_anamorphic.mp4"))
    assert info.pixel_aspect == Fraction(16, 11)
    assert info.upright_size == (48, round(64 * 16 / 11))
    seen: list[tuple[int, int]] = []

    def size(height: int, width: int) -> tuple[int, int]:
        seen.append((height, width))
        return height, width

    decoded = decode_frames(video("h264_anamorphic.mp4"), lambda duration: np.zeros(2), size)
    assert seen == [(48, 93)]
    assert decoded.frames.shape == (2, 48, 93, 3)


@pytest.mark.parametrize(("height", "width"), [(31, 17), (1, 1), (64, 48), (200, 301)])
def test_any_size_is_given(height: int, width: int, video: Video) -> None:
    decoded = decode_frames(video("vp9_odd.webm"), lambda d: np.zeros(1), lambda h, w: (height, width))
    assert decoded.frames.shape == (1, height, width, 3)


def test_encoded_pictures_come_back(tmp_path: Path) -> None:
    pictures = [np.full((32, 48, 3), (value, 255 - value, 128), np.uint8) for value in (30, 120, 220)]
    encode_video(tmp_path / "flat.mp4", iter(pictures), 25, options={"qp": "0"})
    decoded = decode_frames(tmp_path / "flat.mp4").frames
    assert decoded.shape == (3, 32, 48, 3)
    assert np.abs(decoded.astype(int) - np.stack(pictures)).max() <= 3


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
        frame = av.VideoFrame.from_ndarray(next(moving_pictures(1, *SIZE)), format="rgb24").reformat(
            format=VideoFormat("yuv420p"), dst_colorspace="ITU709"
        )
        frame.colorspace, frame.color_primaries = matrix, 1
        target = np.empty((*SIZE, 3), np.uint8)
        Converter("x", probe(plain), None).convert_into(target, frame)
        return target

    np.testing.assert_array_equal(picture(12), picture(1))


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
    alone = decode_all(wide, (24, 64)).frames
    np.testing.assert_array_equal(second[:, 12:36], alone)
