"""`vidcli tune`: what it prints, how it goes on, what it refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.conftest import QUICK_SETTINGS
from vidcli.commands.app import app

pytest.importorskip("optuna")
QUICK = [f"--set={name}={value}" for name, value in (QUICK_SETTINGS | {"data.val_fraction": 0}).items()]


def tune(*args, **env):
    return CliRunner().invoke(app, ["tune", *map(str, args)], env={"COLUMNS": "200", **env})


def test_it_prints_the_best_trials_and_goes_on(pair_data, in_tmp_path):
    result = tune(pair_data, "--folds", "2", "--trials", "2", "--over", "train.lr=1e-4..1e-2", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "balanced accuracy, 95%" in result.stdout
    assert "2 trials: 2 complete, 0 given up, 0 failed" in result.stderr
    assert "next: vidcli train" in result.stderr
    assert "fold-1" not in result.stderr  # of each fold only with --verbose
    again = tune("--resume", "runs/tune_pair", "--trials", "3", "--json")
    assert again.exit_code == 0, again.stderr
    told = json.loads(again.stdout)
    assert len(told["trials"]) == 3
    assert told["trials"][0]["values"] == {"train.lr": 0.001}
    made = CliRunner().invoke(
        app, ["train", str(pair_data), "--config", "runs/tune_pair/best.yaml", "--dry-run"]
    )
    assert made.exit_code == 0, made.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name DATA, or with --resume the folder of a search"),
        (["--resume", "x", "--over", "train.lr=1..2"], "--resume takes all from the search"),
        (["DATA", "--over", "train.lr=1"], "expected KEY=LOW..HIGH"),
        (["DATA", "--space", "everything"], "--space everything: expected training"),
        (["DATA", "--score", "loss"], "--score loss: expected top1"),
        (
            ["DATA", "--over", "train.lr=1..11"],
            "--over train.lr: train.lr: Input should be less than or equal to 10",
        ),
        (["DATA", "--folds", "0"], "--folds 0"),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(arguments, told, motion_data, in_tmp_path):
    result = tune(*[motion_data if word == "DATA" else word for word in arguments])
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert list(in_tmp_path.iterdir()) == []


def test_searches_that_are_not_there_are_named(in_tmp_path):
    assert "nowhere: holds no study.json" in tune("--resume", "nowhere").stderr
    assert "nowhere: no such folder" in tune("nowhere").stderr
