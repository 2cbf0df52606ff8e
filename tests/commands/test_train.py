"""The flags of frequent settings are another spelling of their --set."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.commands.train import TrainCommand, join_settings

FLAGS = {
    "--epochs": ("train.epochs", "7"),
    "--batch-size": ("train.batch_size", "4"),
    "--lr": ("train.lr", "0.02"),
    "--backbone": ("model.backbone", "simple_cnn"),
    "--head": ("model.head", "lstm"),
    "--seed": ("train.seed", "5"),
    "--minutes": ("train.minutes", "3.0"),
}


def train(*args):
    command = ["train", *map(str, args), "--dry-run", "--device", "cpu"]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def bare(motion_data):
    """What is told without any flag."""
    return train(motion_data).stdout


@pytest.mark.parametrize(("flag", "key", "value"), [(flag, *setting) for flag, setting in FLAGS.items()])
def test_a_flag_is_its_set(motion_data, bare, flag, key, value):
    by_flag, by_set = train(motion_data, flag, value), train(motion_data, "--set", f"{key}={value}")
    assert by_flag.exit_code == 0, by_flag.stderr
    assert by_flag.stdout == by_set.stdout
    assert f"{key.partition('.')[2]}: {value}" in by_flag.stdout
    assert by_flag.stdout != bare


@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [
        ("--epochs", "train.epochs", "many"),
        ("--epochs", "train.epochs", "-1"),
        ("--lr", "train.lr", "0"),
        ("--backbone", "model.backbone", "resnet19"),
        ("--head", "model.head", "grue"),
    ],
)
def test_a_wrong_value_is_refused_as_that_of_set_is(motion_data, flag, key, value):
    by_flag, by_set = train(motion_data, flag, value), train(motion_data, "--set", f"{key}={value}")
    assert (by_flag.exit_code, by_set.exit_code) == (2, 2)
    assert by_flag.stderr == by_set.stderr
    assert value in by_flag.stderr


def test_two_values_for_one_setting_are_refused(motion_data):
    result = train(motion_data, "--epochs", "7", "--set", "train.epochs=8")
    assert result.exit_code == 2
    message = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())
    assert "--epochs 7 and --set train.epochs=8 give one setting two values; leave one out" in message
    assert train(motion_data, "--epochs", "7", "--set", "train.epochs=7").exit_code == 0


def test_the_hint_for_unknown_options_knows_the_same_flags():
    # A file of boxes, which must exist: tests/test_subjects.py.
    assert TrainCommand.flags == {key: flag for flag, (key, _) in FLAGS.items()} | {
        "subject.boxes": "--boxes"
    }


def test_settings_are_joined():
    assert join_settings(["clip.size=32"], {"train.lr": "1e-3", "train.seed": None}) == [
        "clip.size=32",
        "train.lr=1e-3",
    ]
    assert join_settings(["train.lr=0.001"], {"train.lr": "1e-3"})[-1] == "train.lr=1e-3"
    assert join_settings([" model.head =gru"], {"model.head": "gru"})[-1] == "model.head=gru"
    # Of two of them, --set takes the last.
    assert join_settings(["train.lr=1", "train.lr=2"], {"train.lr": "2"})[-1] == "train.lr=2"
    with pytest.raises(typer.BadParameter, match=r"--batch-size 8 and --set train\.batch_size=4"):
        join_settings(["train.batch_size=4"], {"train.batch_size": "8"})


@pytest.mark.parametrize("flag", FLAGS)
def test_a_run_that_goes_on_keeps_its_settings(flag):
    result = CliRunner().invoke(app, ["train", "--resume", "runs/mine", flag, FLAGS[flag][1]])
    assert result.exit_code == 2
    assert "--resume takes settings" in result.stderr
