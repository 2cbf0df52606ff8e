"""Out-of-fold answers of all folds and seeds together: their scores, their table, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vidcli.data.items import VideoItem
from vidcli.evaluate import Comparison, compare, evaluate
from vidcli.evaluate.comparison import find_baseline, judge
from vidcli.evaluate.details import is_right
from vidcli.evaluate.grouped import METRICS, GroupedAnswers, Interval, measure_confusion
from vidcli.predict import Prediction
from vidcli.sheets import csv_text, shown_cell


@dataclass(frozen=True)
class Answer:
    """The answer to a video by a model that never saw its group.

    Attributes:
        item: the labelled video.
        fold: number of the fold that held it out, from 1.
        seed: of the training.
        prediction: over all classes of the study.
    """

    item: VideoItem
    fold: int
    seed: int
    prediction: Prediction


@dataclass(frozen=True)
class FoldScore:
    """How good the models of one fold are.

    Attributes:
        fold: its number, from 1.
        group: the group that it holds out, where it is a single one by itself.
        num_videos: held-out videos.
        top1: share of right answers, over all seeds.
        balanced_accuracy: mean recall of the classes that occur.
        macro_f1: mean F1 of the classes that occur or are answered.
    """

    fold: int
    group: str | None
    num_videos: int
    top1: float
    balanced_accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class RecipeDifference:
    """How much better one recipe is than another on the same folds.

    Attributes:
        recipe: name of the one.
        against: name of the other.
        differences: of each metric, with its 95% interval over groups.
        p_value: of a sign-flip test over groups on the right answers.
        videos: both recipes video by video, with McNemar's test, which takes videos as independent; None with
            several seeds.
    """

    recipe: str
    against: str
    differences: dict[str, Interval]
    p_value: float
    videos: Comparison | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli crossval --json` prints them."""
        told: dict[str, Any] = {"recipe": self.recipe, "against": self.against, "p_value": self.p_value}
        for name, difference in self.differences.items():
            told |= {name: difference.value, f"{name}_interval": list(difference.ends)}
        return told | {"videos": None if self.videos is None else self.videos.to_dict()}


class RecipeScores:
    """The out-of-fold answers of one recipe and their scores.

    Attributes:
        name: of the recipe.
        answers: to every video, once a seed.
        class_names: the classes of the study.
    """

    def __init__(
        self, name: str, answers: Sequence[Answer], class_names: Sequence[str], groups: Sequence[str | None]
    ) -> None:
        """Keep the answers.

        Args:
            name: of the recipe.
            answers: to every video, once a seed.
            class_names: the classes of the study.
            groups: the group that each fold holds out, where it is a single one by itself.
        """
        self.name, self.answers, self.class_names = name, list(answers), tuple(class_names)
        self._groups = groups

    @cached_property
    def grouped(self) -> GroupedAnswers:
        """The answers counted by group."""
        return self._count(self.answers)

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """Each metric with its 95% interval over groups."""
        return self.grouped.scores()

    @property
    def num_failed(self) -> int:
        """Number of answers that failed, because a video could not be decoded."""
        return sum(answer.prediction.error is not None for answer in self.answers)

    @property
    def num_videos(self) -> int:
        """Number of videos, each counted once."""
        return len(self.answers) // len({answer.seed for answer in self.answers})

    @property
    def per_fold(self) -> list[FoldScore]:
        """The scores of each fold."""
        rows = []
        for fold, group in enumerate(self._groups, start=1):
            answers = [answer for answer in self.answers if answer.fold == fold]
            values = measure_confusion(self._count(answers).confusion_KK1)
            num_videos = len(answers) // len({answer.seed for answer in answers})
            rows.append(FoldScore(fold, group, num_videos, *map(float, values)))
        return rows

    @property
    def per_seed(self) -> dict[int, dict[str, float]]:
        """The scores of each seed."""
        found = {}
        for seed in sorted({answer.seed for answer in self.answers}):
            answers = [answer for answer in self.answers if answer.seed == seed]
            values = measure_confusion(self._count(answers).confusion_KK1)
            found[seed] = dict(zip(METRICS, map(float, values), strict=True))
        return found

    @property
    def verdict(self) -> str:
        """One sentence that compares the accuracy with always answering the largest class."""
        top1 = self.scores["top1"]
        labels = [answer.item.label for answer in self.answers]
        return judge(top1.value, top1.ends, find_baseline(labels), self.num_videos)

    def difference_from(self, other: RecipeScores) -> RecipeDifference:
        """Return how much better this recipe is than another on the same folds and seeds."""
        videos = None
        if len(self.per_seed) == 1:
            right, others_right = (
                [is_right(answer.item, answer.prediction) for answer in recipe.answers]
                for recipe in (self, other)
            )
            videos = compare(right, others_right)
        return RecipeDifference(
            self.name,
            other.name,
            self.grouped.differences(other.grouped),
            self.grouped.sign_flip_p(other.grouped),
            videos,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli crossval --json` prints them."""
        labels = [answer.item.label for answer in self.answers]
        pooled = evaluate([answer.prediction for answer in self.answers], labels, self.class_names)
        told: dict[str, Any] = {"recipe": self.name}
        for name, score in self.scores.items():
            told |= {name: score.value, f"{name}_interval": list(score.ends)}
        return told | {
            "loss": pooled.loss,
            "baseline_top1": find_baseline(labels).share,
            "verdict": self.verdict,
            "num_videos": self.num_videos,
            "num_failed": self.num_failed,
            "num_groups": self.grouped.num_groups,
            "per_fold": [asdict(row) for row in self.per_fold],
            "per_seed": [{"seed": seed, **scores} for seed, scores in self.per_seed.items()],
            "per_class": [asdict(row) for row in pooled.per_class],
            "confusion": pooled.confusion,
        }

    def rows(self) -> list[list[object]]:
        """Return a row of the table of answers for each; see `answers_csv`."""
        rows: list[list[object]] = []
        for answer in self.answers:
            item, prediction = answer.item, answer.prediction
            end = "" if item.end_seconds is None else item.end_seconds
            about = [self.name, item.path, item.start_seconds, end, item.label, item.group or ""]
            told = [prediction.label or "", str(is_right(item, prediction)).lower(), prediction.error or ""]
            values = prediction.probabilities
            shown = [""] * len(self.class_names) if values is None else values.tolist()
            rows.append([*about, answer.fold, answer.seed, *told, item.track or "", *shown])
        return rows

    def _count(self, answers: Sequence[Answer]) -> GroupedAnswers:
        label_of = {name: label for label, name in enumerate(self.class_names)}
        failed = len(self.class_names)
        return GroupedAnswers(
            [answer.item for answer in answers],
            [label_of[answer.item.label] for answer in answers],
            [
                failed if (values := answer.prediction.probabilities) is None else int(np.argmax(values))
                for answer in answers
            ],
            failed,
        )


ANSWER_COLUMNS = (
    *("recipe", "path", "start", "end", "label", "group", "fold", "seed"),
    *("predicted", "correct", "error", "track"),
)


def answers_csv(recipes: Sequence[RecipeScores]) -> str:
    """Return the out-of-fold answers as CSV, a row for each recipe, seed and video.

    Args:
        recipes: of one study.
    """
    header: list[object] = [*ANSWER_COLUMNS, *recipes[0].class_names]
    rows = [header, *(row for recipe in recipes for row in recipe.rows())]
    return csv_text([shown_cell(str(c)) if not isinstance(c, float) else c for c in row] for row in rows)
