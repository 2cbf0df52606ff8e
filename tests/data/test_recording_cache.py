"""Frames of clips that share stretches of a recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vidcli.config import load_config
from vidcli.data.check import choose_source
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.data.recording_cache import RecordingCache, stretches_of
from vidcli.data.span_clips import group_clips
from vidcli.transforms import build_sampler
from vidcli.video import encode_video

SETTINGS = ["clip.sampling=dense", "clip.length=4", "clip.stride_seconds=0.25", "clip.size=32"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "day.mp4"
    frames = [np.full((32, 32, 3), 2 * number, np.uint8) for number in range(120)]
    encode_video(path, frames, 10, options={"g": "20", "crf": "0"})
    return path


def clips(path: Path) -> list[VideoItem]:
    starts = (0.5, 8.0, 1.0, 0.25, 11.5)  # the last goes beyond the end
    return [VideoItem(path, "a", "train", None, start, start + 1) for start in starts]


def test_clips_close_together_are_one_group(recording: Path):
    items = clips(recording)
    assert group_clips(items, 20) == [[3, 0, 2], [1], [4]]
    assert group_clips(items, 1.5) == [[3, 0], [2], [1], [4]]
    other = [*items, replace(items[0], path=recording.with_name("other.mp4"))]
    assert group_clips(other, 20)[-1] == [5]
    assert next((span.start_seconds, span.end_seconds) for span, _ in stretches_of(items)) == (0.25, 2)


def test_frames_are_those_of_each_clip_decoded_by_itself(recording: Path):
    config, items = load_config(None, [*SETTINGS, "data.clips_per_span=3"]), clips(recording)
    decoded: list[VideoItem] = []

    def decode_all(item: VideoItem):
        decoded.append(item)
        return FrameSource(config).decode_all(item)

    source = FrameSource(config, RecordingCache(items, decode_all))
    sampler = build_sampler(config.clip)
    for item in items:
        found, usual = source.frames(item, sampler), FrameSource(config).frames(item, sampler)
        np.testing.assert_array_equal(found, usual)
    assert len(decoded) == 3  # the three that are close together in one go
    stranger = VideoItem(recording, "a", "train", None, 3.0, 4.0)
    np.testing.assert_array_equal(
        source.frames(stranger, sampler), FrameSource(config).frames(stranger, sampler)
    )


@pytest.mark.parametrize("span", [(0.25, 2.0), (7.93, 9.4), (8.0, 9.0), (11.5, 12.5)])
@pytest.mark.parametrize("knows_starts", [True, False])
def test_all_frames_of_a_span_are_those_of_a_decode_from_the_start(
    span: tuple[float, float], knows_starts: bool, recording: Path, monkeypatch: pytest.MonkeyPatch
):
    item = VideoItem(recording, "a", "train", None, *span)
    source = FrameSource(load_config(None, SETTINGS))
    plain = source._decode(item, None)
    if knows_starts:
        monkeypatch.setattr("vidcli.video.exact.decode.collect_span", None)  # what decodes from the start
    else:
        monkeypatch.setattr("vidcli.data.frames.frame_starts", lambda path, limits: np.arange(20) * 0.7)
    found = source.decode_all(item)
    np.testing.assert_array_equal(found.frames, plain.frames)
    np.testing.assert_allclose(found.pts_seconds, plain.pts_seconds, atol=1e-9)
    assert found.duration_seconds == pytest.approx(plain.duration_seconds)


def test_the_check_keeps_clips_of_recordings_by_stretches(recording: Path):
    cut = load_config(None, [*SETTINGS, "data.clips_per_span=3"])
    source, notices = choose_source(clips(recording), cut, 1)
    assert isinstance(source.cache, RecordingCache)
    assert notices[0].startswith("frames of clips are kept in memory")
    whole, _ = choose_source(clips(recording), load_config(None, SETTINGS), 1)
    assert not isinstance(whole.cache, RecordingCache)
