"""One update of the weights: a batch in, its loss out.

The loop knows about epochs, videos and files, this module about optimisation: what learns, the
learning rate, reduced precision, loss, clipping, the rule and the running average. Where a run is
comes from outside as a position, so that all state there is to resume is that of `state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidcli.config import Config
from vidcli.models import VideoModel
from vidcli.train.average import WeightAverage
from vidcli.train.compiling import compiled
from vidcli.train.freezing import Freezing
from vidcli.train.loss import ClipLoss
from vidcli.train.schedule import autocast_dtype, build_optimizer, learning_rate


@dataclass(frozen=True)
class StepResult:
    """What one batch gave: its mean loss, and how many clips were classified correctly."""

    loss: float
    num_correct: int


class Updater:
    """A model and the rule that changes its weights."""

    def __init__(
        self,
        model: VideoModel,
        config: Config,
        class_counts: Sequence[int],
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        """Build the optimizer.

        Args:
            model: on `device`.
            config: the rule, its rate, its precision, what learns when.
            class_counts: training videos of each class, by label.
            steps_per_epoch: batches an epoch; the rate depends on it.
            device: where to compute.
        """
        settings = config.train
        self.model = model
        self._settings, self._steps_per_epoch, self._device = settings, steps_per_epoch, device
        self._optimizer = build_optimizer(model, settings)
        self._autocast = autocast_dtype(settings, device)
        # Gradients of float16 vanish unless they are scaled up; other precisions pass through.
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._autocast is torch.float16)
        self._loss = ClipLoss(
            settings.label_smoothing, class_counts if settings.class_balance == "loss" else None, device
        )
        self.freezing = Freezing(model.backbone, settings)
        self._average = WeightAverage(model, settings.ema) if settings.ema else None
        self._forward: Callable[[Tensor], Tensor] = compiled(model) if settings.compile == "on" else model

    @property
    def evaluated_model(self) -> VideoModel:
        """The model to validate and save: the running average of the weights, where there is one."""
        return self.model if self._average is None else self._average.model

    def start_epoch(self, epoch: int) -> None:
        """Put the model in training mode, what learns and what does not as in that epoch (from 0)."""
        self.model.train()
        self.freezing.apply(epoch)

    def __call__(self, clips_BTCHW: Tensor, labels_B: Tensor, position: int) -> StepResult:
        """Change the weights by one batch, which passes through the model in `accumulate` parts.

        A loss that is no number changes nothing; the caller decides what to do about it.

        Args:
            clips_BTCHW: normalised clips, on any device.
            labels_B: int64 labels, on any device.
            position: number of the step, counted over the whole run.

        Raises:
            TrainError: the model cannot be compiled.
        """
        rate = learning_rate(self._settings, position, self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_ratio"]
        self._optimizer.zero_grad(set_to_none=True)
        result = StepResult(0.0, 0)
        parts = zip(
            clips_BTCHW.chunk(self._settings.accumulate),
            labels_B.chunk(self._settings.accumulate),
            strict=True,
        )
        for part_BTCHW, part_B in parts:
            part = self._accumulate(part_BTCHW, part_B, len(part_B) / len(labels_B))
            result = StepResult(result.loss + part.loss, result.num_correct + part.num_correct)
            if not math.isfinite(result.loss):
                return result
        self._scaler.unscale_(self._optimizer)
        if self._settings.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.grad_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update(self.model, position)
        return result

    def _accumulate(self, clips_BTCHW: Tensor, labels_B: Tensor, share: float) -> StepResult:
        """Add the gradient of a part of the batch, `share` of it; none where the loss is no number."""
        labels_B = labels_B.to(self._device)
        with torch.autocast(
            self._device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        ):
            logits_BK = self._forward(clips_BTCHW.to(self._device))
        loss = self._loss(logits_BK.float(), labels_B) * share
        value = float(loss.detach())
        if math.isfinite(value):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return StepResult(value, int((logits_BK.detach().argmax(-1) == labels_B).sum()))

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on from here: weights, their average, and the optimizer's memory."""
        return {
            "model": self.model.state_dict(),
            "average": self._average.model.state_dict() if self._average is not None else None,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` returned; other entries are passed over.

        Raises:
            KeyError: an entry is missing.
            RuntimeError: the weights are of another model, or there is no average where one is due.
            ValueError: the optimizer's memory is of another model.
        """
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.model.load_state_dict(state["average"])
        self._scaler.load_state_dict(state["scaler"])
