"""train --compare: an answer that is right where it is known, and a test split left alone."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.commands.app import app
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.console.training_view import print_comparison
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, DataError, TrainError
from vidcli.evaluate import bootstrap_over_groups
from vidcli.features.frozen_backbone import VideoFeatures
from vidcli.models import FeatureClassifier, head_names, heads_that_see_order
from vidcli.train import Notice, compare, compare_heads
from vidcli.train.head_trials import HeadScore, HeadTrials, score_heads

CPU = torch.device("cpu")


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "80"})


@pytest.fixture
def two_classes(motion_data, tmp_path):
    """Two classes, 4 train, 2 val and 2 test videos each."""
    for split in ("train", "val", "test"):
        for label in ("left", "right"):
            shutil.copytree(motion_data / split / label, tmp_path / "data" / split / label)
    return tmp_path / "data"


@pytest.fixture
def recorded(monkeypatch):
    """Note which videos heads are trained and scored on."""
    seen = {"train": set(), "score": set()}
    for name in seen:
        real = getattr(HeadTrials, name)

        def note(self, *arguments, name=name, real=real):
            seen[name] |= {self.items[int(index)].path for index in arguments[-1]}
            return real(self, *arguments)

        monkeypatch.setattr(HeadTrials, name, note)
    return seen


def features_where_order_is_all(num_videos, seed):
    """Videos of two classes: a pulse goes from the first feature to the second, or back."""
    rng = np.random.default_rng(seed)
    videos = []
    for number in range(num_videos):
        ramp_T = np.linspace(0, 1, 6)
        order = rng.permutation(6)
        ramp_T = ramp_T if number % 2 else 1 - ramp_T
        features_VTF = np.stack([ramp_T, 1 - ramp_T, *rng.normal(0, 0.1, (2, 6))], axis=1)[None]
        features_VTF = features_VTF.astype(np.float32)
        item = VideoItem(f"{number}.mp4", ("back", "forth")[number % 2], "train")
        videos.append(VideoFeatures(item, features_VTF, features_VTF[:, order]))
    return videos


def test_heads_that_see_order_need_it(small_config):
    config = small_config(train__epochs=15, train__lr=1e-2, train__warmup_epochs=1, model__dropout=0)
    trials = HeadTrials(config, features_where_order_is_all(40, seed=0), CPU)
    scores, correct = score_heads(trials, np.arange(40) // 2 % 2, lambda done, total: None)
    assert [score.head for score in scores] == head_names()
    for score in scores:
        if score.head in ("rnn", "lstm", "gru", "transformer"):
            assert score.ordered > 0.9, score
        assert score.shuffled < 0.8, score
        if not score.sees_order:
            assert score.ordered < 0.8, score
    gains_N = np.mean([correct[h, "ordered"] * 1.0 - correct[h, "shuffled"] for h in ("gru", "lstm")], axis=0)
    low, high = bootstrap_over_groups(gains_N, trials.items, seed=0)
    assert 0 < low < gains_N.mean() < high


def test_a_head_learns_what_the_settings_of_an_update_say(small_config):
    """The loss is weighted, gradients are accumulated and weights are averaged as in training."""
    videos, chosen = features_where_order_is_all(12, seed=0), torch.arange(9)
    changes = {"train.epochs": 2, "train.batch_size": 4, "model.dropout": 0}

    def weights(**settings):
        trained = HeadTrials(small_config(changes, **settings), videos, CPU).train("gru", "ordered", chosen)
        return torch.cat([tensor.flatten() for tensor in trained.model.state_dict().values()])

    plain = weights()
    assert torch.equal(weights(augment__mixup=0.5, train__compile="on"), plain)  # neither is for features
    torch.testing.assert_close(weights(train__accumulate=3), plain, rtol=1e-3, atol=1e-4)
    for changed in ({"train__class_balance": "loss"}, {"train__ema": 0.9}):
        assert not torch.allclose(weights(**changed), plain, rtol=1e-3, atol=1e-4), changed


def test_a_head_whose_loss_is_no_number_is_named(small_config):
    videos = features_where_order_is_all(8, seed=0)
    videos[0].ordered_VTF[:] = np.nan
    with pytest.raises(TrainError, match=r"the loss of the head gru became nan in epoch 1\. Lower train\.lr"):
        HeadTrials(small_config(), videos, CPU).train("gru", "ordered", torch.arange(8))


def test_the_interval_takes_whole_groups():
    """Ten groups of ten equal videos know as little as ten videos."""
    gains_N = np.repeat([1.0, 0.0] * 5, 10)
    grouped = [VideoItem(f"{n}.mp4", "a", group=str(n // 10)) for n in range(100)]
    alone = [VideoItem(f"{n}.mp4", "a") for n in range(100)]
    wide, narrow = (bootstrap_over_groups(gains_N, items, seed=0) for items in (grouped, alone))
    assert np.subtract(*wide[::-1]) == pytest.approx(np.sqrt(10) * np.subtract(*narrow[::-1]), rel=0.15)
    assert sum(wide) == pytest.approx(1.0, abs=0.1)


def test_standardisation_can_be_absorbed(small_config):
    torch.manual_seed(0)
    model = FeatureClassifier(6, 3, small_config().model).eval()
    cells_BTF, mean_F, std_F = torch.randn(2, 4, 6) * 5 + 3, torch.randn(6), torch.rand(6) + 0.5
    with torch.inference_mode():
        expected = model((cells_BTF - mean_F) / std_F)
    model.absorb_standardisation(mean_F, std_F)
    with torch.inference_mode():
        torch.testing.assert_close(model(cells_BTF), expected)


def test_val_is_scored_and_test_left_alone(two_classes, small_config, recorded):
    found = compare_heads(small_config(), two_classes, "auto", None, CPU, lambda event: None)
    assert {path.parts[-3] for path in recorded["train"]} == {"train"}
    assert {path.parts[-3] for path in recorded["score"]} == {"val"}
    assert (found.num_videos, found.num_videos_read) == (4, 12)
    assert "val split" in found.scored_on


def test_folds_of_train_are_scored_without_val(two_classes, small_config, recorded):
    shutil.rmtree(two_classes / "val")
    found = compare_heads(small_config(), two_classes, "auto", None, CPU, lambda event: None)
    assert {path.parts[-3] for path in recorded["train"] | recorded["score"]} == {"train"}
    assert len(recorded["score"]) == found.num_videos == 8
    assert "4 folds of videos" in found.scored_on


def test_the_test_split_only_when_asked(two_classes, small_config, recorded):
    compare_heads(small_config(), two_classes, "test", None, CPU, lambda event: None)
    assert {path.parts[-3] for path in recorded["train"]} == {"train", "val"}
    assert {path.parts[-3] for path in recorded["score"]} == {"test"}
    shutil.rmtree(two_classes / "test")
    with pytest.raises(DataError, match="no test split to score"):
        compare_heads(small_config(), two_classes, "test", None, CPU, lambda event: None)


def test_what_cannot_be_decoded_is_told_and_counted(two_classes, small_config):
    (two_classes / "train/left/bad.mp4").write_text("no video")
    events = []
    found = compare_heads(small_config(), two_classes, "auto", None, CPU, events.append)
    assert found.num_failed == 1
    assert any("bad.mp4" in event.text for event in events if isinstance(event, Notice))


def test_a_whole_network_has_no_heads_to_compare(two_classes, small_config):
    with pytest.raises(ConfigError, match="mc3_18 takes whole clips"):
        compare_heads(small_config(model__backbone="mc3_18"), two_classes, "auto", None, CPU, print)


def test_the_command_prints_a_table_and_an_answer(two_classes, small_config, tmp_path):
    options = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    result = run("train", two_classes, "--compare", *options, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    for head in head_names():
        assert f"│ {head} " in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if line.startswith("│")) <= 80
    assert "Does time matter in this data set?" in result.stdout
    assert "compact_cnn, random weights" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_the_best_head_is_kept_as_a_model(two_classes, tmp_path):
    options = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    out = tmp_path / "best"
    result = run("train", two_classes, "--compare", *options, "--device", "cpu", "--json", "--out", out)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert [row["head"] for row in answer["heads"]] == head_names()
    seeing = [row for row in answer["heads"] if row["head"] in heads_that_see_order()]
    assert answer["ordered"] == pytest.approx(np.mean([row["ordered"] for row in seeing]))
    assert answer["difference"] == pytest.approx(answer["ordered"] - answer["shuffled"])
    assert answer["time_matters"] is (answer["difference_interval"][0] > 0)
    assert json.loads((out / "compare.json").read_text()) == answer
    saved = load_checkpoint(out / "model.safetensors")
    assert saved.config.model.head == answer["best"]
    # The run's own splits lack the test videos, which were not read: they are named by DATA.
    scored = run("eval", two_classes, "--model", out, "--device", "cpu", "--json")
    assert scored.exit_code == 0, scored.stderr
    with open(out / "splits.csv") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "val"}


@pytest.mark.parametrize(
    "options",
    [("--json",), ("--split", "test"), ("--compare", "--dry-run"), ("--compare", "--split", "val"),
     ("--compare", "--resume")],
)  # fmt: skip
def test_options_that_do_not_go_together(options, two_classes):
    assert run("train", two_classes, *options).exit_code == 2


def test_a_narrow_table_holds_every_number(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    heads = tuple(
        HeadScore(head, True, 0.362, (0.281, 0.452), 0.15, (0.072, 0.241), 5.0) for head in head_names()
    )
    about = ("compact_cnn", "random", "the val split", 0.125, 80, 560, 0, 0, 12.0)
    print_comparison(
        Terminal.open(Verbosity.QUIET), compare.Comparison(*about, heads, 0.29, 0.18, (0.05, 0.17), "rnn")
    )
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 60
    for text in (*head_names(), "0.362", "0.28–0.45", "0.150", "0.07–0.24", "+0.212"):
        assert text in out


QUICK = {
    "clip.size": 32, "clip.length": 4, "model.shift": "off", "model.frame_differences": False,
    "model.width": 16, "model.hidden": 16, "train.epochs": 1,
}  # fmt: skip
