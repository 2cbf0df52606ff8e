"""What browsers cannot play is coded anew, once."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.review.playable import MediaShelf, Playable
from vidcli.video import decode_frames, encode_video, find_pixel_format, probe


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[MediaShelf]:
    (tmp_path / "copies").mkdir()
    with closing(MediaShelf(tmp_path / "copies")) as shelf:
        yield shelf


def frames(num_frames: int = 20) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(num_frames)]


def wait_for(shelf: MediaShelf, path: Path) -> Playable:
    until = time.monotonic() + 300  # a busy machine is no reason to fail
    while (found := shelf.find(path)).path is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def test_common_files_are_played_as_they_are(
    write_video: Callable[..., Path], shelf: MediaShelf, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.mp4")
    found = shelf.find(video)
    assert (found.path, found.kind, found.is_copy, found.fps) == (video, "video/mp4", False, 8.0)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [("a.avi", "mpeg4", "yuv420p"), ("a.mkv", "libx264", "yuv420p"), ("a.mp4", "libx264", "yuv444p")],
)
def test_others_are_coded_anew(
    shelf: MediaShelf, tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    encode_video(tmp_path / name, frames(), 10, codec, pixel_format)
    found = wait_for(shelf, tmp_path / name)
    assert found.is_copy
    assert found.path is not None
    info = probe(found.path)
    assert (info.codec, info.num_frames, info.fps) == ("h264", 20, 10.0)
    assert find_pixel_format(found.path) == "yuv420p"
    copied = decode_frames(found.path).frames.astype(int)
    np.testing.assert_allclose(copied[:, 20, 30], np.array(frames())[:, 20, 30], atol=6)
    assert shelf.find(tmp_path / name).path == found.path


def test_a_file_that_is_no_video_is_named(shelf: MediaShelf, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"a\.mp4"):
        shelf.find(tmp_path / "a.mp4")


def test_the_picture_is_of_the_middle_of_the_span(shelf: MediaShelf, tmp_path: Path) -> None:
    encode_video(tmp_path / "a.mp4", frames(), 10)
    picture = shelf.picture(VideoItem(tmp_path / "a.mp4", "", start_seconds=1.0, end_seconds=2.0))
    image = Image.open(io.BytesIO(picture))
    assert image.size == (64, 48)
    assert abs(np.asarray(image)[20, 30, 0] - 150.0) < 8
