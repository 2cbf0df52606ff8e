"""x264 codes the same pictures to the same bytes, on processors with AVX-512 too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vidcli.video import encode_video
from vidcli.video.write import x264
from vidcli.video.write.x264 import repeatable


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that says what the processor is; not there at first."""
    monkeypatch.setattr(x264, "_CPU", tmp_path / "cpuinfo")
    x264._has_avx512.cache_clear()
    yield tmp_path / "cpuinfo"
    x264._has_avx512.cache_clear()


def test_avx512_is_left_alone_where_the_processor_has_it(processor: Path) -> None:
    processor.write_text("flags\t: sse2 avx2 avx512f avx512_vnni\n", encoding="utf-8")
    assert repeatable({"crf": "1"}) == {"crf": "1", "threads": "1", "x264-params": "asm=avx2"}
    assert repeatable({"x264-params": "mbtree=0"})["x264-params"] == "mbtree=0:asm=avx2"


def test_other_processors_use_what_they_have(processor: Path) -> None:
    assert repeatable({"crf": "1"}) == {"crf": "1", "threads": "1"}
    x264._has_avx512.cache_clear()
    processor.write_text("flags\t: sse2 avx2\n", encoding="utf-8")
    assert repeatable({"x264-params": "mbtree=0"}) == {"x264-params": "mbtree=0", "threads": "1"}


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [
        np.kron(rng.integers(256, size=(6, 7, 3)), np.ones((8, 6, 1))).astype(np.uint8) for _ in range(8)
    ]
    first = tmp_path / "first.mp4"
    encode_video(first, frames, 12, options={"crf": "1"})
    for number in range(20):
        again = tmp_path / f"{number}.mp4"
        encode_video(again, frames, 12, options={"crf": "1"})
        assert again.read_bytes() == first.read_bytes()
