"""A small copy shows the same pictures at the same times."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vidcli.errors import VideoError
from vidcli.video import decode_frames, encode_video, probe
from vidcli.video.write.compact import CompactCoding, compact_video


def write(path: Path, num_frames: int, height: int = 32, width: int = 48, fps: float = 8) -> Path:
    """Write a video of coloured blocks that change with each frame."""
    blocks = np.random.default_rng(0).integers(
        0, 256, (num_frames, height // 8, width // 8, 3), dtype=np.uint8
    )
    encode_video(path, list(blocks.repeat(8, axis=1).repeat(8, axis=2)), fps)
    return path


def test_times_and_pictures_stay(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", num_frames=30, height=96, width=160, fps=12.5)
    compact_video(source, tmp_path / "b.mp4", CompactCoding(short_side=48, quality=4))
    near, far = decode_frames(source, size=lambda height, width: (48, 80)), decode_frames(tmp_path / "b.mp4")
    assert far.frames.shape == (30, 48, 80, 3)
    assert np.allclose(near.pts_seconds, far.pts_seconds, atol=1e-4)
    assert near.duration_seconds == pytest.approx(far.duration_seconds, abs=1e-3)
    assert np.median(np.abs(near.frames.astype(int) - far.frames)) < 10  # small blocks lose colour


def test_uneven_times_stay(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.mp4", num_frames=20)
    uneven = tmp_path / "uneven.mkv"
    with av.open(str(plain)) as source, av.open(str(uneven), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.pts += packet.pts * packet.pts // 9999
                packet.dts = None
                packet.stream = stream
                target.mux(packet)
    compact_video(uneven, tmp_path / "b.mp4", CompactCoding())
    near, far = decode_frames(uneven), decode_frames(tmp_path / "b.mp4")
    assert len(set(np.diff(near.pts_seconds).round(3))) > 2
    assert np.allclose(near.pts_seconds, far.pts_seconds, atol=1e-4)


def test_keyframes_are_frequent_and_small_videos_keep_their_size(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", num_frames=30)
    compact_video(source, tmp_path / "b.mp4", CompactCoding(short_side=256, keyframe_every=10))
    info = probe(tmp_path / "b.mp4")
    assert (info.height, info.width, info.has_b_frames) == (32, 48, False)
    with av.open(str(tmp_path / "b.mp4")) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    places = [place for place, is_key in enumerate([*keys, True]) if is_key]
    assert places[0] == 0
    assert max(np.diff(places)) <= 10


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1080, 1920), (256, 456)), ((1920, 1080), (456, 256)), ((100, 301), (100, 300)), ((1, 1), (2, 2))],
)
def test_sizes_are_even(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert CompactCoding().size(*size) == expected


def test_a_cut_video_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", num_frames=200)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-9999])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        compact_video(tmp_path / "cut.mp4", tmp_path / "b.mp4", CompactCoding())
