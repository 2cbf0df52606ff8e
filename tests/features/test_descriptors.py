"""Descriptors of whole videos: how many are in memory at the same time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcli.arrays import Float32
from vidcli.config import ClipConfig, Config, DataConfig, ModelConfig
from vidcli.data.frames import most_decoded_bytes
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.features.descriptors import Descriptors, OneBlock
from vidcli.models import MultiStreamClassifier, build_model
from vidcli.predict.view_loader import ViewLoader

PANELS = ("whole", "follow")


def settings() -> Config:
    return Config(
        clip=ClipConfig(size=(128, 64), length=4, panels=PANELS, focus=0.5),
        data=DataConfig(cache="off", workers=4),
        model=ModelConfig(backbone="timm:test_resnet", streams="appearance", panels=2, pretrained=False),
    )


class Load:
    """Loads clips of noise, and remembers how many were in memory at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, item: VideoItem) -> Float32:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.05)
        with self._lock:
            self.now -= 1
        return np.random.default_rng(0).random((1, 4, 3, 128, 64), dtype=np.float32)


def test_frames_with_neighbours_are_counted() -> None:
    # Of a video of 3840x2160, the frames that a window of half the sides at 64x64 is cut from.
    width = round(128 * 3840 / 2160)
    assert most_decoded_bytes(settings()) == 4 * 3 * 128 * width * 3


@pytest.mark.parametrize(("videos_that_fit", "expected"), [(0, 1), (2, 2), (100, 4)])
def test_no_more_videos_are_described_at_once_than_memory_holds(
    videos_that_fit: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, load = settings(), Load()
    of_video = most_decoded_bytes(config) + 8 * config.clip.num_video_bytes
    free = round(2.1 * videos_that_fit * of_video)
    monkeypatch.setattr("vidcli.features.descriptors.free_memory", lambda: free)
    model = build_model(config.model, 2).eval()
    assert isinstance(model, MultiStreamClassifier)
    monkeypatch.setattr("vidcli.features.descriptors.require_room", lambda *others: None)
    describer = Descriptors(model, config, load, torch.device("cpu"))
    items = [VideoItem(Path(f"{number}.mp4"), "a") for number in range(12)]
    found = describer.of(items, False, 1, lambda done: True)
    assert all(isinstance(one, torch.Tensor) for one in found)
    assert load.most <= expected
    if expected > 1:
        assert load.most > 1


@pytest.mark.parametrize(("videos_that_fit", "expected"), [(0, 1), (3, 3), (100, 4)])
def test_no_more_videos_are_decoded_at_once_than_memory_holds(
    videos_that_fit: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings()
    free = round(2.1 * videos_that_fit * most_decoded_bytes(config))
    monkeypatch.setattr("vidcli.predict.view_loader.free_memory", lambda: free)
    assert ViewLoader(config).bounds(50)[0] == expected


def test_what_is_kept_lies_in_one_block() -> None:
    rows = torch.arange(24).view(3, 2, 4).half()
    block, error = OneBlock(4), VideoError(Path("b.mp4"), "damaged")
    kept = [block.keep(0, rows[0]), block.keep(1, error), block.keep(2, rows[1]), block.keep(3, rows[2])]
    assert kept.pop(1) is error
    tensors = [one for one in kept if isinstance(one, torch.Tensor)]
    assert torch.equal(torch.stack(tensors), rows)
    assert len({one.untyped_storage().data_ptr() for one in tensors}) == 1
    rows.zero_()
    assert tensors[0].any()
