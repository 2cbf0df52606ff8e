"""Which recipe `vidcli train` takes where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.commands import app
from vidcli.commands.train import usual_recipe


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


def test_a_bare_command_plans_the_recipe_auto(motion_data: Path) -> None:
    done = CliRunner().invoke(app, ["train", str(motion_data), "--dry-run", "--minutes", "4"])
    assert done.exit_code == 0, done.output
    for line in ("streams: both", "optimizer: ridge", "minutes: 4.0", "whole_frame: true"):
        assert line in done.output, line
