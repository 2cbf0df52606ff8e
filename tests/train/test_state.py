"""A resume state that somebody made up is refused before a run goes on from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from vidcli.train.state import check_progress, check_update

NUM_EPOCHS, NUM_STEPS = 3, 5
ROW = {
    "epoch": 1, "lr": 0.1, "train_loss": 0.5, "train_accuracy": 0.5, "val_loss": None, "val_top1": 0.5,
    "val_balanced_accuracy": 0.5, "val_map": None,
}  # fmt: skip
PROGRESS: dict[str, Any] = {
    "epoch": 1,
    "step": 2,
    "totals": {"loss": 0.5, "num_correct": 1, "num_clips": 2},
    "rows": [ROW],
    "best": [0.5, -1.0],
    "stale_epochs": 0,
    "failed_videos": ["a.mp4"],
    "num_parts": 1,
}


def optimizer() -> torch.optim.Optimizer:
    parameters = [torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(4))]
    made = torch.optim.AdamW(parameters)
    sum(parameter.sum() for parameter in parameters).backward()  # type: ignore[union-attr]
    made.step()
    return made


@pytest.fixture
def update() -> dict[str, Any]:
    return {"optimizer": copy.deepcopy(optimizer().state_dict()), "scaler": {"scale": 2.0}}


def test_what_a_run_saves_passes(update: dict[str, Any]) -> None:
    check_progress(PROGRESS, NUM_EPOCHS, NUM_STEPS)
    check_progress({**PROGRESS, "best": None, "rows": []}, NUM_EPOCHS, NUM_STEPS)
    check_update(update, optimizer())
    check_update({**update, "scaler": {}}, optimizer())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", 4),
        ("epoch", -1),
        ("epoch", True),
        ("epoch", 1.0),
        ("epoch", torch.tensor(1)),
        ("step", 6),
        ("step", "1"),
        ("totals", {"loss": float("nan"), "num_correct": 1, "num_clips": 2}),
        ("totals", {"loss": 1.0}),
        ("totals", []),
        ("rows", [ROW] * 4),
        ("rows", [{**ROW, "lr": None}]),
        ("rows", [{**ROW, "val_top1": "high"}]),
        ("rows", [{**ROW, "colour": 1}]),
        ("rows", ["row"]),
        ("rows", {}),
        ("best", [0.5]),
        ("best", [0.5, float("inf")]),
        ("best", "ab"),
        ("stale_epochs", -1),
        ("failed_videos", "abc"),
        ("failed_videos", [1]),
        ("num_parts", 0),
        ("num_parts", 10**9),
    ],
)
def test_progress_that_cannot_be_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name}: not what a run saves"):
        check_progress({**PROGRESS, name: value}, NUM_EPOCHS, NUM_STEPS)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved["state"][0].update(exp_avg=torch.ones(3, 2)),
        lambda saved: saved["state"][0].update(exp_avg="x"),
        lambda saved: saved["state"].update({7: {}}),
        lambda saved: saved["state"].update({"0": {}}),
        lambda saved: saved.pop("state"),
        lambda saved: saved["param_groups"][0].update(lr="fast"),
        lambda saved: saved["param_groups"][0].update(lr=float("nan")),
        lambda saved: saved["param_groups"][0].update(betas=(0.9,)),
        lambda saved: saved["param_groups"][0].update(params=[0]),
        lambda saved: saved["param_groups"].append({}),
    ],
)
def test_an_optimizer_of_another_kind_is_named(
    change: Callable[[dict[str, Any]], object], update: dict[str, Any]
) -> None:
    change(update["optimizer"])
    with pytest.raises(ValueError, match=r"^optimizer: not what a run saves"):
        check_update(update, optimizer())


@pytest.mark.parametrize("scaler", [None, {"scale": "x"}, {"scale": float("inf")}])
def test_a_scale_that_cannot_be_is_named(scaler: object, update: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^scaler: not what a run saves"):
        check_update({**update, "scaler": scaler}, optimizer())
