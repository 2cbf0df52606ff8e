"""Cross-validation: every recipe is trained once for each fold and seed, and answers what was held out.

OUT/study.json           what is studied: the same command, or --resume, goes on with it
OUT/RECIPE/seed-0/       fold-1.csv, fold-1/ (a run directory), fold-1.json (its answers), ...
OUT/predictions.csv      all out-of-fold answers
OUT/crossval.json        the scores
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from vidcli.config import config_from_dict, config_to_dict
from vidcli.data.manifest import fingerprint
from vidcli.errors import CheckpointError, ConfigError
from vidcli.studies.fold_run import StudyEvent
from vidcli.studies.fold_runner import FoldRunner, Recipe
from vidcli.studies.folds import Fold, check_folds, make_folds, read_studied, smaller_folds
from vidcli.studies.learning_curve import LearningCurve, describe_curve
from vidcli.studies.pooled import RecipeDifference, RecipeScores, answers_csv
from vidcli.studies.study_folder import PLAN_FILE, open_study, read_plan
from vidcli.train import Notice

RESULT_FILE, ANSWERS_FILE = "crossval.json", "predictions.csv"
_MAX_SEEDS = 100
_READING = (
    *(f"data.{name}" for name in ("multi_label", "folders", "fold", "test_fraction", "split_seed")),
    *("data.background", "data.labelled_spans", "subject.boxes", "subject.gap_seconds"),
)
"""Settings that decide which videos, and spans of them, there are and which of them are test videos."""


@dataclass(frozen=True)
class CrossvalPlan:
    """What is studied.

    Attributes:
        data: a folder, manifest or published data set.
        recipes: one or more; the others are compared with the first.
        folds: a number of folds, or `group`.
        num_seeds: trainings of each fold; their seeds count up from `train.seed`.
        all_splits: use the test videos of the data too.
        learning_curve: train on a quarter and a half of the training groups too.
    """

    data: Path
    recipes: tuple[Recipe, ...]
    folds: str
    num_seeds: int = 1
    all_splits: bool = False
    learning_curve: bool = False

    def check(self) -> None:
        """Refuse what cannot be studied.

        Raises:
            ConfigError: says what does not fit.
        """
        check_folds(self.folds)
        if not 1 <= self.num_seeds <= _MAX_SEEDS:
            raise ConfigError(f"--seeds {self.num_seeds}: expected a number from 1 to {_MAX_SEEDS}")
        first = self.recipes[0]
        for recipe in self.recipes:
            if recipe.config.data.multi_label:
                raise ConfigError(
                    f"{recipe.name}: data.multi_label=true: a cross-validation scores one class a video"
                )
            for name in _READING:
                ours, theirs = (attrgetter(name)(each.config) for each in (recipe, first))
                if ours != theirs:
                    raise ConfigError(
                        f"{name}: {first.name} has {theirs} and {recipe.name} has {ours}; recipes are "
                        "compared on the same videos"
                    )
        for number, recipe in enumerate(self.recipes):
            same = [other.name for other in self.recipes[:number] if other.config == recipe.config]
            if same:
                raise ConfigError(f"{same[0]} and {recipe.name} have the same settings; leave one out")

    def to_dict(self, digest: str) -> dict[str, Any]:
        """Return plain values for the file of the plan.

        Args:
            digest: of the videos.
        """
        return {
            "data": str(self.data.absolute()),
            "folds": self.folds,
            "all_splits": self.all_splits,
            "fingerprint": digest,
            "num_seeds": self.num_seeds,
            "learning_curve": self.learning_curve,
            "recipes": {recipe.name: config_to_dict(recipe.config) for recipe in self.recipes},
        }


@dataclass(frozen=True)
class CrossvalResult:
    """What a cross-validation found.

    Attributes:
        plan: what was studied.
        num_folds: number of folds.
        recipes: the scores of each recipe.
        curves: the learning curve of each recipe, where one was asked for.
    """

    plan: CrossvalPlan
    num_folds: int
    recipes: tuple[RecipeScores, ...]
    curves: tuple[LearningCurve, ...]

    @property
    def differences(self) -> list[RecipeDifference]:
        """Each recipe but the first compared with the first."""
        first, *others = self.recipes
        return [recipe.difference_from(first) for recipe in others]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli crossval --json` prints them."""
        return {
            "data": str(self.plan.data),
            "folds": self.plan.folds,
            "num_folds": self.num_folds,
            "num_seeds": self.plan.num_seeds,
            "all_splits": self.plan.all_splits,
            "class_names": list(self.recipes[0].class_names),
            "recipes": [recipe.to_dict() for recipe in self.recipes],
            "comparisons": [difference.to_dict() for difference in self.differences],
            "learning_curves": [curve.to_dict() for curve in self.curves],
        }


