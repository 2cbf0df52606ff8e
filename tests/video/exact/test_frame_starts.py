"""Packets say when frames start, as a decoder does; where they do not, spans are decoded from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.make import RECIPES
from vidcli.config import load_config
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.video import DecodeLimits, frame_starts

SHORT = ("h264_one.mp4", "h264_two.mkv")
NAMES = sorted({recipe.name + recipe.suffix for recipe in RECIPES} - {*SHORT})


@pytest.mark.parametrize("name", ["h264_b_long.mp4", "h264_vfr.mp4", "h264_vfr.mkv", "h264_late_start.ts"])
def test_starts_are_those_of_a_decoder(name: str, videos, refer):
    starts = frame_starts(videos[name], DecodeLimits())
    assert starts is not None
    np.testing.assert_allclose(starts, refer(videos[name]).seconds, atol=1e-6)


def test_files_that_do_not_say_it_have_no_starts(videos, tmp_path: Path):
    assert frame_starts(videos["h264_avi_b.avi"], DecodeLimits()) is None
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x00" * 100)
    assert frame_starts(broken, DecodeLimits()) is None


@pytest.mark.parametrize("name", NAMES)
def test_all_frames_of_a_span_are_the_same_for_every_file(name: str, videos):
    source = FrameSource(load_config(None, ["clip.size=32"]))
    item = VideoItem(videos[name], "a", "train", None, 0.55, 1.3)
    plain = source._decode(item, None)
    found = source.decode_all(item)
    np.testing.assert_array_equal(found.frames, plain.frames)
    np.testing.assert_allclose(found.pts_seconds, plain.pts_seconds, atol=1e-6)
