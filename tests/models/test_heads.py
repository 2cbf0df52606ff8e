"""Every head: any number of frames, gradients, order, attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError
from vidcli.models import build_model, unused_settings
from vidcli.models.registry import HEADS, find_head

ORDER_BLIND = {"mean", "attention"}
WITH_ATTENTION = {"attention", "attention_rnn", "transformer", "attentive"}


def build_head(name, **settings):
    torch.manual_seed(0)
    return find_head(name).build(ModelConfig(head=name, width=16, hidden=24, **settings), 5).eval()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("num_clips", "num_frames"), [(1, 1), (1, 7), (3, 1), (3, 7)])
def test_any_number_of_clips_and_frames(name, num_clips, num_frames):
    head = build_head(name, layers=2)
    features_BTE = torch.randn(num_clips, num_frames, 16)
    logits_BK = head(features_BTE)
    assert logits_BK.shape == (num_clips, 5)
    torch.testing.assert_close(logits_BK[:1], head(features_BTE[:1]))  # clips do not see each other


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_gradient_reaches_every_parameter(name, bidirectional):
    torch.manual_seed(0)
    config = ModelConfig(
        head=name,
        width=16,
        hidden=16,
        layers=2,
        bidirectional=bidirectional,
        shift=True,
        frame_differences=True,
    )
    model = build_model(config, num_classes=3)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bn2.weight"):
            torch.nn.init.ones_(parameter)  # zero at first, which keeps gradients out of the branch
    F.cross_entropy(model(torch.randn(2, 4, 3, 32, 32)), torch.tensor([0, 2])).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@pytest.mark.parametrize("name", HEADS)
def test_order_of_frames_counts_where_it_should(name):
    head = build_head(name)
    features_BTE = torch.randn(2, 6, 16)
    logits_BK, reversed_BK = head(features_BTE), head(features_BTE.flip(1))
    if name in ORDER_BLIND:
        torch.testing.assert_close(logits_BK, reversed_BK)
        torch.testing.assert_close(logits_BK, head(features_BTE[:, [3, 0, 5, 1, 4, 2]]))
    else:
        assert (logits_BK - reversed_BK).abs().max() > 1e-3


@pytest.mark.parametrize("name", HEADS)
def test_every_frame_counts(name):
    head = build_head(name)
    features_BTE = torch.randn(1, 5, 16, requires_grad=True)
    head(features_BTE)[0, 0].backward()
    assert (features_BTE.grad.abs().amax(dim=2) > 0).all()


@pytest.mark.parametrize("name", sorted(WITH_ATTENTION))
def test_frame_weights_are_shares_that_follow_their_frames(name):
    head = build_head(name, layers=2)
    features_BTE = torch.randn(2, 6, 16)
    weights_BT = head.frame_weights(features_BTE)
    assert weights_BT.shape == (2, 6)
    assert (weights_BT > 0).all()
    torch.testing.assert_close(weights_BT.sum(dim=1), torch.ones(2))
    assert weights_BT.std() > 1e-4
    if name not in ("transformer", "attentive"):  # which know positions
        torch.testing.assert_close(head.frame_weights(features_BTE.flip(1)), weights_BT.flip(1))


def test_attention_prefers_the_frames_that_resemble_many():
    features_BTE = torch.randn(1, 5, 16)
    features_BTE[:, :4] = features_BTE[:, :1]  # four alike, one odd
    weights_T = build_head("attention").frame_weights(features_BTE)[0]
    assert weights_T[4] < weights_T[0]


def test_only_heads_with_attention_have_frame_weights():
    assert {name for name in HEADS if hasattr(build_head(name), "frame_weights")} == WITH_ATTENTION


@pytest.mark.parametrize("name", HEADS)
def test_no_class_starts_ahead(name):
    logits_BK = build_head(name)(torch.randn(64, 4, 16))
    assert logits_BK.abs().max() < 5
    assert logits_BK.std() > 0.05


@pytest.mark.parametrize("name", ["transformer", "attentive"])
def test_attention_heads_must_divide_the_width(name):
    with pytest.raises(ConfigError, match=r"attention_heads is 6 .* model\.width, 16.* such as 2"):
        build_head(name, attention_heads=6)


def test_places_count_for_queries():
    head = build_head("attentive", queries=3)
    tokens_BTPE = torch.randn(2, 3, 4, 16)
    turned_BTPE = tokens_BTPE[:, :, [1, 3, 0, 2]]
    assert (head(tokens_BTPE) - head(turned_BTPE)).abs().max() > 1e-4
    weights_BT = head.frame_weights(tokens_BTPE)
    torch.testing.assert_close(weights_BT.sum(dim=1), torch.ones(2))
    assert weights_BT.shape == (2, 3)


def test_queries_look_at_each_cell_by_itself():
    torch.manual_seed(0)
    model = build_model(ModelConfig(head="attentive", grid=3, width=16), num_classes=3).eval()
    features_BTPE = model.features(torch.randn(2, 4, 3, 96, 96))
    assert features_BTPE.shape == (2, 4, 9, 16)
    cells_BTDgg = model.encode(torch.randn(2, 4, 3, 96, 96)).unflatten(2, (-1, 3, 3))
    other_BTDgg = cells_BTDgg.clone()
    other_BTDgg[:, 1, :, 2, 1] += 1
    changed = model.projection(cells_BTDgg.flatten(2)) != model.projection(other_BTDgg.flatten(2))
    assert changed.any(dim=3).any(dim=0).nonzero().tolist() == [[1, 7]]


def test_transformer_layers_start_different():
    head = build_head("transformer", layers=2)
    assert not torch.equal(head.layers[0].mix.weight, head.layers[1].mix.weight)


def test_lstm_starts_with_its_forget_gate_open():
    bias = build_head("lstm").recurrent.bias_ih_l0
    assert bias.tolist() == [0.0] * 24 + [1.0] * 24 + [0.0] * 48


@pytest.mark.parametrize(
    ("settings", "unused"),
    [
        ({}, []),
        ({"head": "mean"}, []),
        ({"head": "mean", "bidirectional": True}, ["model.bidirectional"]),
        ({"head": "attention", "layers": 2, "hidden": 64}, ["model.hidden", "model.layers"]),
        ({"head": "gru", "layers": 2, "hidden": 64, "bidirectional": True}, []),
        ({"head": "gru", "attention_heads": 2}, ["model.attention_heads"]),
        ({"head": "transformer", "attention_heads": 2, "layers": 2, "hidden": 64}, []),
        ({"head": "transformer", "bidirectional": True}, ["model.bidirectional"]),
        ({"backbone": "resnet18", "pretrained": True, "weights": "x.pth"}, ["model.pretrained"]),
        ({"backbone": "resnet18", "pretrained": True}, []),
    ],
)
def test_unused_settings_are_named(settings, unused):
    assert unused_settings(ModelConfig(**settings)) == unused


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "change", [{"hidden": 32}, {"layers": 2}, {"bidirectional": True}, {"attention_heads": 2}]
)
def test_a_setting_is_unused_exactly_when_it_changes_nothing(name, change):
    """A longer head or another result of the same weights: one of the two shows an effect."""
    before = build_head(name)
    torch.manual_seed(0)
    settings = {"head": name, "width": 16, "hidden": 24, **change}
    after = find_head(name).build(ModelConfig(**settings), 5).eval()
    features_BTE = torch.randn(2, 4, 16)
    same = [p.shape for p in before.parameters()] == [p.shape for p in after.parameters()]
    same = same and torch.equal(before(features_BTE), after(features_BTE))
    config = ModelConfig(head=name, **change)
    assert unused_settings(config) == ([f"model.{next(iter(change))}"] if same else [])


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("parts", [(1,) * 7, (3, 4), (7,)])
def test_a_one_way_head_goes_on_from_its_state(name, parts):
    head = build_head(name, layers=2)
    features_BTE = torch.randn(2, 7, 16)
    state, end = None, 0
    for part_BTE in features_BTE.split(list(parts), dim=1):
        logits_BK, state = head.advance(part_BTE, state)
        end += part_BTE.shape[1]
        torch.testing.assert_close(logits_BK, head(features_BTE[:, :end]))
    assert end == 7
    both_ways = build_head(name, bidirectional=True)
    assert head.is_one_way
    assert not both_ways.is_one_way
    with pytest.raises(ValueError, match="reads from the end as well"):
        both_ways.advance(features_BTE, None)
