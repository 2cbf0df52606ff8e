"""Studies: questions that take many trainings to answer. None of them looks at the test split unless told to.

Reading order: `folds` (which videos are held out when), `fold_run` (one training and its answers),
`crossval` (all of them, and what they say).
"""

from __future__ import annotations

from vidcli.studies.crossval import CrossvalPlan, CrossvalResult, Recipe, cross_validate, load_plan
from vidcli.studies.fold_run import FoldDone, FoldStarted, StudyEvent
from vidcli.studies.pooled import FoldScore, RecipeDifference, RecipeScores

__all__ = [
    "CrossvalPlan",
    "CrossvalResult",
    "FoldDone",
    "FoldScore",
    "FoldStarted",
    "Recipe",
    "RecipeDifference",
    "RecipeScores",
    "StudyEvent",
    "cross_validate",
    "load_plan",
]
