"""What of a resume state is looked at before a run goes on from it: types, shapes and ranges.

The file is read without running anything in it, but what it holds may be of any kind. Values are not
shown in messages: a few bytes of it can stand for a text that fills the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from vidcli.runtime.plain import is_number
from vidcli.train.events import EpochRow

_MAX_PARTS = 4096
_TOTALS = ("loss", "num_correct", "num_clips")


def check_progress(state: Mapping[str, Any], num_epochs: int, num_steps: int) -> None:
    """Check where a run stood.

    Args:
        state: of the file.
        num_epochs: of the run.
        num_steps: an epoch.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry is not what a run saves; names it.
    """
    best, rows = state["best"], state["rows"]
    checks = {
        "epoch": _is_whole(state["epoch"], num_epochs),
        "step": _is_whole(state["step"], num_steps),
        "totals": _are_numbers(state["totals"], _TOTALS),
        "rows": isinstance(rows, list) and len(rows) <= num_epochs and all(map(_is_row, rows)),
        "best": best is None or (isinstance(best, list) and len(best) == 2 and all(map(is_number, best))),
        "stale_epochs": _is_whole(state["stale_epochs"], num_epochs),
        "failed_videos": isinstance(state["failed_videos"], list)
        and all(isinstance(name, str) for name in state["failed_videos"]),
        "num_parts": _is_whole(state["num_parts"], _MAX_PARTS) and state["num_parts"] > 0,
    }
    _refuse(checks)


def check_update(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Check what an optimizer remembers of each parameter, and the scale of the loss.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry is not what a run saves; names it.
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


def _are_numbers(value: object, names: tuple[str, ...]) -> bool:
    return isinstance(value, dict) and set(value) == set(names) and all(map(is_number, value.values()))


def _is_row(row: object) -> bool:
    optional = {field.name for field in fields(EpochRow) if field.name.startswith("val_")}
    required = {field.name for field in fields(EpochRow)} - optional
    return (
        isinstance(row, dict)
        and required <= set(row) <= required | optional
        and all(is_number(value) or (value is None and name in optional) for name, value in row.items())
    )


def _are_groups(saved: object, optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether parameter groups are those of the optimizer, with settings of the same kinds."""
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(saved, list) or len(saved) != len(own):
        return False
    return all(
        isinstance(group, dict)
        and group.get("params") == mine["params"]
        # Other versions of torch have other settings beside these.
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
    """Tell whether what is kept of each parameter has its shape, or is one number."""
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