def cross_validate(
    plan: CrossvalPlan,
    out: Path,
    device: torch.device,
    on_event: Callable[[StudyEvent], None],
) -> CrossvalResult:
    """Train and answer every fold that is not done yet, and score all answers together.

    Args:
        plan: what is studied.
        out: folder of the study, new or of the same study.
        device: where to compute.
        on_event: called with each event of the study and of its runs.

    Raises:
        ConfigError: the plan does not fit together.
        DataError: the data cannot be divided or trained on.
        OutputError: the folder holds something else, or another study.
    """
    plan.check()
    data = plan.recipes[0].config.data
    items = read_studied(plan.data, plan.recipes[0].config, on_event, plan.all_splits)
    folds = make_folds(items, plan.folds, data.split_seed, data.background)
    smaller = [smaller_folds(fold, data.split_seed) for fold in folds] if plan.learning_curve else []
    for fold in folds:
        if fold.strange_classes:
            on_event(
                Notice(
                    f"{fold.name}: no video to train on has the classes "
                    f"{', '.join(fold.strange_classes)}, whose held-out videos count as wrong"
                )
            )
    told = plan.to_dict(fingerprint(items))
    with open_study(out, told, "crossval", (RESULT_FILE, ANSWERS_FILE)) as folder:
        runner = FoldRunner(out, folds, items, device, on_event, _count_trainings(plan, len(folds)))
        result = _study(plan, runner, folds, smaller)
        folder.write_text(ANSWERS_FILE, answers_csv(result.recipes))
        folder.write_text(RESULT_FILE, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def _study(
    plan: CrossvalPlan, runner: FoldRunner, folds: Sequence[Fold], smaller: Sequence[Mapping[float, Fold]]
) -> CrossvalResult:
    """Train what is to be trained; `smaller` holds the folds of the learning curve by share, if any."""
    recipes, curves = [], []
    for recipe in plan.recipes:
        whole = runner.answer(recipe, plan.num_seeds, folds)
        recipes.append(whole)
        if plan.learning_curve:
            parts = {
                share: runner.answer(recipe, plan.num_seeds, [by_share[share] for by_share in smaller])
                for share in smaller[0]
            }
            trained_on = {share: [by_share[share].train for by_share in smaller] for share in smaller[0]}
            curves.append(
                describe_curve({**parts, 1.0: whole}, {**trained_on, 1.0: [fold.train for fold in folds]})
            )
    return CrossvalResult(plan, len(folds), tuple(recipes), tuple(curves))


def load_plan(out: Path) -> CrossvalPlan:
    """Return what is studied in a folder, to go on with it.

    Raises:
        CheckpointError: the folder holds no cross-validation, or its plan is damaged.
    """
    told = read_plan(out, "crossval")
    try:
        recipes = tuple(Recipe(name, config_from_dict(values)) for name, values in told["recipes"].items())
        return CrossvalPlan(
            Path(told["data"]),
            recipes,
            str(told["folds"]),
            int(told["num_seeds"]),
            bool(told["all_splits"]),
            bool(told["learning_curve"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{out / PLAN_FILE}: is damaged ({error}); choose a new --out") from error


def _count_trainings(plan: CrossvalPlan, num_folds: int) -> int:
    return len(plan.recipes) * plan.num_seeds * num_folds * (3 if plan.learning_curve else 1)
