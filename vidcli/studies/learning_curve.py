"""Whether more data would help: the scores of trainings on a quarter, a half and all of the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from vidcli.data.items import VideoItem
from vidcli.evaluate.grouped import METRICS, Interval
from vidcli.evaluate.what_helps import judge_gain
from vidcli.studies.pooled import RecipeScores

_JUDGED = "balanced_accuracy"


@dataclass(frozen=True)
class CurvePoint:
    """The scores of trainings on a part of the groups.

    Attributes:
        share: of the training groups, 0 to 1.
        num_groups: mean number of groups, or of files without one, that a fold trains on.
        num_videos: mean number of videos that a fold trains on.
        scores: each metric with its 95% interval over groups.
    """

    share: float
    num_groups: float
    num_videos: float
    scores: Mapping[str, Interval]


@dataclass(frozen=True)
class LearningCurve:
    """What more training data brought to one recipe.

    Attributes:
        recipe: its name.
        points: by share, the smallest first.
        last_gain: of each metric from half of the groups to all of them, with its 95% interval.
        advice: one sentence: whether more videos would help.
    """

    recipe: str
    points: tuple[CurvePoint, ...]
    last_gain: Mapping[str, Interval]
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli crossval --json` prints them."""
        return {
            "recipe": self.recipe,
            "points": [
                {
                    "share": point.share,
                    "num_groups": point.num_groups,
                    "num_videos": point.num_videos,
                    **{name: score.value for name, score in point.scores.items()},
                    **{f"{name}_interval": list(score.ends) for name, score in point.scores.items()},
                }
                for point in self.points
            ],
            "last_gain": {name: asdict(gain) for name, gain in self.last_gain.items()},
            "advice": self.advice,
        }


def describe_curve(
    scores: Mapping[float, RecipeScores], trained_on: Mapping[float, Sequence[Sequence[VideoItem]]]
) -> LearningCurve:
    """Return the learning curve of a recipe.

    Args:
        scores: answers to the same held-out videos, by the share of the groups that were trained on.
        trained_on: the training videos of each fold, by the same share.
    """
    points = tuple(
        CurvePoint(
            share,
            mean(len({item.group or str(item.path) for item in items}) for items in trained_on[share]),
            mean(len(items) for items in trained_on[share]),
            recipe.scores,
        )
        for share, recipe in sorted(scores.items())
    )
    (_, half), (_, whole) = sorted(scores.items())[-2:]
    gains = whole.grouped.differences(half.grouped)
    assert set(gains) == set(METRICS)
    return LearningCurve(whole.name, points, gains, judge_gain(gains[_JUDGED]))
