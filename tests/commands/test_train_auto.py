"""Which recipe `vidcli train` takes where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.commands import app
from vidcli.commands.train import usual_recipe
from vidcli.data.manifest import load_items
from vidcli.models.packaged_weights import PackagedWeights


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ([], "auto"),
        (["train.seed=3", "train.minutes=5", "data.cache=off"], "auto"),
        (["clip.length=8", "augment.flip=off"], "auto"),
        (["train.epochs=3"], None),
        (["model.head=gru"], None),
        (["data.cache=off", "augment.mixup=0.2"], None),
    ],
)
def test_settings_of_training_by_steps_mean_the_defaults(
    assignments: list[str], expected: str | None
) -> None:
    assert usual_recipe(assignments) == expected


@pytest.mark.parametrize("recipe", [[], ["--config", "auto"]])
def test_several_classes_a_video_need_no_other_setting(
    motion_data: Path, tmp_path: Path, recipe: list[str]
) -> None:
    manifest = tmp_path / "data.csv"
    lines = [f"{item.path},{item.label}|any,{item.split}" for item in load_items(motion_data)]
    manifest.write_text("\n".join(["path,label,split", *lines]) + "\n")
    command = ["train", str(manifest), *recipe, "--set", "data.multi_label=true", "--dry-run"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "optimizer: ridge" in done.output
    assert "class_balance: 'off'" in done.output
    done = CliRunner().invoke(app, [*command, "--set", "train.class_balance=loss"])
    assert done.exit_code == 2
    assert "train.class_balance=loss" in done.stderr


def test_a_bare_command_plans_the_recipe_auto(motion_data: Path) -> None:
    done = CliRunner().invoke(app, ["train", str(motion_data), "--dry-run", "--minutes", "4"])
    assert done.exit_code == 0, done.output
    for line in (
        "streams: appearance+motion+action",
        "optimizer: ridge",
        "minutes: 4.0",
        "panels: whole,window,follow",
    ):
        assert line in done.output, line


def test_where_a_package_of_weights_is_missing_the_recipe_auto_says_so_and_goes_without(
    motion_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackagedWeights, "find", lambda self: None)
    done = CliRunner().invoke(app, ["train", str(motion_data), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "streams: appearance+motion\n" in done.output.replace("\r", "")
    assert "the stream action, which knows the actions of Kinetics, is left out" in " ".join(
        done.stderr.split()
    )
    done = CliRunner().invoke(app, ["train", str(motion_data), "--dry-run", "--set", "model.streams=action"])
    assert "left out" not in done.stderr


def test_settings_that_leave_the_recipe_auto_say_so(motion_data: Path) -> None:
    done = CliRunner().invoke(app, ["train", str(motion_data), "--dry-run", "--backbone", "resnet18"])
    assert done.exit_code == 0, done.output
    assert "not the recipe auto, which finds out" in " ".join(done.stderr.split())
    done = CliRunner().invoke(app, ["train", str(motion_data), "--dry-run", "--config", "small-real"])
    assert done.exit_code == 0, done.output
    assert "not the recipe auto" not in " ".join(done.stderr.split())
