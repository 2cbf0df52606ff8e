"""Frames are scaled to the same bits with torch and without it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from vidcli.config import ClipConfig
from vidcli.transforms import ClipTransform
from vidcli.transforms.scaling import _squeeze_in_numpy, _squeeze_in_torch, squeeze

SIZES = [
    ((64, 48), (32, 24)),
    ((33, 47), (100, 91)),
    ((33, 47), (100, 13)),
    ((20, 300), (20, 112)),
    ((1, 2), (5, 3)),
    ((250, 7), (1, 1)),
]


@pytest.mark.parametrize("values", ["any", "black or white"])
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_numpy_scales_to_the_bits_of_torch(
    size: tuple[int, int], wanted: tuple[int, int], values: str
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    if values != "any":
        frames = np.where(frames > 127, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(_squeeze_in_numpy(frames, *wanted), _squeeze_in_torch(frames, *wanted))


def test_random_sizes_too() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        height, width, *wanted = (int(side) for side in rng.integers(1, 120, 4))
        frames = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        found, expected = _squeeze_in_numpy(frames, *wanted), _squeeze_in_torch(frames, *wanted)
        np.testing.assert_array_equal(found, expected)


def test_a_single_colour_stays_itself() -> None:
    frames = np.full((1, 31, 45, 3), 255, np.uint8)
    assert (_squeeze_in_numpy(frames, 77, 12) == 255).all()


def test_torch_scales_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    used: list[str] = []
    for name in ("torch", "numpy"):
        monkeypatch.setattr(
            f"vidcli.transforms.scaling._squeeze_in_{name}", lambda *_, name=name: used.append(name)
        )
    squeeze(frames, 4, 4)
    monkeypatch.delitem(sys.modules, "torch")
    squeeze(frames, 4, 4)
    assert squeeze(frames, 8, 8) is frames
    assert used == ["torch", "numpy"]


@pytest.mark.parametrize("settings", [{"focus": 0.5}, {"panels": "whole,window", "focus": 0.5}])
def test_clips_in_a_window_have_the_same_bits_without_torch(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = ClipTransform(ClipConfig.model_validate({"size": (64, 48), "length": 4, **settings}))
    height, width = transform.decode_size(120, 200)
    frames = np.random.default_rng(2).integers(0, 256, (4, height, width, 3), np.uint8)
    frames[:, :, : width // 2] = 0
    expected = transform.array(frames)
    monkeypatch.delitem(sys.modules, "torch")
    np.testing.assert_array_equal(transform.array(frames), expected)
