"""A file that was cut off is refused, and its missing bytes are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.wild import PLAIN, write
from vidcli.errors import VideoError
from vidcli.video import decode_frames, probe


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


def test_a_missing_index_and_missing_bytes_are_named(plain: Path, tmp_path: Path) -> None:
    content = plain.read_bytes()
    (tmp_path / "no-index.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"that can be opened \(cut off: the index of its frames \(moov\)"):
        probe(tmp_path / "no-index.mp4")
    fast = write(tmp_path / "fast.mp4", container_options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(fast[: len(fast) * 8 // 10])
    with pytest.raises(VideoError, match=rf"it holds {len(fast) * 8 // 10:,} of the {len(fast):,} bytes"):
        decode_frames(tmp_path / "cut.mp4")
