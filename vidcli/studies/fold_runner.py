"""Trains the folds of recipes one after the other, and gathers their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vidcli.config import Config
from vidcli.data.check import choose_source
from vidcli.data.items import VideoItem, class_names_of
from vidcli.errors import ConfigError
from vidcli.evaluate.details import is_right
from vidcli.predict.prediction import align
from vidcli.runtime.threads import num_workers
from vidcli.studies.fold_run import (
    FoldAnswers,
    FoldDone,
    FoldStarted,
    StudyEvent,
    load_answers,
    run_fold,
)
from vidcli.studies.folds import Fold
from vidcli.studies.pooled import Answer, RecipeScores


@dataclass(frozen=True)
class Recipe:
    """A recipe under study.

    Attributes:
        name: names its folder and its rows.
        config: all settings.
    """

    name: str
    config: Config


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
