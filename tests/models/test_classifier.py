"""The classifier as a whole."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError
from vidcli.models import backbone_names, build_model, head_names
from vidcli.models.classifier import frame_differences


def build(num_classes=3, **settings):
    torch.manual_seed(0)
    plain = {"width": 16, "hidden": 16, "shift": False, "frame_differences": False}
    return build_model(ModelConfig(**(plain | settings)), num_classes)


def open_branches(model):
    """Give residual branches weight, as training does: they start silent."""
    for name, parameter in model.named_parameters():
        if name.endswith("bn2.weight"):
            torch.nn.init.ones_(parameter)
    return model


@pytest.mark.parametrize("backbone", ["simple_cnn", "compact_cnn", "resnet18"])
@pytest.mark.parametrize("size", [(16, 16), (64, 112)])
def test_shapes(backbone, size):
    model = build(backbone=backbone, grid=3).eval()
    clip_BTCHW = torch.randn(2, 5, 3, *size)
    assert model.features(clip_BTCHW).shape == (2, 5, 16)
    assert model(clip_BTCHW).shape == (2, 3)


@pytest.mark.parametrize("settings", [{}, {"shift": True, "frame_differences": True}])
def test_clips_do_not_see_each_other(settings):
    model = open_branches(build(**settings)).eval()
    clip_BTCHW = torch.randn(3, 4, 3, 32, 32)
    alone_BK = torch.cat([model(clip_BTCHW[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(clip_BTCHW), alone_BK, rtol=1e-4, atol=1e-5)


def test_frames_do_not_see_each_other_without_shift():
    model = build().eval()
    clip_BTCHW = torch.randn(1, 4, 3, 32, 32)
    alone_BTE = torch.cat([model.features(clip_BTCHW[:, t : t + 1]) for t in range(4)], dim=1)
    torch.testing.assert_close(model.features(clip_BTCHW), alone_BTE, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", [None, "shift", "frame_differences"])
def test_the_mean_head_sees_order_only_through_shift_or_differences(setting):
    model = open_branches(build(head="mean", **({setting: True} if setting else {}))).eval()
    clip_BTCHW = torch.randn(2, 5, 3, 32, 32)
    difference = (model(clip_BTCHW) - model(clip_BTCHW.flip(1))).abs().max()
    assert difference > 1e-3 if setting else difference < 1e-5


def test_one_model_takes_clips_of_several_lengths():
    model = open_branches(build(shift=True)).eval()
    clips = {num_frames: torch.randn(2, num_frames, 3, 32, 32) for num_frames in (1, 2, 7)}
    first = {num_frames: model(clip) for num_frames, clip in clips.items()}
    for num_frames, logits_BK in first.items():
        assert torch.equal(model(clips[num_frames]), logits_BK)


def test_a_copy_shifts_by_its_own_number_of_frames():
    model = open_branches(build(shift=True)).eval()
    twin = copy.deepcopy(model)
    clip_BTCHW = torch.randn(2, 4, 3, 32, 32)
    expected_BK = model(clip_BTCHW)
    model(clip_BTCHW[:, :1])
    assert torch.equal(twin(clip_BTCHW), expected_BK)


def test_frame_differences_are_changes_since_the_previous_frame():
    clip_BTCHW = torch.randn(2, 4, 3, 2, 2)
    change_BTCHW = frame_differences(clip_BTCHW)
    assert not change_BTCHW[:, 0].any()
    for t in range(1, 4):
        assert torch.equal(change_BTCHW[:, t], clip_BTCHW[:, t] - clip_BTCHW[:, t - 1])


def test_the_grid_keeps_where_things_are():
    """Black and white halves trade places: their mean colour stays, their cells do not."""
    clip_BTCHW = torch.zeros(1, 1, 3, 64, 64)
    clip_BTCHW[..., :32] = 1
    swapped_BTCHW = 1 - clip_BTCHW
    model = build(backbone="simple_cnn", grid=2, head="mean").eval()
    assert (model(clip_BTCHW) - model(swapped_BTCHW)).abs().max() > 1e-2


def test_one_batch_is_learned_by_heart():
    model = build(num_classes=4, dropout=0.0)
    clip_BTCHW, label_B = torch.randn(4, 4, 3, 32, 32), torch.arange(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = F.cross_entropy(model(clip_BTCHW), label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert model.eval()(clip_BTCHW).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_the_seed_decides_the_weights():
    first, second = build(shift=True), build(shift=True)
    torch.manual_seed(1)
    other = build_model(first.config, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.projection[0].weight, other.projection[0].weight)


def test_weights_can_be_stored():
    """safetensors refuses tensors that are not contiguous."""
    assert all(value.is_contiguous() for value in build(shift=True).state_dict().values())


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2, 4, 3, 32), torch.float32),
        ((2, 4, 32, 32, 3), torch.float32),
        ((2, 4, 6, 32, 32), torch.float32),
        ((2, 0, 3, 32, 32), torch.float32),
        ((2, 4, 3, 32, 32), torch.uint8),
    ],
)
def test_a_wrong_clip_is_refused(shape, dtype):
    with pytest.raises(ValueError, match="expected a"):
        build()(torch.zeros(shape, dtype=dtype))


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        build(num_classes=0)


@pytest.mark.parametrize(
    ("settings", "nearest"),
    [({"backbone": "resnet81"}, "resnet18"), ({"head": "gruu"}, "gru"), ({"head": "mena"}, "mean")],
)
def test_unknown_names_suggest_the_nearest(settings, nearest):
    with pytest.raises(ConfigError, match=f"unknown model.*Did you mean '{nearest}'"):
        build(**settings)


def test_simple_cnn_cannot_shift():
    with pytest.raises(ConfigError, match=r"model\.shift"):
        build(backbone="simple_cnn", shift=True)


def test_names():
    assert head_names() == [
        "mean",
        "rnn",
        "lstm",
        "gru",
        "attention",
        "attention_rnn",
        "transformer",
        "attentive",
    ]
    assert backbone_names()[:3] == ["simple_cnn", "compact_cnn", "resnet18"]
    assert len(set(backbone_names())) == 14


@pytest.mark.parametrize("backbone", ["simple_cnn", "compact_cnn", "resnet18"])
@torch.no_grad()
def test_a_frame_that_begins_a_clip_is_seen_alike_without_differences(backbone):
    model = open_branches(build(backbone=backbone, shift="off", frame_differences=True)).eval()
    frames = torch.randn(6, 1, 3, 32, 32)
    other = model.without_differences()
    assert sum(p.numel() for p in other.parameters()) < sum(p.numel() for p in model.parameters())
    expected = model.features(frames)
    torch.testing.assert_close(other.features(frames), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.01
    following = model.features(frames.transpose(0, 1))[0, 1:]
    assert not torch.allclose(following, expected[1:, 0], atol=1e-3)  # the model itself still sees them


def test_a_network_that_takes_no_differences_is_its_own():
    model = build(frame_differences=False)
    assert model.without_differences() is model
