"""One update of the weights, against what torch or pencil and paper say."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from vidcli.artifacts.resume_file import load_resume
from vidcli.errors import TrainError
from vidcli.models import build_model
from vidcli.train import Notice
from vidcli.train.freezing import backbone_stages
from vidcli.train.loss import ClipLoss
from vidcli.train.update import Updater

CPU = torch.device("cpu")
COUNTS = (6, 3, 3)
STEPS_PER_EPOCH = 4


@pytest.fixture
def make_updater(small_config):
    """Build an updater of a small model of three classes; settings by keyword, as in small_config."""

    def make(**changes):
        plain = {"model__dropout": 0, "train__warmup_epochs": 0, "train__epochs": 4, "train__grad_clip": 0}
        config = small_config(**(plain | changes))
        torch.manual_seed(0)
        return Updater(build_model(config.model, 3), config, COUNTS, STEPS_PER_EPOCH, CPU)

    return make


def batch(seed=0, num_clips=10, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(num_clips, 4, 3, 32, 32, generator=generator) * scale
    return clips, torch.randint(0, 3, (num_clips,), generator=generator)


def run(updater, num_epochs=1):
    position = 0
    for epoch in range(num_epochs):
        updater.start_epoch(epoch)
        for _ in range(STEPS_PER_EPOCH):
            result = updater(*batch(position), position)
            position += 1
    return result


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, model, prefix=""):
    """Return the names of the entries that are no longer what they were."""
    return {
        name
        for name, value in model.state_dict().items()
        if name.startswith(prefix) and not torch.equal(value, before[name])
    }


# --- accumulation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("class_balance", ["off", "loss"])
def test_parts_of_a_batch_do_what_the_whole_does(make_updater, optimizer, class_balance):
    settings = {
        "model__backbone": "simple_cnn", "train__optimizer": optimizer,
        "train__class_balance": class_balance, "train__grad_clip": 0.5,
    }  # fmt: skip
    whole, parts = make_updater(**settings), make_updater(**settings, train__accumulate=4)
    first, second = run(whole), run(parts)  # ten clips in parts of 3, 3, 3 and 1
    assert second.loss == pytest.approx(first.loss, abs=1e-6)
    assert second.num_correct == first.num_correct
    for (name, one), other in zip(
        whole.model.named_parameters(), parts.model.parameters(), strict=True
    ):  # a rounding error of a gradient near zero is a whole step of adamw
        assert torch.allclose(one, other, rtol=0, atol=1e-6 if optimizer == "sgd" else 1e-4), name


def test_more_parts_than_clips_are_as_many_as_there_are_clips(make_updater):
    one, many = (make_updater(model__backbone="simple_cnn", train__accumulate=n) for n in (3, 64))
    clips, labels = batch(num_clips=3)
    assert one(clips, labels, 0) == many(clips, labels, 0)


def test_a_loss_that_is_no_number_leaves_the_weights(make_updater):
    updater = make_updater(train__accumulate=2, model__backbone="simple_cnn", train__ema=0.9)
    before = weights_of(updater.model)
    clips, labels = batch()
    clips[-1] = torch.nan  # in the second part
    assert torch.isnan(torch.tensor(updater(clips, labels, 0).loss))
    assert changed(before, updater.model) == set()
    assert changed(before, updater.evaluated_model) == set()


# --- loss -----------------------------------------------------------------------------------------


def test_plain_loss_is_torchs():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 0])
    assert torch.equal(
        ClipLoss(0.1, None, CPU)(logits, labels),
        functional.cross_entropy(logits, labels, label_smoothing=0.1),
    )


def test_weights_make_all_classes_count_the_same():
    torch.manual_seed(0)
    loss = ClipLoss(0.1, COUNTS, CPU)
    # Over an epoch the weights are 1 in the mean, and each class has a third of them.
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 3)
    logits = torch.randn(12, 3)
    each = functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    expected = (each[:6].mean() + each[6:9].mean() + each[9:].mean()) / 3
    assert loss(logits, labels) == pytest.approx(expected.item(), rel=1e-6)
    as_probabilities = functional.one_hot(labels, 3).float()
    assert loss(logits, as_probabilities) == pytest.approx(expected.item(), rel=1e-6)


# --- running average ------------------------------------------------------------------------------


def test_average_follows_the_formula_and_is_what_is_evaluated(make_updater):
    updater = make_updater(train__ema=0.5)
    expected = {name: value.double() for name, value in weights_of(updater.model).items()}
    updater.start_epoch(0)
    for position in range(STEPS_PER_EPOCH):
        updater(*batch(position), position)
        decay = min(0.5, (1 + position) / (10 + position))
        for name, value in weights_of(updater.model).items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
            if not value.is_floating_point():
                expected[name] = value.double()
    average = updater.evaluated_model
    assert average is not updater.model
    for name, value in average.state_dict().items():
        assert torch.allclose(value.double(), expected[name], rtol=1e-5, atol=1e-6), name
    assert any("running_mean" in name for name in expected)
    assert not average.training
    assert updater.model.training


def test_run_saves_and_validates_the_average(small_config, pair_data, train_run, same_weights):
    averaged = train_run(small_config(train__ema=0.9), pair_data, "averaged")
    plain = train_run(small_config(), pair_data, "plain")
    assert averaged.rows[0].train_loss == plain.rows[0].train_loss
    assert averaged.rows[0].val_loss != plain.rows[0].val_loss
    state = load_resume(averaged.folder / "resume.pt")
    same_weights(dict(sorted(state["average"].items())), averaged.weights())
    same_weights(dict(sorted(state["model"].items())), plain.weights())


# --- what learns ----------------------------------------------------------------------------------


def test_backbone_waits_and_then_joins_last_stage_first(make_updater):
    updater = make_updater(train__freeze_epochs=1, train__unfreeze_every=1)
    first_learnt = {}
    for epoch in range(7):
        before = weights_of(updater.model)
        updater.start_epoch(epoch)
        updater(*batch(epoch), epoch)
        for name in changed(before, updater.model):
            first_learnt.setdefault(name.split(".")[1] if name.startswith("backbone.") else "rest", epoch)
    expected = {"stage4": 1, "stage3": 2, "stage2": 3, "stage1": 4, "stem": 5, "bn": 5, "rest": 0}
    assert first_learnt == expected
    assert updater.freezing.full_epoch == 5


def test_frozen_backbone_neither_learns_nor_counts(make_updater):
    updater = make_updater(train__freeze_epochs=2)
    before = weights_of(updater.model)
    run(updater, num_epochs=2)
    assert changed(before, updater.model, "backbone.") == set()  # statistics of BatchNorm included
    assert changed(before, updater.model, "head.")
    updater.start_epoch(2)
    updater(*batch(), 8)
    assert len(changed(before, updater.model, "backbone.")) > 30


def test_batchnorm_statistics_stay_and_the_rest_learns(make_updater):
    updater = make_updater(train__freeze_batchnorm=True)
    before = weights_of(updater.model)
    run(updater)
    names = changed(before, updater.model)
    assert not [name for name in names if "running" in name or "tracked" in name]
    assert "backbone.bn.weight" in names
    assert "backbone.stem.weight" in names


def test_backbone_learns_at_its_share_of_the_rate(make_updater):
    settings = {"train__optimizer": "sgd", "train__momentum": 0, "train__weight_decay": 0, "train__lr": 0.5}
    models = []
    for ratio in (1, 0.25):
        updater = make_updater(**settings, train__backbone_lr_ratio=ratio)
        before = copy.deepcopy(updater.model)
        updater.start_epoch(0)
        updater(*batch(), 0)
        models.append((before, updater.model))
    for (name, start), full, quarter in zip(
        models[0][0].named_parameters(), models[0][1].parameters(), models[1][1].parameters(), strict=True
    ):
        share = 0.25 if name.startswith("backbone.") else 1.0
        assert torch.allclose(quarter - start, (full - start) * share, rtol=1e-3, atol=1e-7), name


@pytest.mark.parametrize(
    ("backbone", "num_stages"),
    [("compact_cnn", 5), ("simple_cnn", 2), ("resnet18", 5), ("regnet_y_400mf", 5), ("convnext_tiny", 8)],
)  # fmt: skip
def test_stages_hold_every_parameter_once(small_config, backbone, num_stages):
    model = build_model(small_config(model__backbone=backbone).model, 2)
    stages = backbone_stages(model.backbone)
    assert len(stages) == num_stages
    held = [id(p) for stage in stages for module in stage for p in module.parameters()]
    assert held == [id(p) for p in model.backbone.parameters()]
    assert not any(isinstance(stage[0], nn.BatchNorm2d) for stage in stages)


# --- precision and compilation --------------------------------------------------------------------


def test_float16_scales_its_loss_and_skips_what_overflows(make_updater):
    updater = make_updater(train__precision="float16")
    before = weights_of(updater.model)
    # The scale starts at 65536, more than float16 can hold of these gradients.
    updater(*batch(scale=100), 0)
    first_scale = updater.state_dict()["scaler"]["scale"]
    for position in range(1, 6):
        result = updater(*batch(position), position)
    assert first_scale <= 65536
    assert updater.state_dict()["scaler"]["scale"] <= first_scale
    assert changed(before, updater.model, "head.")
    assert all(value.isfinite().all() for value in updater.model.state_dict().values())
    again = make_updater(train__precision="float16")
    again.load_state_dict(updater.state_dict())
    assert again.state_dict()["scaler"] == updater.state_dict()["scaler"]
    assert result.loss < 5


def test_overflowing_gradients_change_nothing_but_the_scale(make_updater):
    updater = make_updater(train__precision="float16", model__backbone="simple_cnn")
    before = weights_of(updater.model)
    state = updater.state_dict()
    state["scaler"]["scale"] = 2.0**120
    updater.load_state_dict(state)
    updater(*batch(), 0)
    assert changed(before, updater.model) == set()
    assert updater.state_dict()["scaler"]["scale"] == 2.0**119


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, while it traces
def test_compiled_model_does_what_the_plain_one_does(make_updater, monkeypatch):
    # Traced as for real, but without the minutes that writing C++ takes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain = make_updater(model__shift="on")
    compiled = make_updater(model__shift="on", train__compile="on")
    assert run(compiled).loss == pytest.approx(run(plain).loss, rel=1e-5)
    assert list(compiled.state_dict()["model"]) == list(plain.state_dict()["model"])


def test_model_that_cannot_be_compiled_is_an_error_with_a_way_out(make_updater, monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=no_compiler))
    updater = make_updater(train__compile="on")
    with pytest.raises(TrainError, match=r"train\.compile=on: .*cannot be compiled.*set train\.compile=off"):
        run(updater)


# --- what has no effect is told -------------------------------------------------------------------


def advice_of(run):
    """Return the notices of a run except the one that says where frames are kept."""
    return [event.text for event in run.of(Notice) if not event.text.startswith("frames ")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.momentum": 0.5}, ["train.momentum has no effect with train.optimizer=adamw"]),
        ({"train.momentum": 0.5, "train.optimizer": "sgd"}, []),
        ({"clip.stride_seconds": 0.5}, ["clip.stride_seconds has no effect with clip.sampling=segments"]),
        ({"clip.stride_seconds": 0.5, "clip.sampling": "dense"}, []),
        (
            {"clip.resize": "40", "clip.fit": "stretch", "clip.crop_ratio": 0.8},
            [f"clip.{name} has no effect with clip.resize" for name in ("fit", "crop_ratio")],
        ),
        # The window around what moves is a share of the scaled frame again.
        ({"clip.resize": "40", "clip.crop_ratio": 0.8, "clip.focus": 0.5}, []),
        ({"train.freeze_batchnorm": True}, ["train.freeze_batchnorm holds on to a backbone"]),
        (
            {"train.freeze_epochs": 9, "train.backbone_lr_ratio": 0.1, "train.frozen_clips": 0},
            [
                "train.backbone_lr_ratio has no effect when the backbone stays frozen",
                "train.freeze_epochs holds on to a backbone that starts random",
            ],
        ),
        (
            {"train.unfreeze_every": 2, "train.epochs": 2},
            [
                "train.unfreeze_every holds on",
                "the last of the backbone's 5 stages learns from epoch 1, the first from epoch 9 of 2",
            ],
        ),
    ],
)  # fmt: skip
def test_settings_without_effect_are_told(changes, told, small_config, pair_data, train_run):
    run = train_run(small_config({"augment.flip": "off"} | changes), pair_data)
    texts = advice_of(run)
    assert len(texts) == len(told)
    assert all(text.startswith(start) for text, start in zip(texts, told, strict=True))


def test_patience_needs_validation(small_config, pair_data, train_run):
    (pair_data / "val").rename(pair_data.parent / "unused")
    run = train_run(small_config(augment__flip="off", data__val_fraction=0, train__patience=3), pair_data)
    assert advice_of(run) == ["train.patience has no effect without validation videos"]
