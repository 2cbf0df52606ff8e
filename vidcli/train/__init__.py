"""Training: events, schedule, loop, and runs from their data to their directory."""

from vidcli.artifacts.claim import refuse_taken
from vidcli.train.compare import CompareProgress, Comparison, HeadScore, compare_heads
from vidcli.train.events import (
    CheckProgress,
    EpochDone,
    EpochRow,
    Event,
    FeatureProgress,
    Notice,
    StepDone,
)
from vidcli.train.run import RunPlan, epochs_of_run, plan_items, plan_run, resume_run, start_run
from vidcli.train.trainer import Trainer

__all__ = [
    "CheckProgress",
    "CompareProgress",
    "Comparison",
    "EpochDone",
    "EpochRow",
    "Event",
    "FeatureProgress",
    "HeadScore",
    "Notice",
    "RunPlan",
    "StepDone",
    "Trainer",
    "compare_heads",
    "epochs_of_run",
    "plan_items",
    "plan_run",
    "refuse_taken",
    "resume_run",
    "start_run",
]
