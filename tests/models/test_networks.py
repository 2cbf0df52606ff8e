"""Torchvision's video networks as whole models; weights are random and lie where torch looks for them."""

from __future__ import annotations

import json
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import video
from typer.testing import CliRunner

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import find_model
from vidcli.commands.app import app
from vidcli.config import ClipConfig, Config, ModelConfig, load_config
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models import (
    build_model,
    load_published,
    network_names,
    published_names,
    settle_clip,
    unused_settings,
)
from vidcli.models.networks import weights_of_whole
from vidcli.models.published import published_clip
from vidcli.models.registry import NETWORKS
from vidcli.transforms import ClipTransform

SMALL = "mc3_18"
URL = video.MC3_18_Weights.DEFAULT.url
# The smallest clip (T, H, W) that each kind of network takes. MViT takes one size, and seconds for it.
SMALLEST = {"r3d_18": (3, 32, 32), "s3d": (14, 224, 224), "swin3d_t": (4, 32, 32)}


def build(backbone, num_classes=3, **settings):
    torch.manual_seed(0)
    return build_model(ModelConfig(backbone=backbone, **settings), num_classes).eval()


@pytest.fixture(scope="module")
def network():
    """A network of torchvision with weights and statistics that no other has."""
    torch.manual_seed(5)
    network = video.mc3_18(weights=None)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(0.01 if name.endswith("running_var") else 0.01 * torch.randn(value.shape))
    return network.eval()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A machine without network and with an empty torch cache; returns the cache's folder."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def placed(network, offline):
    """The same, with the network's file where a download would lie."""
    offline.mkdir(parents=True)
    torch.save(network.state_dict(), offline / URL.rpartition("/")[2])
    return offline


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALLEST)
def test_a_network_gives_what_torchvisions_gives(name):
    torch.manual_seed(1)
    original = getattr(video, name)(weights=None).eval()
    model = build(name, 400)
    model.load_state_dict(weights_of_whole(original.state_dict(), NETWORKS[name].build))
    clip_BTCHW = torch.randn(1, SMALLEST[name][0], 3, *SMALLEST[name][1:])
    with torch.inference_mode():
        expected = original(clip_BTCHW.transpose(1, 2))
        assert expected.std() > 0
        torch.testing.assert_close(model.eval()(clip_BTCHW), expected)


@pytest.mark.parametrize("name", network_names())
def test_every_network_takes_the_weights_of_the_whole(name):
    with torch.device("meta"):
        original = NETWORKS[name].build()
        model = build(name, 400)
    model.load_state_dict(weights_of_whole(original.state_dict(), NETWORKS[name].build), assign=True)


@pytest.mark.parametrize("name", network_names())
def test_every_network_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone=name), num_classes=400)
    assert sum(p.numel() for p in model.parameters()) == NETWORKS[name].pretrained.meta["num_params"]


@pytest.mark.parametrize("shape", [(1, 4, 2, 32, 32), (4, 3, 32, 32), (1, 0, 3, 32, 32)])
def test_clips_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected a clip \(B, T, 3, H, W\)"):
        build(SMALL)(torch.zeros(shape))
    with pytest.raises(ValueError, match="float"):
        build(SMALL)(torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8))


def test_a_network_learns_one_batch():
    model = build(SMALL, 2, dropout=0.0).train()
    clips_BTCHW, labels_B = torch.randn(4, 3, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(model(clips_BTCHW), labels_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_settings_of_heads_have_no_effect():
    changed = ModelConfig(backbone=SMALL, head="lstm", grid=3, layers=2, shift="off", dropout=0.1)
    assert unused_settings(changed) == ["model.head", "model.shift", "model.grid", "model.layers"]
    assert unused_settings(ModelConfig(backbone=SMALL)) == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("model.backbone=mvit_v2_s clip.size=224 clip.length=8", "takes clips of 16 frames of 224x224"),
        ("model.backbone=s3d clip.length=8 clip.size=224", "at least 14 frames of 224x224 pixels"),
        ("model.backbone=r3d_18 clip.resize=64", "clip.resize=64x64 is smaller than clip.size=112x112"),
        ("model.backbone=r3d_19", "Did you mean 'r3d_18'"),
    ],
)
def test_clips_that_a_network_cannot_take_are_refused_at_once(settings, fault):
    with pytest.raises(ConfigError, match=fault):
        settle_clip(load_config(None, settings.split()))


# --- weights --------------------------------------------------------------------------------------


def test_offline_says_which_file_to_place_where(offline):
    with pytest.raises(ConfigError) as caught:
        build(SMALL, pretrained=True)
    assert f"Download {URL} elsewhere and place it at {offline / URL.rpartition('/')[2]}" in str(caught.value)
    assert "model.weights=FILE" in str(caught.value)


def test_kinetics_weights_start_a_network_of_other_classes(network, placed):
    model = build(SMALL, pretrained=True)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    assert model.head.weight.shape == (3, 512)


