"""Pictures come upright, as the container or the coded stream says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from vidcli.video import decode_frames, probe
from vidcli.video.open.orientation import Orientation, make_upright, orientation_of_matrix

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


@pytest.mark.usefixtures("planner")
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
    plain: Path,
    tmp_path: Path,
) -> None:
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
