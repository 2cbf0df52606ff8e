"""One update of the weights: a batch in, its loss out.

The loop knows about epochs, videos and files, this module about optimisation: learning rate,
reduced precision, loss, clipping and the rule. Where a run is comes from outside as a position, so
that all state there is to resume is that of `state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidcli.config import TrainConfig
from vidcli.train.schedule import autocast_dtype, build_optimizer, learning_rate


@dataclass(frozen=True)
class StepResult:
    """What one batch gave: its mean loss, and how many clips were classified correctly."""

    loss: float
    num_correct: int


class Updater:
    """A model and the rule that changes its weights."""

    def __init__(
        self, model: nn.Module, settings: TrainConfig, steps_per_epoch: int, device: torch.device
    ) -> None:
        """Build the optimizer.

        Args:
            model: on `device`; maps clips (B, T, C, H, W) to logits (B, K).
            settings: the rule, its rate and its precision.
            steps_per_epoch: batches an epoch; the rate depends on it.
            device: where to compute.
        """
        self.model = model
        self._settings, self._steps_per_epoch, self._device = settings, steps_per_epoch, device
        self._optimizer = build_optimizer(model, settings)
        self._autocast = autocast_dtype(settings, device)

    def __call__(self, clips_BTCHW: Tensor, labels_B: Tensor, position: int) -> StepResult:
        """Change the weights by one batch.

        A loss that is no number changes nothing; the caller decides what to do about it.

        Args:
            clips_BTCHW: normalised clips, on any device.
            labels_B: int64 labels, on any device.
            position: number of the step, counted over the whole run.
        """
        rate = learning_rate(self._settings, position, self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        labels_B = labels_B.to(self._device)
        with torch.autocast(
            self._device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        ):
            logits_BK = self.model(clips_BTCHW.to(self._device))
        loss = functional.cross_entropy(
            logits_BK.float(), labels_B, label_smoothing=self._settings.label_smoothing
        )
        value = float(loss.detach())
        if not math.isfinite(value):
            return StepResult(value, num_correct=0)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._settings.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.grad_clip)
        self._optimizer.step()
        return StepResult(value, int((logits_BK.detach().argmax(-1) == labels_B).sum()))

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on from here: the weights and the optimizer's memory."""
        return {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` returned; other entries are passed over.

        Raises:
            KeyError: an entry is missing.
            RuntimeError: the weights are of another model.
            ValueError: the optimizer's memory is of another model.
        """
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
