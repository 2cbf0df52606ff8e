"""Backbone weights from files and from torch's cache; nothing is downloaded."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from vidcli.config import ModelConfig
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models import build_model

NAME = "mobilenet_v3_small"
URL = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url


@pytest.fixture(scope="module")
def network():
    """A network of torchvision with weights and statistics that no other has."""
    torch.manual_seed(3)
    network = torchvision.models.mobilenet_v3_small(weights=None)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(0.01 if name.endswith("running_var") else 0.01 * torch.randn(value.shape))
    return network.eval()


def save(weights, path):
    safetensors.torch.save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return str(path)


def build(**settings):
    torch.manual_seed(0)
    plain = {"shift": False, "frame_differences": False}
    return build_model(ModelConfig(backbone=NAME, **(plain | settings)), num_classes=3).eval()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("shift", [False, True])
def test_a_torchvision_file_fills_the_backbone(network, tmp_path, suffix, shift):
    model = build(weights=save(network.state_dict(), tmp_path / f"w{suffix}"), shift=shift)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    if not shift:
        frames_NCHW = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(model.backbone(frames_NCHW), network.features(frames_NCHW))


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_a_training_scripts_checkpoint_is_unwrapped(network, tmp_path, wrapper):
    path = save({wrapper: network.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    model = build(weights=path)
    assert torch.equal(model.backbone.features[0][0].weight, network.features[0][0].weight)


def test_another_classifiers_file_gives_its_backbone(network, tmp_path):
    donor = build(weights=save(network.state_dict(), tmp_path / "w.pth"), head="lstm", shift=True)
    model = build(weights=save(donor.state_dict(), tmp_path / "model.safetensors"), head="mean")
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, donor.backbone.state_dict()[name]), name


def test_frame_differences_leave_the_files_function_at_the_start(network, tmp_path):
    path = save(network.state_dict(), tmp_path / "w.pth")
    rgb, both = build(weights=path), build(weights=path, frame_differences=True)
    both.projection.load_state_dict(rgb.projection.state_dict())
    clip_BTCHW = torch.randn(2, 3, 3, 64, 64)
    torch.testing.assert_close(rgb.features(clip_BTCHW), both.features(clip_BTCHW))
    with torch.no_grad():
        both.backbone.features[0][0].weight[:, 3:] += 0.1
    assert not torch.allclose(rgb.features(clip_BTCHW), both.features(clip_BTCHW))


def test_six_channel_files_load_whole(tmp_path):
    donor = build(frame_differences=True)
    model = build(weights=save(donor.state_dict(), tmp_path / "w.safetensors"), frame_differences=True)
    assert torch.equal(model.backbone.features[0][0].weight, donor.backbone.features[0][0].weight)
    assert model.backbone.features[0][0].weight[:, 3:].abs().min() > 0


def test_missing_weights_are_named(network, tmp_path):
    weights = dict(network.state_dict())
    del weights["features.0.0.weight"]
    path = save(weights, tmp_path / "cut.pth")
    with pytest.raises(
        CheckpointError, match=r"cut\.pth: not weights of .*1 missing \(features\.0\.0\.weight\)"
    ):
        build(weights=path)


def test_weights_of_another_shape_are_named(network, tmp_path):
    weights = dict(network.state_dict()) | {"features.0.0.weight": torch.zeros(8, 3, 3, 3)}
    path = save(weights, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"\(8, 3, 3, 3\) instead of \(16, 3, 3, 3\).* model\.backbone"):
        build(weights=path)


def test_a_larger_network_of_the_family_is_refused(tmp_path):
    """All names of ResNet-18 are in ResNet-34, with the same shapes."""
    path = save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="unknown"):
        build_model(ModelConfig(backbone="resnet18", weights=path), num_classes=2)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.weights=.*nowhere\.pth: no such file"):
        build(weights=str(tmp_path / "nowhere.pth"))


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"\.safetensors or \.pth"):
        build(weights=str(tmp_path / "w.onnx"))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: cannot be read as weights"):
        build(weights=str(tmp_path / name))


class Payload:
    """What a pickle could run."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.0.weight": Payload()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="more than tensors"):
        build(weights=str(tmp_path / "w.pth"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [["a"], {"epoch": 3}])
def test_a_file_without_tensors_is_named(tmp_path, content):
    with pytest.raises(CheckpointError, match="expected tensors by name"):
        build(weights=save(content, tmp_path / "w.pth"))


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A machine without network and with an empty torch cache; returns the cache's folder."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_offline_says_which_file_to_place_where(offline, capsys):
    with pytest.raises(ConfigError) as caught:
        build(pretrained=True)
    message = str(caught.value)
    assert "no route to host" in message
    assert URL in message
    assert str(offline / URL.rpartition("/")[2]) in message
    assert "model.weights=FILE" in message
    assert capsys.readouterr().out == ""  # results only


@pytest.mark.parametrize("shift", [False, True])
def test_a_file_placed_there_is_used(network, offline, shift):
    offline.mkdir(parents=True)
    torch.save(network.state_dict(), offline / URL.rpartition("/")[2])
    model = build(pretrained=True, shift=shift, frame_differences=True)
    first = model.backbone.features[0][0].weight
    assert torch.equal(first[:, :3], network.features[0][0].weight)
    assert not first[:, 3:].any()
    assert torch.equal(model.backbone.features[5].block[0][0].weight, network.features[5].block[0][0].weight)


def test_a_damaged_cache_is_named(offline):
    offline.mkdir(parents=True)
    (offline / URL.rpartition("/")[2]).write_bytes(b"half a down")
    with pytest.raises(CheckpointError, match=r"checkpoints.*not the weights of mobilenet_v3_small.*Delete"):
        build(pretrained=True)


def test_a_checkpoints_model_needs_no_weights(offline):
    config = ModelConfig(backbone=NAME, pretrained=True, weights="gone.pth")
    build_model(config, num_classes=2, load_weights=False)
    assert not offline.exists()


@pytest.mark.parametrize("backbone", ["simple_cnn", "compact_cnn"])
def test_ours_have_no_published_weights(backbone):
    with pytest.raises(ConfigError, match=f"no published weights for {backbone}"):
        build_model(ModelConfig(backbone=backbone, pretrained=True), num_classes=2)


def test_motion_weights_come_with_the_package(offline):
    config = ModelConfig(pretrained="motion")
    model = build_model(config, num_classes=2)
    torch.manual_seed(1)
    again = build_model(config, num_classes=2)
    random = build_model(config, num_classes=2, load_weights=False)
    ours, others = model.backbone.state_dict(), random.backbone.state_dict()
    assert all(torch.equal(value, again.backbone.state_dict()[name]) for name, value in ours.items())
    kernels = [name for name, value in ours.items() if value.dim() == 4]
    assert len(kernels) > 10
    assert not any(torch.equal(ours[name], others[name]) for name in kernels)
    assert not offline.exists()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"backbone": "resnet18"}, r"model.backbone=compact_cnn \(now resnet18\)"),
        ({"shift": "off"}, r"model.shift=on \(now off\)"),
        ({"frame_differences": False}, r"model.frame_differences=true \(now false\)"),
    ],
)
def test_motion_weights_fit_one_backbone(settings, fault):
    with pytest.raises(ConfigError, match=fault):
        build_model(ModelConfig(pretrained="motion", **settings), num_classes=2)
