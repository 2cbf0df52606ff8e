"""What a search varies, and from what it starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidcli.config import Config, config_from_dict, config_to_dict
from vidcli.errors import CheckpointError, ConfigError
from vidcli.evaluate.grouped import METRICS
from vidcli.runtime.plain_yaml import parse_yaml
from vidcli.studies.fold_runner import Recipe
from vidcli.studies.folds import check_folds
from vidcli.studies.search_space import Dimension, plain_space, space_from_plain
from vidcli.studies.study_folder import read_plan

_MAX_TRIALS = 10_000


@dataclass(frozen=True)
class TuningPlan:
    """What is searched.

    Attributes:
        data: a folder, manifest or published data set.
        recipe: the settings to start from.
        space: what is varied.
        folds: a number of folds, or `group`.
        num_trials: trials in all, those of earlier calls included.
        score: which of `METRICS` is to be large.
    """

    data: Path
    recipe: Recipe
    space: tuple[Dimension, ...]
    folds: str
    num_trials: int
    score: str

    def check(self) -> None:
        """Refuse what cannot be searched.

        Raises:
            ConfigError: says what does not fit.
        """
        check_folds(self.folds)
        if self.score not in METRICS:
            raise ConfigError(f"--score {self.score}: expected {', '.join(METRICS)}")
        if not 1 <= self.num_trials <= _MAX_TRIALS:
            raise ConfigError(f"--trials {self.num_trials}: expected a number from 1 to {_MAX_TRIALS}")
        if self.recipe.config.data.multi_label:
            raise ConfigError("data.multi_label=true: a search scores one class a video")
        for dimension in self.space:
            for value in dimension.ends:
                change_config(self.recipe.config, {dimension.key: value})

    def to_dict(self, digest: str) -> dict[str, Any]:
        """Return plain values for the file of the plan.

        Args:
            digest: of the videos.
        """
        return {
            "data": str(self.data.absolute()),
            "folds": self.folds,
            "fingerprint": digest,
            "score": self.score,
            "space": plain_space(self.space),
            "num_trials": self.num_trials,
            "recipes": {self.recipe.name: config_to_dict(self.recipe.config)},
        }


def load_tuning(out: Path) -> TuningPlan:
    """Return what is searched in a folder, to go on with it.

    Raises:
        CheckpointError: the folder holds no search, or its plan is damaged.
    """
    told = read_plan(out, "tune")
    try:
        ((name, values),) = told["recipes"].items()
        config = config_from_dict(values)
        space = tuple(space_from_plain(told["space"], config))
        return TuningPlan(
            Path(told["data"]),
            Recipe(name, config),
            space,
            str(told["folds"]),
            int(told["num_trials"]),
            str(told["score"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{out}: its study.json is damaged ({error}); choose a new --out") from error


def trial_recipe(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """Return the recipe of a trial, under a name that is the same for the same values.

    Args:
        recipe: the settings to start from.
        values: what is changed, as `--set` takes it.
    """
    digest = hashlib.sha256(json.dumps(sorted(values.items())).encode()).hexdigest()[:10]
    config = change_config(recipe.config, values)
    train = config.train.model_copy(update={"plots": False, "tracker": "none"})  # nobody looks at these runs
    return Recipe(f"trial-{digest}", config.model_copy(update={"train": train}))


def change_config(config: Config, values: Mapping[str, str]) -> Config:
    """Return settings with some changed.

    Args:
        config: all settings.
        values: new values by name, as `--set` takes them.

    Raises:
        ConfigError: a value is not allowed.
    """
    told = config_to_dict(config)
    for key, value in values.items():
        section, _, name = key.partition(".")
        try:
            told[section][name] = parse_number(value)
            config_from_dict(told)
        except ConfigError as error:
            raise ConfigError(f"--over {key}: {error}") from error
    return config_from_dict(told)


def parse_number(text: str) -> Any:
    """Return what `--set` makes of a value: a number, a truth value or a word."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return parse_yaml(text)
