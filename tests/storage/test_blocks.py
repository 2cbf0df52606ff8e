"""Reading by blocks gives the same bytes, in few requests, and few bytes more than were asked for."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vidcli.storage.addresses import StoredPath
from vidcli.storage.blocks import BLOCK_BYTES, BlockFile, traffic
from vidcli.video import decode_frames, repeat_video
from vidcli.video.open import video_bytes


def block_file(content: bytes, identity: object = "a") -> BlockFile:
    return BlockFile(lambda start, end: content[start:end], len(content), identity)


def random_bytes(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


def test_any_bytes_are_those_of_the_file() -> None:
    content = random_bytes(5 * BLOCK_BYTES + 17)
    file, plain = block_file(content), io.BytesIO(content)
    rng = np.random.default_rng(1)
    for _ in range(300):
        place, size = int(rng.integers(-5, len(content) + 99)), int(rng.integers(0, 3 * BLOCK_BYTES))
        assert file.seek(max(0, place)) == plain.seek(max(0, place))
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()
    assert file.seek(-3, io.SEEK_END) == len(content) - 3
    assert file.read() == content[-3:]
    assert traffic.num_bytes == len(content)  # each block once


def test_reading_on_takes_few_requests_and_a_jump_few_bytes() -> None:
    content = random_bytes(64 * BLOCK_BYTES)
    file = block_file(content)
    while file.read(4096):
        pass
    assert traffic.num_requests == 4 + 4  # 1, 2, 4, 8 blocks, and then 16 each
    assert traffic.num_bytes == len(content)
    jumping = block_file(content, "b")
    jumping.seek(40 * BLOCK_BYTES)
    jumping.read(4096)
    assert traffic.num_bytes == len(content) + BLOCK_BYTES


def test_another_version_of_a_file_is_fetched_anew() -> None:
    assert block_file(b"old", ("a", 1)).read() == b"old"
    assert block_file(b"new", ("a", 2)).read() == b"new"


def test_the_kept_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcli.storage.blocks._KEPT_BYTES", 2 * BLOCK_BYTES)
    content = random_bytes(6 * BLOCK_BYTES)
    file = block_file(content)
    assert file.read() == content
    file.seek(0)
    assert file.read() == content
    assert traffic.num_bytes == 2 * len(content)


def test_an_answer_that_is_too_short_is_an_error() -> None:
    file = BlockFile(lambda start, end: b"1234", 100, "short")
    with pytest.raises(OSError, match="4 bytes came where 100 were asked for"):
        file.read()
    assert isinstance(file.failure, OSError)


class CountingFile(io.FileIO):
    """A local file that counts the bytes that are read."""

    num_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.num_bytes += len(content)
        return content


@pytest.mark.parametrize(("height", "width"), [(48, 64), (240, 320)])
def test_sixteen_frames_of_an_hour_cost_little_more_than_a_local_plan_reads(
    write_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    short = write_video(tmp_path / "short.mp4", num_frames=250, height=height, width=width, fps=25)
    hour = tmp_path / "hour.mp4"
    repeat_video(short, hour, 360)
    opened: list[CountingFile] = []

    def open_local(path: Path) -> CountingFile:
        opened.append(CountingFile(path))
        return opened[-1]

    def open_blocks(path: Path) -> BlockFile:
        content = path.read_bytes()
        return block_file(content)

    def decode() -> np.ndarray:
        return decode_frames(
            StoredPath(hour), lambda duration_seconds: np.linspace(0, duration_seconds, 16)
        ).frames

    monkeypatch.setattr(video_bytes, "open_source", open_local)
    near = decode()
    num_local = sum(file.num_bytes for file in opened)
    monkeypatch.setattr(video_bytes, "open_source", open_blocks)
    assert np.array_equal(decode(), near)
    print(f"{hour.stat().st_size=:,} {num_local=:,} {traffic.num_bytes=:,} in {traffic.num_requests}")
    assert traffic.num_bytes < 4 * num_local
    assert traffic.num_bytes < hour.stat().st_size / 4