def test_a_local_file_does_too(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model = build(SMALL, weights=str(tmp_path / "w.pth"))
    assert torch.equal(model.backbone.layer1[0].conv1[0].weight, network.layer1[0].conv1[0].weight)
    with pytest.raises(CheckpointError, match=r"w\.pth: not weights of r3d_18"):
        build("r3d_18", weights=str(tmp_path / "w.pth"))


@pytest.mark.parametrize("name", network_names())
def test_statistics_come_with_the_weights(name):
    published = NETWORKS[name].pretrained.transforms()
    clip = settle_clip(Config(model=ModelConfig(backbone=name), clip=published_clip(name))).clip
    assert clip.mean == pytest.approx(tuple(published.mean))
    assert clip.std == pytest.approx(tuple(published.std))


def test_settings_go_before_the_weights_statistics():
    settled = settle_clip(load_config(None, ["clip.mean=[0.1,0.2,0.3]", "model.backbone=resnet18"])).clip
    assert settled.mean == (0.1, 0.2, 0.3)
    assert settled.std == (0.229, 0.224, 0.225)


def test_a_model_file_of_ours_brings_its_statistics(tmp_path):
    config = settle_clip(load_config(None, ["model.backbone=compact_cnn", "clip.std=[0.3,0.3,0.3]"]))
    model = build_model(config.model, 2)
    save_checkpoint(tmp_path / "m.safetensors", Checkpoint(model.state_dict(), config, ["a", "b"]))
    heir = settle_clip(load_config(None, [f"model.weights={tmp_path / 'm.safetensors'}"]))
    assert heir.clip.std == (0.3, 0.3, 0.3)
    assert heir.clip.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", network_names())
def test_clips_are_prepared_as_published(name):
    """Held against torchvision's own transforms, on frames whose size neither changes."""
    published = NETWORKS[name].pretrained.transforms()
    clip = published_clip(name)
    height, width = clip.resize or (256, 256)
    rng = np.random.default_rng(0)
    # Rows only: of an odd margin torchvision leaves the larger half on the left, we on the right.
    rows = rng.integers(0, 256, (2, height, 1, 3), dtype=np.uint8)
    frames_THWC = np.ascontiguousarray(rows.repeat(width, axis=2))
    expected_CTHW = published(torch.from_numpy(frames_THWC).permute(0, 3, 1, 2))
    ours_TCHW = ClipTransform(clip)(frames_THWC)
    torch.testing.assert_close(ours_TCHW.transpose(0, 1), expected_CTHW)


@pytest.mark.parametrize(
    ("name", "size"), [("r3d_18", (128, 171)), ("s3d", (256, 256)), ("mvit_v2_s", (256, 455))]
)
def test_frames_are_scaled_as_published(name, size):
    assert ClipTransform(published_clip(name)).decode_size(1080, 1920) == size


# --- training and predicting ----------------------------------------------------------------------


def test_a_whole_network_trains_and_predicts(motion_data, in_tmp_path):
    for split, count in (("train", 3), ("test", 1)):
        for label in ("left", "right"):
            for path in sorted((motion_data / split / label).iterdir())[:count]:
                (in_tmp_path / "data" / split / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, in_tmp_path / "data" / split / label)
    settings = (
        f"model.backbone={SMALL}", "model.head=lstm", "clip.size=32", "clip.length=3", "train.epochs=1",
        "data.val_fraction=0",
    )  # fmt: skip
    options = [word for setting in settings for word in ("--set", setting)]
    trained = CliRunner().invoke(app, ["train", "data", *options, "--device", "cpu"])
    assert trained.exit_code == 0, trained.stderr
    assert f"model.head has no effect with {SMALL}" in trained.stderr
    run = trained.stdout.strip()
    assert run.endswith(SMALL)
    assert load_checkpoint(find_model(run)).config.clip.mean == (0.43216, 0.394666, 0.37645)
    result = CliRunner().invoke(app, ["predict", "data/test", "--model", run, "--format", "json"])
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_published_models_predict_without_training(network, placed, write_video, in_tmp_path):
    write_video(in_tmp_path / "a.mp4", num_frames=6, height=64, width=64)
    result = CliRunner().invoke(
        app, ["predict", "a.mp4", "--model", f"kinetics400-{SMALL}", "--format", "json", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.stderr
    predictions = json.loads(result.stdout)["predictions"]
    assert {row["label"] for row in predictions} < set(video.MC3_18_Weights.DEFAULT.meta["categories"])
    model = load_checkpoint(Path(f"kinetics400-{SMALL}")).build()
    clip_BTCHW = torch.randn(1, 4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(clip_BTCHW), network(clip_BTCHW.transpose(1, 2)))


def test_a_published_model_offline(offline, in_tmp_path):
    result = CliRunner().invoke(app, ["predict", "a.mp4", "--model", "kinetics400"])
    assert result.exit_code == 2
    url = NETWORKS["mvit_v2_s"].pretrained.url
    assert "--model kinetics400: cannot download the weights of mvit_v2_s" in result.stderr
    assert f"Download {url} elsewhere and place it at {offline / url.rpartition('/')[2]}" in result.stderr


def test_a_file_of_another_network_is_named(network, offline):
    offline.mkdir(parents=True)
    url = NETWORKS["r3d_18"].pretrained.url
    torch.save(network.state_dict(), offline / url.rpartition("/")[2])
    with pytest.raises(CheckpointError, match=r"r3d_18-b3b3357e\.pth: not weights of r3d_18.*Delete"):
        load_checkpoint(Path("kinetics400-r3d_18"))


def test_names_of_published_models():
    assert published_names() == ["kinetics400", *(f"kinetics400-{name}" for name in network_names())]
    with pytest.raises(CheckpointError, match="Did you mean 'kinetics400-r3d_18'"):
        find_model("kinetics400-r3d-18")
    with pytest.raises(ValueError, match="no model is published"):
        load_published("kinetics")


def test_a_run_of_the_same_name_goes_first(in_tmp_path):
    config = Config(clip=ClipConfig(length=2))
    model = build_model(config.model, 2)
    (in_tmp_path / "kinetics400").mkdir()
    assert find_model("kinetics400") == Path("kinetics400")  # a data set, not a run
    save_checkpoint(
        in_tmp_path / "kinetics400/model.safetensors", Checkpoint(model.state_dict(), config, ["a", "b"])
    )
    assert find_model("kinetics400") == Path("kinetics400/model.safetensors")
