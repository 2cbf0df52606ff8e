"""`vidcli crossval`: what it prints, how it goes on, what it refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.conftest import QUICK_SETTINGS
from vidcli.commands.app import app
from vidcli.commands.crossval import read_recipes, study_folder

QUICK = [f"--set={name}={value}" for name, value in (QUICK_SETTINGS | {"data.val_fraction": 0}).items()]


def crossval(*args, **env):
    return CliRunner().invoke(app, ["crossval", *map(str, args)], env={"COLUMNS": "200", **env})


@pytest.fixture(scope="module")
def data(motion_data, tmp_path_factory):
    rows = ["path,label,group"]
    for name in ("left", "right"):
        for number, path in enumerate(sorted((motion_data / "train" / name).glob("*.mp4"))):
            rows.append(f"{path},{name},person {number % 4}")
    manifest = tmp_path_factory.mktemp("cli") / "people.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def test_it_prints_folds_scores_and_where_they_are(data, in_tmp_path):
    result = crossval(data, "--folds", "group", "--all-splits", *QUICK, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    for name in ("person 0", "person 3", "defaults", "balanced accuracy", "with 95% certainty"):
        assert name in result.stdout
    assert "4 groups are few" in result.stderr
    assert "wrote predictions.csv, crossval.json to runs/crossval_people" in result.stderr
    again = crossval("--resume", "runs/crossval_people", "--json", "--device", "cpu")
    assert again.exit_code == 0, again.stderr
    told = json.loads(again.stdout)
    assert told["recipes"][0]["num_videos"] == 8
    assert again.stderr.count("done before") == 4
    # The same command goes on as well.
    assert crossval(data, "--folds", "group", "--all-splits", *QUICK).stdout == result.stdout


def test_recipes_are_compared(data, in_tmp_path):
    (in_tmp_path / "slow.yaml").write_text("train: {lr: 1.0e-5}\n")
    (in_tmp_path / "fast.yaml").write_text("train: {lr: 0.01}\n")
    quick = [each for each in QUICK if "train.lr" not in each]
    arguments = [
        data,
        "--config",
        "slow.yaml",
        "--config",
        "fast.yaml",
        "--folds",
        "2",
        "--all-splits",
        *quick,
    ]
    result = crossval(*arguments, "--out", "both")
    assert result.exit_code == 0, result.stderr
    assert "fast less slow is top-1" in result.stdout
    told = json.loads(crossval(*arguments, "--out", "both", "--json").stdout)
    assert [row["recipe"] for row in told["recipes"]] == ["slow", "fast"]
    assert told["comparisons"][0]["videos"]["num_videos"] == 8


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name DATA, or with --resume the folder of a study"),
        (["--resume", "x", "--folds", "3"], "--resume takes all from the study"),
        (["DATA", "--folds", "one"], "--folds one: expected a number from 2 to 100, or group"),
        (["DATA", "--config", "no-such-recipe"], "neither a file nor a built-in recipe"),
        (["DATA", "--set", "data.multi_label=true"], "scores one class a video"),
        (["DATA", "--seeds", "0"], "--seeds"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, told, data, in_tmp_path):
    result = crossval(*[data if word == "DATA" else word for word in arguments])
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_data_and_studies_that_are_not_there_are_named(in_tmp_path):
    missing = crossval("nowhere", "--device", "cpu")
    assert missing.exit_code == 1
    assert "nowhere: no such folder or manifest" in missing.stderr
    resumed = crossval("--resume", "nowhere")
    assert resumed.exit_code == 1
    assert "nowhere: holds no study.json" in resumed.stderr
    assert list(in_tmp_path.iterdir()) == []


def test_processes_of_torchrun_are_refused(data):
    result = crossval(data, WORLD_SIZE="2", RANK="0")
    assert result.exit_code == 2
    assert "start it without torchrun" in result.stderr


def test_recipes_have_names_that_folders_can_have(in_tmp_path):
    (in_tmp_path / "my recipe.yaml").write_text("train: {epochs: 3}\n")
    (in_tmp_path / "other").mkdir()
    (in_tmp_path / "other/my recipe.yaml").write_text("train: {epochs: 4}\n")
    found = read_recipes(["my recipe.yaml", "other/my recipe.yaml", "small-real"], ["clip.length=5"])
    assert [recipe.name for recipe in found] == ["my_recipe", "my_recipe-2", "small-real"]
    assert [recipe.config.clip.length for recipe in found] == [5, 5, 5]
    assert [recipe.name for recipe in read_recipes([], [])] == ["defaults"]


def test_the_usual_folder_is_the_same_for_the_same_data(tmp_path):
    assert str(study_folder("crossval", tmp_path / "pets")) == "runs/crossval_pets"
