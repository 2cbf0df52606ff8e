"""Encoders of transformers: maps, weights of folders and the hub's cache, architectures, refusals."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

transformers = pytest.importorskip("transformers")

from tests.tiny_encoders import CLIP_KINDS, IMAGE_KINDS, write_encoder  # noqa: E402
from vidcli.artifacts.description import Checkpoint  # noqa: E402
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint  # noqa: E402
from vidcli.config import Config, ModelConfig, load_config  # noqa: E402
from vidcli.errors import CheckpointError, ConfigError  # noqa: E402
from vidcli.models import VideoModel, build_model, settle_clip, unused_settings  # noqa: E402
from vidcli.models.registry import HEADS  # noqa: E402

KINDS = [*IMAGE_KINDS, *CLIP_KINDS]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {kind: write_encoder(root / kind, kind) for kind in KINDS}


def settled(backbone: Path | str, *changes: str, **model: Any) -> Config:
    """Return the settings of a small model of an encoder, as training settles them."""
    small = {
        "width": 16,
        "hidden": 16,
        "head": "mean",
        "frame_differences": False,
        "pretrained": True,
    } | model
    assignments = [f"model.{name}={value}" for name, value in small.items()]
    clip = ["clip.length=4", "clip.size=32"]
    return settle_clip(load_config(None, [f"model.backbone=hf:{backbone}", *assignments, *clip, *changes]))


def build(config: Config) -> VideoModel:
    torch.manual_seed(0)
    return build_model(config.model, num_classes=3).eval()


def clips(num_clips: int = 2) -> torch.Tensor:
    return torch.randn(num_clips, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_shows_first_where_it_is(folders, kind):
    """A token knows its own patch best: the map changes most where, and when, a patch changes."""
    backbone = build(settled(folders[kind])).backbone
    clip_BTCHW = clips(1)
    changed_BTCHW = clip_BTCHW.clone()
    changed_BTCHW[0, 2:, :, 8:16, 24:] += 3
    with torch.no_grad():
        if kind in IMAGE_KINDS:
            before, after = backbone(clip_BTCHW[0]), backbone(changed_BTCHW[0])
        else:
            before, after = backbone(clip_BTCHW)[0], backbone(changed_BTCHW)[0]
    assert before.shape == (4 if kind in (*IMAGE_KINDS, "timesformer") else 2, backbone.num_features, 4, 4)
    change_thw = (after - before).abs().sum(1)
    moment, down, across = torch.unravel_index(change_thw.argmax(), change_thw.shape)
    assert (int(down), int(across)) == (1, 3)
    assert int(moment) >= len(change_thw) // 2
    if kind in IMAGE_KINDS:
        assert not change_thw[:2].any()


@pytest.mark.parametrize(
    "kind", ["vit", "dinov2", "dinov3_vit", "siglip", "videomae", "timesformer", "vivit"]
)
def test_tokens_are_those_of_transformers(folders, kind):
    model = build(settled(folders[kind]))
    whole = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    with torch.no_grad():
        if kind == "siglip":
            whole = whole.vision_model
        expected = whole(clips() if kind in CLIP_KINDS else clips().flatten(0, 1)).last_hidden_state
        map_NDhw = model.backbone(clips() if kind in CLIP_KINDS else clips().flatten(0, 1))
    if kind == "videomae":
        expected = F.layer_norm(expected, expected.shape[-1:])
    if kind == "timesformer":
        found = map_NDhw.permute(0, 3, 4, 1, 2).flatten(1, 3)
    elif kind in CLIP_KINDS:
        found = map_NDhw.permute(0, 1, 3, 4, 2).flatten(1, 3)
    else:
        found = map_NDhw.flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected[:, -found.shape[1] :])


def test_clips_last_norm_is_applied_to_patches(folders):
    model = build(settled(folders["clip"]))
    whole = transformers.AutoModel.from_pretrained(folders["clip"]).vision_model.eval()
    frames_NCHW = clips().flatten(0, 1)
    with torch.no_grad():
        expected = whole.post_layernorm(whole(frames_NCHW).last_hidden_state)[:, 1:]
        found = model.backbone(frames_NCHW).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected)


def test_vjepas_tokens_are_those_of_its_encoder(folders):
    model = build(settled(folders["vjepa2"]))
    whole = transformers.AutoModel.from_pretrained(folders["vjepa2"]).eval()
    with torch.no_grad():
        expected = whole.get_vision_features(clips())
        found = model.backbone(clips()).permute(0, 1, 3, 4, 2).flatten(1, 3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_encoder_learns_with_every_head(folders, kind, head):
    model = build(settled(folders[kind], head=head)).train()
    loss = F.cross_entropy(model(clips()), torch.tensor([0, 2]))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_file_needs_nothing_else(folders, kind, tmp_path, monkeypatch):
    folder = tmp_path / "secret" / kind
    shutil.copytree(folders[kind], folder)
    config = settled(folder)
    model = build(config)
    save_checkpoint(tmp_path / "m.safetensors", Checkpoint(model.state_dict(), config, ("a", "b", "c")))
    shutil.rmtree(folder)
    checkpoint = load_checkpoint(tmp_path / "m.safetensors")
    assert checkpoint.config.model.backbone == f"hf:{kind}"
    assert checkpoint.config.model.architecture == config.model.architecture
    assert b"secret" not in (tmp_path / "m.safetensors").read_bytes()
    with torch.no_grad():
        assert torch.equal(checkpoint.build()(clips()), model(clips()))


@pytest.mark.parametrize("kind", ["vit", "deit", "dinov2", "clip", "siglip", "dinov3_vit"])
def test_image_encoders_take_frames_of_other_sizes(folders, kind):
    model = build(settled(folders[kind], "clip.size=48x24"))
    assert model.backbone(torch.randn(2, 3, 48, 24)).shape == (2, 32, 6, 3)


def test_differences_start_as_if_they_were_not_there(folders):
    plain, wide = (build(settled(folders["dinov2"], frame_differences=on)) for on in (False, True))
    frames_NCHW = torch.randn(2, 6, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(wide.backbone(frames_NCHW), plain.backbone(frames_NCHW[:, :3]))


def test_clip_encoders_take_no_differences_and_no_shift(folders):
    config = settled(folders["videomae"], frame_differences=True, shift="on", head="gru")
    assert build(config)(clips()).shape == (2, 3)
    assert unused_settings(config.model) == ["model.shift"]


def test_an_architecture_without_an_encoder_is_unused():
    assert unused_settings(ModelConfig(architecture={"model_type": "vit"})) == ["model.architecture"]


@pytest.mark.parametrize("form", ["sharded", "pickle"])
def test_other_forms_of_weights(folders, form, tmp_path):
    expected = build(settled(folders["vit"]))
    folder = tmp_path / "vit"
    shutil.copytree(folders["vit"], folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if form == "pickle":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        names = sorted(weights)
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for file, of_file in parts.items():
            safetensors.torch.save_file({name: weights[name] for name in of_file}, folder / file)
        index = {"weight_map": {name: file for file, of_file in parts.items() for name in of_file}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = build(settled(folder))
    assert torch.equal(model(clips()), expected(clips()))


def test_weights_files_of_both_namings(folders, tmp_path):
    donor = build(settled(folders["videomae"]))
    safetensors.torch.save_file(donor.state_dict(), tmp_path / "ours.safetensors")
    for file in (tmp_path / "ours.safetensors", folders["videomae"] / "model.safetensors"):
        model = build(settled(folders["videomae"], pretrained=False, weights=file))
        for name, value in donor.backbone.state_dict().items():
            assert torch.equal(model.backbone.state_dict()[name], value), name


def test_without_weights_the_start_is_random(folders):
    random = build(settled(folders["vit"], pretrained=False))
    trained = build(settled(folders["vit"]))
    assert not torch.equal(random.backbone(clips()[0]), trained.backbone(clips()[0]))


@pytest.mark.parametrize(
    ("about", "mean", "std"),
    [
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.2, 0.3, 0.4]}, (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)),
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        # -1 to 1, and then again: four times the value less three.
        ({"offset": True, "rescale_factor": 1 / 127.5, "image_mean": [0.5] * 3}, (0.75,) * 3, (0.25,) * 3),
    ],
)
def test_channel_statistics_are_those_of_the_preprocessor(tmp_path, about, mean, std):
    clip = settled(write_encoder(tmp_path / "vit", "vit", about)).clip
    assert clip.mean == pytest.approx(mean)
    assert clip.std == pytest.approx(std)


def test_channel_statistics_without_a_preprocessor(folders):
    assert settled(folders["clip"]).clip.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


@pytest.mark.parametrize("about", [{"image_mean": [5, 5, 5]}, {"image_std": 3}, {"image_std": ["a"] * 3}])
def test_channel_statistics_that_cannot_be(tmp_path, about):
    folder = write_encoder(tmp_path / "vit", "vit", about)
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json: holds channel statistics"):
        settled(folder)


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("dinov2", "clip.size=36", r"patches of 8x8 pixels.*36x36 is no multiple.*clip\.size=224"),
        ("videomae", "clip.length=8", r"clips of 4 frames of 32x32.*clip\.length=4 and clip\.size=32"),
        ("vivit", "clip.size=40", r"clips of 4 frames of 32x32"),
        ("vjepa2", "clip.length=3", r"a multiple of 2 frames of 32x32"),
    ],
)
def test_clips_that_an_encoder_cannot_take(folders, kind, change, told):
    with pytest.raises(ConfigError, match=told):
        settled(folders[kind], change)


def test_vjepa_takes_more_frames_than_it_was_trained_with(folders):
    model = build(settled(folders["vjepa2"], "clip.length=6"))
    assert model.encode(torch.randn(1, 6, 3, 32, 32)).shape[:2] == (1, 3)


def rewrite(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "dinov"}, r"config\.json: model_type 'dinov' is no encoder.*Did you mean 'dinov2'"),
        ({"model_type": ["vit"]}, "is no encoder"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 1000000000 cannot be"),
        ({"hidden_size": -4}, "hidden_size -4 cannot be"),
        ({"hidden_act": "x" * 1000}, "hidden_act .* cannot be"),
        ({"hidden_size": {"a": 1}}, "hidden_size .* cannot be"),
        ({"hidden_act": "no_such"}, "there is no such encoder"),
    ],
)
def test_architectures_that_cannot_be(tmp_path, changes, told):
    folder = rewrite(write_encoder(tmp_path / "vit", "vit"), **changes)
    with pytest.raises(ConfigError, match=told):
        build(settled(folder))


def test_only_what_the_kind_has_of_its_own_is_taken(tmp_path):
    """Kernels, code and files that a configuration may name are not."""
    folder = rewrite(
        write_encoder(tmp_path / "vit", "vit"),
        attn_implementation="stranger/kernel",
        _attn_implementation="stranger/kernel",
        auto_map={"AutoModel": "code.Network"},
        quantization_config={"quant_method": "bitsandbytes"},
        dtype="float16",
    )
    config = settled(folder)
    assert set(config.model.architecture) & {"auto_map", "quantization_config", "dtype"} == set()
    network = build(config).backbone.network
    assert network.config._attn_implementation in ("sdpa", "eager")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_weights_of_another_network(folders, tmp_path):
    folder = rewrite(shutil.copytree(folders["vit"], tmp_path / "vit"), num_hidden_layers=4)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not the weights.*16 are missing"):
        build(settled(folder))
    rewrite(folder, num_hidden_layers=3, hidden_size=64)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not the weights"):
        build(settled(folder))


def test_damaged_and_missing_files(folders, tmp_path):
    folder = shutil.copytree(folders["vit"], tmp_path / "vit")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read as weights"):
        build(settled(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"vit holds none of model\.safetensors"):
        build(settled(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read as JSON"):
        settled(folder)


def test_an_index_names_only_files_beside_it(folders, tmp_path):
    folder = shutil.copytree(folders["vit"], tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    for file in ("../x.safetensors", "code.py", "a.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": file}}))
        with pytest.raises(CheckpointError, match=r"index\.json: names"):
            build(settled(folder))


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "a/b/c", "../up"])
def test_names_that_are_neither_folder_nor_hub(name):
    with pytest.raises(ConfigError, match=r"no such folder, and no name of the Hugging Face hub"):
        settled(name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on this machine, empty, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_files_come_from_the_hubs_cache(hub, folders):
    folder = hub / "models--lab--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0")
    shutil.copytree(folders["vit"], folder / "snapshots" / "0")
    (folder / "snapshots" / "0" / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.4, 0.4]}')
    no_exist = folder / ".no_exist" / "0"
    no_exist.mkdir(parents=True)
    (no_exist / "video_preprocessor_config.json").touch()
    config = settled("lab/tiny")
    assert config.clip.mean == (0.4, 0.4, 0.4)
    assert torch.equal(build(config)(clips()), build(settled(folders["vit"]))(clips()))
    assert settled("lab/tiny", pretrained=False).model.architecture == config.model.architecture


def test_without_a_network_it_says_which_files_to_place_where(hub):
    told = r"cannot fetch config\.json of hf:lab/tiny.*https://huggingface\.co/lab/tiny.*model\.backbone=hf:FOLDER"
    with pytest.raises(ConfigError, match=told):
        settled("lab/tiny")


def test_nothing_is_fetched_unless_asked(hub, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ConfigError, match=r"config\.json is not on this machine.*model\.pretrained=true"):
        settled("lab/tiny", pretrained=False)


def test_a_model_file_without_its_architecture_is_refused(folders, tmp_path):
    config = settled(folders["vit"])
    bare = config.model_copy(update={"model": config.model.model_copy(update={"architecture": None})})
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, Checkpoint(build(config).state_dict(), bare, ("a", "b", "c")))
    with pytest.raises(CheckpointError, match=r"without model\.architecture"):
        load_checkpoint(path)


def test_a_model_file_of_another_version_says_so(folders, tmp_path):
    config = settled(folders["vit"])
    older = config.model.architecture | {"transformers_version": "4.9"}
    config = config.model_copy(update={"model": config.model.model_copy(update={"architecture": older})})
    weights = {name.replace("layers", "layer"): value for name, value in build(config).state_dict().items()}
    save_checkpoint(tmp_path / "m.safetensors", Checkpoint(weights, config, ("a", "b", "c")))
    with pytest.raises(CheckpointError, match=r"made with transformers 4\.9.*install that version"):
        load_checkpoint(tmp_path / "m.safetensors")


def test_without_transformers_the_extra_is_named(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"needs transformers, which is not installed.*vidcli\[hf\]"):
        settled(folders["vit"])
