"""Try a network trained from pixels against what closed form chose, and take it where it answers better.

    parts of the training videos, groups kept whole      A        B        C
    trained on the others, answers the part            B,C->A   A,C->B   A,B->C     contender
    answers in cross-validation to the same videos        A        B        C        closed form

What a frozen network says of videos cannot always tell their classes: directions and turns, for instance,
it hardly knows. A small network of its own learns such things, and people and places by heart where it can.
Which of the two is the case, only videos that it has not seen can tell.

The contender is given up after the first parts if it is clearly worse, and where time is too short.

Shape suffixes: M videos, V views, K classes.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from vidcli.arrays import Bool
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import CHOICE_FILE, MODEL_FILE
from vidcli.config import Config, load_config
from vidcli.data.items import VideoItem
from vidcli.data.splits import folds_of_groups
from vidcli.errors import VidcliError
from vidcli.evaluate import Evaluation, evaluate
from vidcli.models import settle_clip
from vidcli.models.calibration import UNCALIBRATED, Calibration, fit_temperature
from vidcli.predict import Prediction, Predictor
from vidcli.predict.prediction import align
from vidcli.runtime.files import write_text, write_whole
from vidcli.runtime.plain import parse_json
from vidcli.runtime.processes import ALONE, Group
from vidcli.runtime.signals import undivided
from vidcli.train.choice import accuracies
from vidcli.train.events import ContenderProgress, EpochDone, EpochRow, Event, Notice
from vidcli.train.record import RunRecord
from vidcli.train.stream_solver import Learnt

_NUM_PARTS = 3
_CLEARLY = 2.0
"""Standard errors by which a contender that is given up is worse."""
_LAST_SHARE = 1.5
"""What the last training takes, of all videos, where one without a part takes 1."""


TrainRun: TypeAlias = Callable[
    [Config, Sequence[VideoItem], Path, torch.device, Callable[[Event], None], Group], list[EpochRow]
]
"""Trains a new model by steps in a directory that exists, and returns the rows of all epochs."""


class _TooLong(Exception):
    """There is not the time; the message says how long it would take."""


@dataclass(frozen=True)
class Score:
    """How well videos are answered that were not learnt from.

    Attributes:
        top1: share of right answers.
        balanced_accuracy: mean recall of the classes.
    """

    top1: float
    balanced_accuracy: float

    def __str__(self) -> str:
        return f"{self.top1:.3f}/{self.balanced_accuracy:.3f}"

    @property
    def mean(self) -> float:
        """What models are compared by."""
        return (self.top1 + self.balanced_accuracy) / 2


def contender_settings(config: Config) -> Config:
    """Return the settings of the contender of a run.

    Args:
        config: all settings of the run, with `train.contender`.

    Raises:
        ConfigError: there is no such recipe.
    """
    other = settle_clip(load_config(config.train.contender, [f"train.seed={config.train.seed}"]))
    kept = {"plots": config.train.plots, "tracker": config.train.tracker}
    train = other.train.model_copy(update=kept)
    augment = other.augment.model_copy(update={"flip": config.augment.flip})
    of_videos = {"data": config.data, "subject": config.subject}
    return other.model_copy(update=of_videos | {"train": train, "augment": augment})


class Answers:
    """What both have answered to videos that they had not learnt from.

    Attributes:
        of: the contender's answers, by the number of the video.
    """

    def __init__(self, learnt: Learnt) -> None:
        """Begin without answers of the contender.

        Args:
            learnt: what the run chose, with its own answers.
        """
        self.of: dict[int, Prediction] = {}
        self._names = list(learnt.class_names)
        self._labels = [item.label for item in learnt.scored]
        best_M = learnt.trials[0].logits_MK.argmax(axis=1).tolist()
        self._known_right_M = np.array(
            [self._names[best] == label for best, label in zip(best_M, self._labels, strict=True)]
        )

    @property
    def leaves_room(self) -> bool:
        """Whether the choice of the run has any answer wrong."""
        return not self._known_right_M.all()

    def is_clearly_worse(self) -> bool:
        """Whether chance can hardly explain that the contender is right more seldom."""
        gain_M = self._own_right() - self._known_right_M[[*self.of]].astype(float)
        return bool(gain_M.mean() + _CLEARLY * gain_M.std() / math.sqrt(len(gain_M)) < 0)

    def scores(self) -> tuple[Score, Score]:
        """Return how well the run and the contender answer the videos that both have answered."""
        asked = [*self.of]
        labels_M = np.array([self._names.index(self._labels[index]) for index in asked])
        known = accuracies(self._known_right_M[asked], labels_M)
        return Score(*known), Score(*accuracies(self._own_right(), labels_M))

    def calibration(self) -> Calibration:
        """Fit it to the contender's answers, as far as their models know all classes."""
        fitting = {
            index: answer.logits_VK
            for index, answer in self.of.items()
            if answer.logits_VK is not None and list(answer.class_names) == self._names
        }
        return fit_temperature(
            [*fitting.values()], [self._names.index(self._labels[index]) for index in fitting]
        )

    def evaluation(self) -> Evaluation:
        """Return the scores of the contender in detail, over all classes."""
        predictions = [align(answer, self._names) for answer in self.of.values()]
        return evaluate(predictions, [self._labels[index] for index in self.of], self._names)

    def _own_right(self) -> Bool:
        return np.array(
            [
                answer.error is None and answer.labels[0] == self._labels[index]
                for index, answer in self.of.items()
            ]
        )


