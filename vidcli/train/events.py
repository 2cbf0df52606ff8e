"""What a run tells while it goes on; `console` shows it, tests record it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class EpochRow:
    """What one epoch reached; a line of metrics.jsonl.

    Validation is None without a val split; `val_map` is that of a multi-label model, which has no
    accuracies.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None = None
    val_top1: float | None = None
    val_balanced_accuracy: float | None = None
    val_map: float | None = None

    @property
    def val_score(self) -> float | None:
        """What the best epoch has most of: accuracy, of a multi-label model mean average precision."""
        return self.val_map if self.val_top1 is None else self.val_top1


@dataclass(frozen=True)
class StepDone:
    """Progress inside an epoch: running means of the epoch, speed, and time left in the run.

    Attributes:
        waiting: share of the epoch's time spent waiting for data, 0 to 1.
    """

    epoch: int
    step: int
    num_steps: int
    loss: float
    accuracy: float
    clips_per_second: float
    seconds_left: float
    waiting: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over, its row written and its weights saved; `best` if it is the best so far."""

    row: EpochRow
    best: bool


@dataclass(frozen=True)
class Notice:
    """Something the user should know: a decision taken, a video left out."""

    text: str


@dataclass(frozen=True)
class CheckProgress:
    """How many videos have been decoded before training starts."""

    done: int
    total: int


@dataclass(frozen=True)
class FeatureProgress:
    """How far a frozen backbone is with the features of all videos, before training starts."""

    done: int
    total: int


Event: TypeAlias = CheckProgress | FeatureProgress | StepDone | EpochDone | Notice
