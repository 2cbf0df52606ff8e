"""A search tries, learns, gives up, goes on, and writes a recipe; the test split is out of its sight."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch

from vidcli.config import load_config
from vidcli.data.items import class_names_of
from vidcli.errors import CheckpointError, ConfigError, OutputError, TrainError
from vidcli.predict import Prediction
from vidcli.report.trials_plot import draw_trials
from vidcli.studies import FoldDone, Recipe, fold_run, fold_runner, tuning
from vidcli.studies.fold_run import FoldAnswers, answers_file
from vidcli.studies.search_space import read_space
from vidcli.studies.tuning import tune
from vidcli.studies.tuning_plan import TuningPlan, load_tuning, trial_recipe
from vidcli.studies.tuning_result import PICTURE_FILE

pytest.importorskip("optuna")
CPU = torch.device("cpu")
BEST_LR = 3e-3


@pytest.fixture
def trained(monkeypatch):
    """Stand in for training: answers are the better the nearer `train.lr` is to `BEST_LR`."""
    seen = []

    def run_fold(config, fold, place, device, on_event):
        seen.append((config, fold))
        if config.train.lr > 0.5:
            raise TrainError("the loss became nan")
        names = tuple(class_names_of(fold.train))
        share = max(0.0, 1 - abs(math.log10(config.train.lr / BEST_LR)) / 2)
        answers = []
        for number, item in enumerate(fold.held_out):
            is_right = number < round(share * len(fold.held_out))
            values = np.array([0.9 if (name == item.label) == is_right else 0.1 for name in names])
            answers.append(Prediction(str(item.path), names, values / values.sum()))
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"weights")
        made = FoldAnswers(names, tuple(answers), 0.1)
        answers_file(place).write_text(json.dumps(fold_run._to_plain(made)))
        return made

    monkeypatch.setattr(fold_runner, "run_fold", run_fold)
    return seen


def plan_of(data, config, *overs, trials=12, folds="2", score="top1"):
    space = tuple(read_space([], overs or ["train.lr=1e-4..1e-1"], config))
    return TuningPlan(data, Recipe("tiny", config), space, folds, trials, score)


def test_the_search_finds_what_is_better(trained, grouped_data, small_config, tmp_path):
    events = []
    config = small_config(train__lr=1e-4)
    result = tune(plan_of(grouped_data, config, trials=20), tmp_path / "t", CPU, events.append)
    assert len(result.trials) == 20
    assert result.trials[0].values == {"train.lr": 1e-4}  # the recipe as it is
    assert result.best.score > result.trials[0].score
    assert abs(math.log10(result.best.values["train.lr"] / BEST_LR)) < 0.5
    assert result.gain.differences["top1"].value == pytest.approx(result.best.score - result.trials[0].score)
    assert any(trial.state == "given up" for trial in result.trials)
    # What was given up was not trained on its other fold.
    assert len([e for e in events if isinstance(e, FoldDone)]) < 40
    best = load_config(str(tmp_path / "t/best.yaml"))
    assert best.train.lr == pytest.approx(result.best.values["train.lr"], rel=1e-5)
    assert best == config.model_copy(update={"train": config.train.model_copy(update={"lr": best.train.lr})})


def test_the_test_split_is_never_seen(trained, grouped_data, small_config, tmp_path):
    tune(plan_of(grouped_data, small_config(), trials=2), tmp_path / "t", CPU, lambda event: None)
    groups = {item.group for _, fold in trained for item in (*fold.train, *fold.held_out)}
    assert groups == {"g0", "g1", "g2", "g3"}


def test_models_of_trials_are_not_kept(trained, grouped_data, small_config, tmp_path):
    tune(plan_of(grouped_data, small_config(), trials=3), tmp_path / "t", CPU, lambda event: None)
    assert list((tmp_path / "t").rglob("*.safetensors")) == []
    assert len(list((tmp_path / "t").rglob("fold-*.json"))) >= 4


def test_trials_are_written(trained, grouped_data, small_config, tmp_path):
    result = tune(plan_of(grouped_data, small_config(), trials=5), tmp_path / "t", CPU, lambda event: None)
    with open(tmp_path / "t/trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [float(row["train.lr"]) for row in rows] == [t.values["train.lr"] for t in result.trials]
    assert (tmp_path / "t/trials.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "t/tune.json").read_text()) == json.loads(json.dumps(result.to_dict()))


def test_a_search_goes_on_and_does_not_repeat_itself(trained, grouped_data, small_config, tmp_path):
    config = small_config()
    tune(plan_of(grouped_data, config, trials=4), tmp_path / "t", CPU, lambda event: None)
    num_before = len(trained)
    more = tune(plan_of(grouped_data, config, trials=7), tmp_path / "t", CPU, lambda event: None)
    assert len(more.trials) == 7
    assert len({trial.values["train.lr"] for trial in more.trials}) == 7
    assert num_before < len(trained) <= num_before + 6
    assert load_tuning(tmp_path / "t").num_trials == 7
    same = tune(load_tuning(tmp_path / "t"), tmp_path / "t", CPU, lambda event: None)
    assert same.trials == more.trials


def test_a_trial_that_was_stopped_is_done_again_from_its_folds(
    trained, grouped_data, small_config, tmp_path, monkeypatch
):
    real = fold_runner.run_fold

    def stop_in_second_fold(config, fold, *rest):
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(config, fold, *rest)

    monkeypatch.setattr(fold_runner, "run_fold", stop_in_second_fold)
    plan = plan_of(grouped_data, small_config(), trials=3)
    with pytest.raises(KeyboardInterrupt):
        tune(plan, tmp_path / "t", CPU, lambda event: None)
    stopped = trained[2][0].train.lr
    monkeypatch.setattr(fold_runner, "run_fold", real)
    result = tune(load_tuning(tmp_path / "t"), tmp_path / "t", CPU, lambda event: None)
    assert len(result.trials) == 3
    assert trained[3][0].train.lr == stopped  # its second fold: the first was kept
    assert trained[3][1].number == 2
    assert [trial.number for trial in result.trials] == [1, 3, 4]


def test_trials_that_fail_are_told_and_the_search_goes_on(trained, grouped_data, small_config, tmp_path):
    events = []
    plan = plan_of(grouped_data, small_config(), "train.lr=0.001,0.9", trials=6)
    result = tune(plan, tmp_path / "t", CPU, events.append)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert len(result.trials) == 6
    assert failed
    assert {trial.error for trial in failed} == {"the loss became nan"}
    assert result.best.values["train.lr"] == "0.001"
    assert any("failed: train.lr=0.9: the loss became nan" in getattr(e, "text", "") for e in events)


def test_a_search_without_a_complete_trial_says_why(trained, grouped_data, small_config, tmp_path):
    plan = plan_of(grouped_data, small_config(), "train.lr=0.8,0.9", trials=2)
    with pytest.raises(
        TrainError, match="not one of 2 trials could be completed; the last: the loss became nan"
    ):
        tune(plan, tmp_path / "t", CPU, lambda event: None)


def test_what_mattered_is_measured_with_enough_trials(
    trained, grouped_data, small_config, tmp_path, monkeypatch
):
    pytest.importorskip("sklearn")
    plan = plan_of(grouped_data, small_config(), "train.lr=1e-4..1e-1", "model.dropout=0..0.6", trials=9)
    few = tune(plan, tmp_path / "t", CPU, lambda event: None)
    assert few.importances == {}
    monkeypatch.setattr(tuning, "_FEWEST_FOR_IMPORTANCE", 2)
    found = tune(plan, tmp_path / "t", CPU, lambda event: None).importances
    assert set(found) == {"train.lr", "model.dropout"}
    assert sum(found.values()) == pytest.approx(1)


def test_another_search_does_not_mix_with_the_first(trained, grouped_data, small_config, tmp_path):
    config = small_config()
    tune(plan_of(grouped_data, config, trials=1), tmp_path / "t", CPU, lambda event: None)
    with pytest.raises(OutputError, match="with --score top1, not macro_f1"):
        tune(plan_of(grouped_data, config, score="macro_f1"), tmp_path / "t", CPU, lambda event: None)
    with pytest.raises(OutputError, match="other settings to vary"):
        tune(plan_of(grouped_data, config, "train.lr=1e-3..1e-2"), tmp_path / "t", CPU, lambda event: None)
    with pytest.raises(CheckpointError, match=r"holds no study\.json"):
        load_tuning(tmp_path / "nothing")


def test_plans_that_do_not_fit_are_refused(grouped_data, small_config):
    config = small_config()
    plan_of(grouped_data, config).check()
    with pytest.raises(ConfigError, match="--score top5: expected top1, balanced_accuracy, macro_f1"):
        plan_of(grouped_data, config, score="top5").check()
    with pytest.raises(ConfigError, match=r"--over train\.lr: .*less than or equal to 10"):
        plan_of(grouped_data, config, "train.lr=1..11").check()
    with pytest.raises(ConfigError, match="--trials 0"):
        plan_of(grouped_data, config, trials=0).check()
    with pytest.raises(ConfigError, match="one class a video"):
        plan_of(grouped_data, small_config(data__multi_label=True)).check()


def test_without_optuna_the_extra_is_named(grouped_data, small_config, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(
        ConfigError, match=r"needs optuna, which is not installed: pip install 'vidcli\[tune\]'"
    ):
        tune(plan_of(grouped_data, small_config()), tmp_path / "t", CPU, lambda event: None)
    assert not (tmp_path / "t").exists()


def test_a_trial_is_named_after_its_values(small_config):
    recipe = Recipe("tiny", small_config())
    first, again = (trial_recipe(recipe, {"train.lr": "0.01", "model.dropout": "0"}) for _ in range(2))
    other = trial_recipe(recipe, {"train.lr": "0.02", "model.dropout": "0"})
    assert first == again
    assert first.name != other.name
    assert first.config.train.lr == 0.01
    assert first.config.train.tracker == "none"


def test_real_trainings_are_scored(grouped_data, small_config, tmp_path):
    config = small_config(data__val_fraction=0)
    result = tune(plan_of(grouped_data, config, trials=2), tmp_path / "t", CPU, lambda event: None)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    assert list((tmp_path / "t").rglob("*.safetensors")) == []
    assert [path for path in (tmp_path / "t").rglob("fold-*") if path.is_dir()] == []


def test_the_picture_takes_words_and_one_trial(tmp_path):
    points = [(1, 0.5, {"model.head": "gru", "train.lr": 0.1}, True)]
    draw_trials(points, {"model.head": False, "train.lr": True}, "top1", tmp_path / "one.png")
    points += [
        (2, None, {"model.head": "mean"}, False),
        (3, 0.2, {"model.head": "m$x$", "train.lr": 0.2}, False),
    ]
    draw_trials(points, {"model.head": False, "train.lr": True}, "top1", tmp_path / "more.png")
    assert (tmp_path / "more.png").read_bytes() != (tmp_path / "one.png").read_bytes()
    assert PICTURE_FILE == "trials.png"
