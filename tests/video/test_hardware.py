"""Decoding on a device is asked for by name, and the CPU stands in for it, never silently."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from av.codec.hwaccel import HWAccel

from vidcli.config import load_config
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, VideoError
from vidcli.video import decode_frames
from vidcli.video.open import hardware

Video = Callable[[str], Path]
NAMES = ["h264_b_short.mp4", "vp9.webm", "gif.gif"]


def four(duration_seconds: float) -> np.ndarray:
    return np.array([0.05, 0.4, 0.41, 0.9]) * duration_seconds


@pytest.fixture
def asked_anew() -> Iterator[None]:
    hardware.find_hardware.cache_clear()
    yield
    hardware.find_hardware.cache_clear()


@pytest.fixture
def without_device(asked_anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: HWAccel, codec: object) -> None:
        raise OSError(1, "Operation not permitted")

    class Absent:
        def __init__(self, name: str, **options: object) -> None:
            assert name == "cuda"

        create = refuse

    monkeypatch.setattr(hardware, "HWAccel", Absent)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_device_the_cpu_decodes_and_one_warning_says_so(
    name: str, video: Video, without_device: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "vidcli.video"):
        decoded = [decode_frames(video(name), four, hwaccel="cuda") for _ in range(2)]
    for one in decoded:
        np.testing.assert_array_equal(one.frames, decode_frames(video(name), four).frames)
    assert [record.getMessage() for record in caplog.records] == [
        "data.hwaccel=cuda: no such device here (Operation not permitted); decoding on the CPU"
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_file_that_the_device_cannot_decode_goes_to_the_cpu(
    name: str,
    num_threads: int,
    video: Video,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A device that is named but not there fails when the file is opened for it."""
    device = HWAccel("drm", device="/nowhere", allow_software_fallback=False)
    monkeypatch.setattr(
        "vidcli.video.exact.decode.find_hardware", lambda name: device if name == "cuda" else None
    )
    calls: list[float] = []

    def plan(duration_seconds: float) -> np.ndarray:
        calls.append(duration_seconds)
        return four(duration_seconds)

    with caplog.at_level(logging.WARNING, "vidcli.video"):
        decoded = decode_frames(video(name), plan, hwaccel="cuda", num_threads=num_threads)
    assert len(calls) == 1, "a plan may be random: it must be asked once"
    np.testing.assert_array_equal(decoded.frames, decode_frames(video(name), four).frames)
    (record,) = caplog.records
    assert str(video(name)) in record.getMessage()
    assert "decoded on the CPU" in record.getMessage()


def test_a_bad_file_is_refused_as_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = HWAccel("drm", device="/nowhere", allow_software_fallback=False)
    monkeypatch.setattr("vidcli.video.exact.decode.find_hardware", lambda name: device)
    with pytest.raises(VideoError, match="no such file"):
        decode_frames(tmp_path / "missing.mp4", four, hwaccel="cuda")
    assert not caplog.records


@pytest.mark.cuda
def test_a_gpu_decodes_nearly_the_same(video: Video, asked_anew: None) -> None:
    assert hardware.find_hardware("cuda") is not None
    path = video("h264_b_short.mp4")
    exact = decode_frames(path, four)
    decoded = decode_frames(path, four, hwaccel="cuda")
    assert decoded.pts_seconds.tolist() == exact.pts_seconds.tolist()
    assert np.abs(decoded.frames.astype(int) - exact.frames).mean() < 3


def test_the_setting_reaches_the_decoder(video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("vidcli.video.exact.decode.find_hardware", asked.append)
    item = VideoItem(path=video("h264_b_short.mp4"), label="a")
    FrameSource(load_config(None, ["data.hwaccel=cuda"])).frames(item, four)
    FrameSource(load_config(None, [])).frames(item, four)
    assert asked == ["cuda", "off"]


def test_other_devices_are_refused(video: Video) -> None:
    with pytest.raises(ConfigError, match="hwaccel"):
        load_config(None, ["data.hwaccel=quick"])
    with pytest.raises(ValueError, match="hwaccel must be one of"):
        decode_frames(video("h264_b_short.mp4"), four, hwaccel="quick")  # type: ignore[arg-type]