class Contender:
    """One contest: a run in closed form that has ended, and the network that is trained against it."""

    def __init__(
        self,
        config: Config,
        learnt: Learnt,
        run: Path,
        device: torch.device,
        train_run: TrainRun,
        on_event: Callable[[Event], None],
        started: float,
    ) -> None:
        """Nothing is trained yet.

        Args:
            config: all settings of the run, as they were before it chose.
            learnt: what it chose.
            run: its directory.
            device: where to compute.
            train_run: trains a model by steps.
            on_event: called with progress, and with what came of it.
            started: when the run started, on the monotonic clock.

        Raises:
            ConfigError: there is no such recipe.
        """
        self._config, self._learnt, self._run, self._device = config, learnt, run, device
        self._train_run, self._on_event, self._started = train_run, on_event, started
        self._settings = contender_settings(config)
        self._answers = Answers(learnt)

    def compete(self, items: Sequence[VideoItem]) -> list[EpochRow] | None:
        """Train the contender on parts; return the rows of its training on all videos if it is taken.

        Its model and files then replace those of the run.

        Args:
            items: the videos of the run that can be used, each with its split.
        """
        if not self._answers.leaves_room:
            return None
        try:
            with tempfile.TemporaryDirectory(prefix="vidcli-contender-") as folder:
                return self._compete(items, Path(folder))
        except (_TooLong, VidcliError) as error:
            self._on_event(Notice(f"{self._told}: not tried to the end, and not taken: {error}"))
            return None
        except KeyboardInterrupt:
            self._on_event(
                Notice(
                    f"interrupted while {self._told} was trained; the model chosen before is in {self._run}, "
                    f"and `vidcli train --resume {self._run}` tries again"
                )
            )
            raise

    @property
    def _told(self) -> str:
        return f"a network trained from pixels (recipe {self._config.train.contender})"

    def _compete(self, items: Sequence[VideoItem], folder: Path) -> list[EpochRow] | None:
        answers = self._answers
        parts_M = np.array(folds_of_groups(self._learnt.scored, _NUM_PARTS, self._config.train.seed))
        # Where each class is in groups of its own, every group is a part.
        parts, seconds = np.unique(parts_M)[:_NUM_PARTS], 0.0
        for number, part in enumerate(parts):
            if number and self._lacks_time((1 + _LAST_SHARE) * seconds):
                break
            begun = time.monotonic()
            held_out = np.flatnonzero(parts_M == part).tolist()
            place = folder / f"part-{number}"
            asked = [self._learnt.scored[index] for index in held_out]
            self._train(self._without(asked), place, number / (len(parts) + _LAST_SHARE), len(parts))
            found = Predictor.load(place / MODEL_FILE, self._device).predict_many(asked)
            answers.of.update(zip(held_out, found, strict=True))
            shutil.rmtree(place)
            seconds = time.monotonic() - begun
            if answers.is_clearly_worse():
                break
        known, other = answers.scores()
        is_taken = other.mean > known.mean
        self._tell(known, other, is_taken)
        if not is_taken:
            self._note(known, other, is_taken)
            return None
        place = folder / "all"
        done = len(parts) / (len(parts) + _LAST_SHARE)
        rows = self._train(items, place, done, len(parts), is_timed=False)
        model = load_checkpoint(place / MODEL_FILE)
        if model.calibration == UNCALIBRATED:  # no validation videos
            save_checkpoint(place / MODEL_FILE, replace(model, calibration=answers.calibration()))
        with undivided():
            self._take(place)
            self._note(known, other, is_taken)
        return rows

    def _without(self, asked: Sequence[VideoItem]) -> list[VideoItem]:
        """Return the training videos that are neither asked nor of their groups."""
        gone, groups = set(asked), {item.group for item in asked} - {None}
        return [item for item in self._learnt.grouped if item not in gone and item.group not in groups]

    def _train(
        self, items: Sequence[VideoItem], place: Path, done: float, num_parts: int, is_timed: bool = True
    ) -> list[EpochRow]:
        """Train on some videos in a new directory; progress goes on from a share that is done."""
        place.mkdir()
        num_epochs, ends = self._settings.train.epochs, [time.monotonic()]
        share = (1.0 if is_timed else _LAST_SHARE) / (num_parts + _LAST_SHARE)
        settings = self._settings
        if is_timed:
            quiet = settings.train.model_copy(update={"plots": False, "tracker": "none"})
            settings = settings.model_copy(update={"train": quiet})

        def follow(event: Event) -> None:
            if not isinstance(event, EpochDone):
                return
            ends.append(time.monotonic())
            self._on_event(
                ContenderProgress(round(1000 * (done + share * event.row.epoch / num_epochs)), 1000)
            )
            if is_timed and event.row.epoch == 2:  # the first one decodes
                left = (ends[-1] - ends[-2]) * (num_epochs * (1 + _LAST_SHARE) - 2)
                if self._lacks_time(left):
                    raise _TooLong(
                        f"it would take {math.ceil(left / 60)} more minutes, and "
                        f"train.minutes={self._config.train.minutes:g}; `--minutes 0` takes the time"
                    )

        return self._train_run(settings, items, place, self._device, follow, ALONE)

    def _lacks_time(self, seconds: float) -> bool:
        minutes = self._config.train.minutes
        return bool(minutes) and time.monotonic() - self._started + seconds > 60 * minutes

    def _tell(self, known: Score, other: Score, is_taken: bool) -> None:
        outcome = "it is taken, and trained on all videos" if is_taken else "it is not taken"
        self._on_event(
            Notice(
                f"{self._told} answers {other} of {len(self._answers.of)} videos that it has not seen, "
                f"where the choice above answers {known} of the same: {outcome}"
            )
        )

    def _note(self, known: Score, other: Score, is_taken: bool) -> None:
        """Write in `choice.json` what came of it."""
        path = self._run / CHOICE_FILE
        told = parse_json(path.read_text(encoding="utf-8"))
        told["contender"] = {
            "recipe": self._config.train.contender,
            "num_videos": len(self._answers.of),
            "top1": other.top1,
            "balanced_accuracy": other.balanced_accuracy,
            "top1_of_choice": known.top1,
            "balanced_accuracy_of_choice": known.balanced_accuracy,
            "taken": is_taken,
        }
        write_text(path, json.dumps(told, indent=1) + "\n")

    def _take(self, place: Path) -> None:
        """Put the files of the contender's run in the place of those of the run."""
        for source in place.iterdir():
            write_whole(self._run / source.name, partial(shutil.copyfile, source))
        record = RunRecord(self._run, self._config.train.plots, self._on_event)
        record.draw_confusion(self._answers.evaluation())
