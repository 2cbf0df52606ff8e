"""Training: events, schedule, loop, and runs from their data to their directory."""

from vidcli.train.events import CheckProgress, EpochDone, EpochRow, Event, Notice, StepDone
from vidcli.train.loop import Trainer
from vidcli.train.run import RunPlan, epochs_of_run, plan_items, plan_run, resume_run, start_run

__all__ = [
    "CheckProgress",
    "EpochDone",
    "EpochRow",
    "Event",
    "Notice",
    "RunPlan",
    "StepDone",
    "Trainer",
    "epochs_of_run",
    "plan_items",
    "plan_run",
    "resume_run",
    "start_run",
]
