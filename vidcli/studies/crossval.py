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
from pathlib import Path
from typing import Any

import torch

from vidcli.config import Config, config_from_dict, config_to_dict
from vidcli.data.check import choose_source
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import fingerprint, read_data
from vidcli.errors import CheckpointError, ConfigError, OutputError
from vidcli.evaluate.details import is_right
from vidcli.runtime.files import read_regular
from vidcli.runtime.outputs import OutputFolder
from vidcli.runtime.plain import parse_json
from vidcli.runtime.threads import num_workers
from vidcli.studies.fold_run import (
    FoldAnswers,
    FoldDone,
    FoldStarted,
    StudyEvent,
    align,
    load_answers,
    run_fold,
)
from vidcli.studies.folds import Fold, check_folds, make_folds, smaller_folds, studied_items
from vidcli.studies.learning_curve import LearningCurve, describe_curve
from vidcli.studies.pooled import Answer, RecipeDifference, RecipeScores, answers_csv
from vidcli.train import Notice

PLAN_FILE, RESULT_FILE, ANSWERS_FILE = "study.json", "crossval.json", "predictions.csv"
_MAX_PLAN_BYTES = 2**24
_MAX_SEEDS = 100
_MAY_GROW = ("num_seeds", "learning_curve", "num_trials", "recipes")
"""What may differ where a study goes on."""

_READING = ("multi_label", "folders", "fold", "test_fraction", "split_seed")
"""Settings of `data` that decide which videos there are and which of them are test videos."""


