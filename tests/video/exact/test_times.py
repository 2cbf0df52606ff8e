"""The frame that is shown at a moment is found at any frame rate, and where the container has no times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.wild import WHERE, WHICH, numbers, write
from vidcli.video import decode_frames


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
