"""Studies: questions that take many trainings to answer. None of them looks at the test split unless told to.

Reading order: `folds` (which videos are held out when), `fold_run` (one training and its answers),
`fold_runner` (all trainings of a recipe), `pooled` (what their answers say), `study_folder`, then `crossval`,
`learning_curve`, and `search_space`, `tuning_plan` and `tuning`.
"""

from __future__ import annotations

from vidcli.studies.crossval import CrossvalPlan, CrossvalResult, cross_validate, load_plan
from vidcli.studies.fold_run import FoldDone, FoldStarted, StudyEvent, TrialDone
from vidcli.studies.fold_runner import Recipe
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
    "TrialDone",
    "cross_validate",
    "load_plan",
]
