"""The events of a run, which the trainer passes to its caller; `console` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from vidcli.train.choice_bias import Expected

TOLERATED_IDLE = 0.1
"""Share of the time that a device may wait for videos."""


@dataclass(frozen=True)
class EpochRow:
    """The metrics of one epoch, a line of metrics.jsonl.

    Attributes:
        epoch: number of the epoch, from 1.
        lr: learning rate of its last step.
        train_loss: mean loss of a training clip.
        train_accuracy: share of training clips that were classified correctly, 0 to 1.
        val_loss: mean loss of a validation video; None without validation, as all that follow.
        val_top1: share of validation videos whose best class is right; None for a multi-label model.
        val_balanced_accuracy: mean recall of the classes; None for a multi-label model.
        val_map: mean average precision of a multi-label model; None for others.
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
        """The accuracy, or the mean average precision of a multi-label model; None without validation."""
        return self.val_map if self.val_top1 is None else self.val_top1


@dataclass(frozen=True)
class StepDone:
    """A step is done.

    Attributes:
        epoch: number of the epoch, from 1.
        step: number of the step in the epoch, from 1.
        num_steps: steps an epoch.
        loss: mean loss of a clip in the epoch so far.
        accuracy: share of its clips that were classified correctly so far, 0 to 1.
        clips_per_second: speed of the epoch, waiting included.
        seconds_left: until the end of the run, at that speed.
        waiting: share of the epoch's time that the device spent waiting for data, 0 to 1.
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
class Waits:
    """Who waited for whom while an epoch trained.

    Attributes:
        device: kind of the device that computed, such as cuda.
        idle: share of the time that the device waited for videos, 0 to 1; the rest it was busy.
    """

    device: str
    idle: float

    @property
    def is_device(self) -> bool:
        """Whether it is the device that waits, more than it should."""
        return self.idle > TOLERATED_IDLE


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done, and its row and weights are saved.

    Attributes:
        row: the metrics of the epoch.
        best: whether the epoch is the best so far.
        waits: who waited for whom; None where that cannot be told, and without videos.
    """

    row: EpochRow
    best: bool
    waits: Waits | None = None


@dataclass(frozen=True)
class Notice:
    """A sentence for the user, such as on a decision taken or a video left out."""

    text: str


@dataclass(frozen=True)
class CheckProgress:
    """The number of videos decoded before training starts, and of all."""

    done: int
    total: int


@dataclass(frozen=True)
class FeatureProgress:
    """The number of parts of the features computed before training starts, and of all."""

    done: int
    total: int


@dataclass(frozen=True)
class FollowProgress:
    """The seconds of validation recordings that were followed from end to end, and of all."""

    done: int
    total: int


@dataclass(frozen=True)
class ContenderProgress:
    """How far the trainings of a contender are, and what they come to; see `contender`."""

    done: int
    total: int


@dataclass(frozen=True)
class ChoiceMade:
    """What was tried by cross-validation, and what was chosen.

    Attributes:
        trials: plain values of each candidate, the chosen one first; see `choice.Trial.to_dict`.
        num_folds: folds of the cross-validation.
        expected: what new videos can expect of the chosen one; None of a multi-label model.
        by_look: whether folds keep videos together that look alike, since the data name no groups.
        advice: sentences on what would help most; none before the last choice.
    """

    trials: tuple[dict[str, Any], ...]
    num_folds: int
    expected: Expected | None
    by_look: bool
    advice: tuple[str, ...] = ()


Event: TypeAlias = (
    ChoiceMade
    | CheckProgress
    | ContenderProgress
    | FeatureProgress
    | FollowProgress
    | StepDone
    | EpochDone
    | Notice
)
