"""Training: a run from its data to its directory, and the comparison of heads on frozen features."""

from vidcli.artifacts.claim import refuse_taken
from vidcli.train.compare import CompareProgress, Comparison, compare_heads
from vidcli.train.events import (
    CheckProgress,
    ChoiceMade,
    ContenderProgress,
    EpochDone,
    EpochRow,
    Event,
    FeatureProgress,
    FollowProgress,
    Notice,
    StepDone,
    Waits,
)
from vidcli.train.head_trials import HeadScore
from vidcli.train.run import RunPlan, epochs_of_run, plan_items, plan_run, resume_run, start_run
from vidcli.train.trainer import Trainer

__all__ = [
    "CheckProgress",
    "ChoiceMade",
    "CompareProgress",
    "Comparison",
    "ContenderProgress",
    "EpochDone",
    "EpochRow",
    "Event",
    "FeatureProgress",
    "FollowProgress",
    "HeadScore",
    "Notice",
    "RunPlan",
    "StepDone",
    "Trainer",
    "Waits",
    "compare_heads",
    "epochs_of_run",
    "plan_items",
    "plan_run",
    "refuse_taken",
    "resume_run",
    "start_run",
]
