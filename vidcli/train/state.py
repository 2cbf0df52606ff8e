"""Where a run is, and what of a saved state is checked before a run goes on from it.

A resume file is read without running anything in it, but its values may be of any type. Error messages do
not show these values: a few bytes of such a file can stand for a text that fills the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from vidcli.artifacts.run_folder import rank_epoch
from vidcli.runtime.plain import is_number
from vidcli.train.events import EpochRow

_MAX_PARTS = 4096


@dataclass
class EpochTotals:
    """Sums over the steps of an epoch.

    Attributes:
        loss: sum of the losses of the clips.
        num_correct: clips that were classified correctly.
        num_clips: clips trained on.
    """

    loss: float = 0.0
    num_correct: int = 0
    num_clips: int = 0

    @property
    def mean_loss(self) -> float:
        """Mean loss of a clip."""
        return self.loss / max(1, self.num_clips)

    @property
    def accuracy(self) -> float:
        """Share of clips that were classified correctly, 0 to 1."""
        return self.num_correct / max(1, self.num_clips)


@dataclass
class TrainState:
    """Where a run is; together with the weights and the optimizer, all that it needs to go on.

    Attributes:
        epoch: whole epochs done.
        step: steps done in the epoch that is not done yet.
        totals: of the epoch that is not done yet.
        rows: one an epoch that is done.
        best: what `rank_epoch` says of the best epoch; None before the first.
        stale_epochs: epochs done since the best one.
        failed_videos: paths of the training videos that could not be decoded any more.
    """

    epoch: int = 0
    step: int = 0
    totals: EpochTotals = field(default_factory=EpochTotals)
    rows: list[EpochRow] = field(default_factory=list)
    best: tuple[float, float] | None = None
    stale_epochs: int = 0
    failed_videos: set[str] = field(default_factory=set)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, counted from 1."""
        return len(self.rows) - self.stale_epochs

    def position(self, num_steps: int) -> int:
        """Return the number of steps done over the whole run, of `num_steps` an epoch."""
        return self.epoch * num_steps + self.step

    def end_epoch(self, row: EpochRow) -> bool:
        """Go on to the next epoch, and tell whether the one that ended is the best so far.

        Args:
            row: of the epoch that ended.
        """
        rank = rank_epoch(row.epoch, asdict(row))
        is_best = self.best is None or rank > self.best
        self.best = rank if is_best else self.best
        self.stale_epochs = 0 if is_best else self.stale_epochs + 1
        self.rows.append(row)
        self.epoch, self.step, self.totals = self.epoch + 1, 0, EpochTotals()
        return is_best

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the resume file."""
        return asdict(self) | {
            "best": list(self.best) if self.best is not None else None,
            "failed_videos": sorted(self.failed_videos),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], num_epochs: int, num_steps: int) -> TrainState:
        """Return the state that `to_dict` gave.

        Args:
            saved: of the resume file; other entries are ignored.
            num_epochs: epochs of the run.
            num_steps: steps an epoch.

        Raises:
            KeyError: an entry is missing.
            ValueError: an entry is not what a run saves; the message names it.
        """
        check_progress(saved, num_epochs, num_steps)
        return cls(
            epoch=saved["epoch"],
            step=saved["step"],
            totals=EpochTotals(**saved["totals"]),
            rows=[EpochRow(**row) for row in saved["rows"]],
            best=tuple(saved["best"]) if saved["best"] is not None else None,
            stale_epochs=saved["stale_epochs"],
            failed_videos=set(saved["failed_videos"]),
        )


def check_progress(state: Mapping[str, Any], num_epochs: int, num_steps: int) -> None:
    """Check the types and ranges of a saved `TrainState`.

    Args:
        state: of the resume file.
        num_epochs: epochs of the run.
        num_steps: steps an epoch.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry is not what a run saves; the message names it.
    """
    best, rows = state["best"], state["rows"]
    checks = {
        "epoch": _is_whole(state["epoch"], num_epochs),
        "step": _is_whole(state["step"], num_steps),
        "totals": _are_numbers(state["totals"], {entry.name for entry in fields(EpochTotals)}),
        "rows": isinstance(rows, list) and len(rows) <= num_epochs and all(map(_is_row, rows)),
        "best": best is None or (isinstance(best, list) and len(best) == 2 and all(map(is_number, best))),
        "stale_epochs": _is_whole(state["stale_epochs"], num_epochs),
        "failed_videos": isinstance(state["failed_videos"], list)
        and all(isinstance(name, str) for name in state["failed_videos"]),
        "num_parts": _is_whole(state["num_parts"], _MAX_PARTS) and state["num_parts"] > 0,
    }
    _refuse(checks)


def check_update(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Check the saved state of an optimizer and of the scale of the loss.

    Args:
        state: of the resume file.
        optimizer: that the state is for.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry is not what a run saves; the message names it.
    """
    saved, scaler = state["optimizer"], state["scaler"]
    is_whole = isinstance(saved, dict) and {"state", "param_groups"} <= set(saved)
    checks = {
        "optimizer": is_whole
        and _are_groups(saved["param_groups"], optimizer)
        and _is_memory(saved["state"], optimizer),
        "scaler": isinstance(scaler, dict) and all(map(is_number, scaler.values())),
    }
    _refuse(checks)


def _refuse(checks: Mapping[str, bool]) -> None:
    if wrong := [name for name, is_right in checks.items() if not is_right]:
        raise ValueError(f"{', '.join(wrong)}: not what a run saves")


def _is_whole(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _are_numbers(value: object, names: set[str]) -> bool:
    return isinstance(value, dict) and set(value) == names and all(map(is_number, value.values()))


def _is_row(row: object) -> bool:
    optional = {field.name for field in fields(EpochRow) if field.name.startswith("val_")}
    required = {field.name for field in fields(EpochRow)} - optional
    return (
        isinstance(row, dict)
        and required <= set(row) <= required | optional
        and all(is_number(value) or (value is None and name in optional) for name, value in row.items())
    )


def _are_groups(saved: object, optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether parameter groups are those of the optimizer, with settings of the same types."""
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(saved, list) or len(saved) != len(own):
        return False
    return all(
        isinstance(group, dict)
        and group.get("params") == mine["params"]
        # Other versions of torch have further settings.
        and all(_is_alike(group[name], mine[name]) for name in mine.keys() & group.keys())
        for group, mine in zip(saved, own, strict=True)
    )


def _is_alike(value: object, own: object) -> bool:
    if is_number(own):
        return is_number(value)
    if isinstance(own, (tuple, list)):
        return isinstance(value, (tuple, list)) and len(value) == len(own) and all(map(is_number, value))
    return type(value) is type(own)


def _is_memory(saved: object, optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether each tensor kept for a parameter has the parameter's shape or is one number."""
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    return isinstance(saved, dict) and all(
        type(number) is int
        and 0 <= number < len(shapes)
        and isinstance(kept, dict)
        and all(
            value is None
            or is_number(value)
            or (isinstance(value, Tensor) and value.shape in (torch.Size(), shapes[number]))
            for value in kept.values()
        )
        for number, kept in saved.items()
    )