@dataclass(frozen=True)
class Recipe:
    """A recipe under study.

    Attributes:
        name: names its folder and its rows.
        config: all settings.
    """

    name: str
    config: Config


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
                ours, theirs = (getattr(each.config.data, name) for each in (recipe, first))
                if ours != theirs:
                    raise ConfigError(
                        f"data.{name}: {first.name} has {theirs} and {recipe.name} has {ours}; recipes are "
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
    listing = read_data(plan.data, settings=data)
    for text in listing.notes:
        on_event(Notice(text))
    items = studied_items(listing.items, data, plan.all_splits)
    folds = make_folds(items, plan.folds, data.split_seed)
    smaller = [smaller_folds(fold, data.split_seed) for fold in folds] if plan.learning_curve else []
    for fold in folds:
        if fold.strange_classes:
            on_event(
                Notice(
                    f"{fold.name}: no video to train on has the classes "
                    f"{', '.join(fold.strange_classes)}, whose held-out videos count as wrong"
                )
            )
    folder = open_study(out, plan.to_dict(fingerprint(items)), "crossval", (RESULT_FILE, ANSWERS_FILE))
    runner = FoldRunner(out, folds, items, device, on_event, _count_trainings(plan, len(folds)))
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
    result = CrossvalResult(plan, len(folds), tuple(recipes), tuple(curves))
    folder.write_text(ANSWERS_FILE, answers_csv(result.recipes))
    folder.write_text(RESULT_FILE, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


class FoldRunner:
    """Trains folds one after the other and gathers their answers."""

    def __init__(
        self,
        out: Path,
        folds: Sequence[Fold],
        items: Sequence[VideoItem],
        device: torch.device,
        on_event: Callable[[StudyEvent], None],
        total: int,
    ) -> None:
        """Keep what all trainings share.

        Args:
            out: folder of the study.
            folds: of the study.
            items: its videos.
            device: where to compute.
            on_event: called with each event of the study and of its runs.
            total: number of all trainings.
        """
        self._out, self._items, self._device, self._on_event = out, items, device, on_event
        self._groups = [fold.group for fold in folds]
        self._class_names = class_names_of(items)
        self._total, self._number = total, 0

    def answer(
        self,
        recipe: Recipe,
        num_seeds: int,
        folds: Sequence[Fold],
        after_fold: Callable[[RecipeScores, Path], None] | None = None,
    ) -> RecipeScores:
        """Return the out-of-fold answers of a recipe.

        Args:
            recipe: what to train.
            num_seeds: how often each fold is trained.
            folds: what is trained on and held out.
            after_fold: called after each fold with the answers so far, and the run directory of the fold.
        """
        config = _sharing_frames(recipe.config, self._items)
        answers: list[Answer] = []
        for seed in range(config.train.seed, config.train.seed + num_seeds):
            train = config.train.model_copy(update={"seed": seed})
            seeded = config.model_copy(update={"train": train})
            for fold in folds:
                place = self._out / recipe.name / f"seed-{seed}" / fold.name
                seeds = f", seed {seed}" if num_seeds > 1 else ""
                made = self._answer_fold(seeded, fold, place, f"{recipe.name}, {fold.name}{seeds}")
                for item, prediction in zip(fold.held_out, made.predictions, strict=True):
                    answers.append(Answer(item, fold.number, seed, align(prediction, self._class_names)))
                if after_fold is not None:
                    groups = self._groups[: fold.number]
                    after_fold(RecipeScores(recipe.name, answers, self._class_names, groups), place)
        return RecipeScores(recipe.name, answers, self._class_names, self._groups)

    def _answer_fold(self, config: Config, fold: Fold, place: Path, what: str) -> FoldAnswers:
        self._number += 1
        answers = load_answers(place, fold)
        was_there = answers is not None
        if answers is None:
            self._on_event(FoldStarted(what, self._number, self._total, config.train.epochs))
            answers = run_fold(config, fold, place, self._device, self._on_event)
        right = [is_right(item, p) for item, p in zip(fold.held_out, answers.predictions, strict=True)]
        top1 = sum(right) / len(right)
        self._on_event(FoldDone(what, len(right), top1, answers.seconds, was_there))
        return answers


def open_study(out: Path, plan: Mapping[str, Any], command: str, names: Sequence[str]) -> OutputFolder:
    """Return the folder of a study, new or to go on with, and write down what is studied.

    More seeds or recipes, and a learning curve, may be added to a study that is there.

    Args:
        out: the folder.
        plan: plain values of what is studied; the settings of each recipe by its name under `recipes`.
        command: such as `crossval`.
        names: the files that the command writes there beside the plan.

    Raises:
        OutputError: the folder holds something else, or another study.
    """
    earlier = _read_plan(out, command) if (out / PLAN_FILE).is_file() else {}
    for name, value in plan.items():
        if earlier and name not in _MAY_GROW and earlier.get(name) != value:
            raise OutputError(_differs(out, command, name, earlier.get(name), value))
    settings = dict(earlier.get("settings", {}))
    for name, config in plan["recipes"].items():
        if settings.setdefault(name, config) != config:
            raise OutputError(
                f"--out {out}: holds `vidcli {command}` of {name} with other settings; choose another folder"
            )
    folder = OutputFolder(out, command, (PLAN_FILE, *names), subject=str(plan["data"]))
    told = {"command": command, **plan, "settings": settings}
    if earlier != told:
        folder.write_text(PLAN_FILE, json.dumps(told, indent=1) + "\n")
    return folder


def load_plan(out: Path) -> CrossvalPlan:
    """Return what is studied in a folder, to go on with it.

    Raises:
        CheckpointError: the folder holds no cross-validation, or its plan is damaged.
    """
    told = _read_plan(out, "crossval")
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


def _read_plan(out: Path, command: str) -> dict[str, Any]:
    path = out / PLAN_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{out}: holds no {PLAN_FILE}; expected the folder that `vidcli {command} --out` made"
        )
    try:
        told = parse_json(read_regular(path, _MAX_PLAN_BYTES).decode())
        if not isinstance(told, dict):
            raise ValueError("is no object")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); choose a new --out") from error
    if told.get("command") != command:
        raise CheckpointError(
            f"{out}: holds a study of `vidcli {told.get('command')}`, not of `vidcli {command}`"
        )
    return told


def _differs(out: Path, command: str, name: str, there: object, asked: object) -> str:
    if name == "fingerprint":
        return (
            f"--out {out}: holds `vidcli {command}` of other videos: the data has changed since; choose "
            "another folder"
        )
    option = {"data": "DATA", "folds": "--folds", "all_splits": "--all-splits"}.get(name, name)
    return f"--out {out}: holds `vidcli {command}` with {option} {there}, not {asked}; choose another folder"


def _count_trainings(plan: CrossvalPlan, num_folds: int) -> int:
    return len(plan.recipes) * plan.num_seeds * num_folds * (3 if plan.learning_curve else 1)


def _sharing_frames(config: Config, items: Sequence[VideoItem]) -> Config:
    """Return settings that keep decoded frames on disk where that is possible: all folds read the same."""
    if config.data.cache != "auto" or config.data.decode == "keyframes":
        return config
    shared = config.model_copy(update={"data": config.data.model_copy(update={"cache": "disk"})})
    try:
        choose_source(items, shared, num_workers(config.data.workers))
    except ConfigError:  # they do not fit; each run then does what it can
        return config
    return shared
