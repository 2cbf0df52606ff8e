"""One update of the weights: a batch in, its loss out.

The loop knows about epochs, videos and files, this module about optimisation: what learns, the
learning rate, reduced precision, loss, clipping, the rule and the running average. Where a run is
comes from outside as a position, so that all state there is to resume is that of `state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from vidcli.config import Config
from vidcli.models import VideoModel
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.compiling import compiled
from vidcli.train.freezing import Freezing
from vidcli.train.loss import ClipLoss, MultiLabelLoss, count_correct
from vidcli.train.mixing import ClipMixer
from vidcli.train.resume_state import check_update
from vidcli.train.schedule import autocast_dtype, build_optimizer, learning_rate
from vidcli.train.weight_average import WeightAverage


class BatchTooLarge(Exception):
    """A part of a batch did not fit in memory; weights and optimizer are as they were."""


@dataclass(frozen=True)
class Share:
    """What of a step's batch this process computes.

    Attributes:
        num_clips: of the whole batch, over all processes.
        num_parts: passes through the model, the same in all processes; each has one clip or more.
        num_copies: how many processes compute these very clips.
        sizes: clips of each process, by rank; empty where each has all of them.
    """

    num_clips: int
    num_parts: int
    num_copies: int = 1
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """What one batch gave: its mean loss, and how many clips were classified correctly.

    Of a mixed clip the class with the larger share is the correct one.
    """

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
        group: Group = ALONE,
        part: nn.Module | None = None,
    ) -> None:
        """Build the optimizer.

        Args:
            model: on `device`.
            config: the rule, its rate, its precision, what learns when.
            class_counts: training videos of each class, by label.
            steps_per_epoch: batches an epoch; the rate depends on it.
            device: where to compute.
            group: the processes that compute a batch together.
            part: what batches go through, of features then, where the backbone never learns; None
                is the whole model.
        """
        settings = config.train
        self.model = model
        self._settings, self._steps_per_epoch, self._device = settings, steps_per_epoch, device
        self._optimizer = build_optimizer(model, settings)
        self._autocast = autocast_dtype(settings, device)
        # Gradients of float16 vanish unless they are scaled up; other precisions pass through.
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._autocast is torch.float16)
        self._loss: Callable[[Tensor, Tensor], Tensor]
        if config.data.multi_label:
            self._loss = MultiLabelLoss(settings.label_smoothing)
        else:
            counts = class_counts if settings.class_balance == "loss" else None
            self._loss = ClipLoss(settings.label_smoothing, counts, device)
        self._is_multi_label = config.data.multi_label
        self._mix = ClipMixer(config.augment, len(class_counts), settings.seed, group)
        self.freezing = Freezing(model.backbone, settings)
        self._average = WeightAverage(model, settings.ema) if settings.ema else None
        self._group, self._learning = group, -1
        self._statistics = [torch.empty_like(buffer) for buffer in model.buffers()]
        self._part = model if part is None else part
        self._parallel: nn.Module = self._part
        self._forward: Callable[[Tensor], Tensor] = self._part

    @property
    def evaluated_model(self) -> VideoModel:
        """The model to validate and save: the running average of the weights, where there is one."""
        return self.model if self._average is None else self._average.model

    def start_epoch(self, epoch: int) -> None:
        """Put the model in training mode, what learns and what does not as in that epoch (from 0)."""
        self.model.train()
        self.freezing.apply(epoch)
        learning = sum(parameter.requires_grad for parameter in self.model.parameters())
        if learning != self._learning:  # stages only ever begin to learn, so the number tells which
            self._learning = learning
            self._parallel = self._group.parallel(self._part)
            self._forward = compiled(self._parallel) if self._settings.compile == "on" else self._parallel

    def end_epoch(self) -> None:
        """Give all processes the statistics of the main one, so that they evaluate the same model."""
        self._group.copy_buffers(self.model)
        if self._average is not None:
            self._group.copy_buffers(self._average.model)

    def __call__(
        self, clips_BTCHW: Tensor, labels_B: Tensor, position: int, share: Share | None = None
    ) -> StepResult:
        """Change the weights by one batch, which passes through the model in `accumulate` parts.

        A loss that is no number changes nothing; the caller decides what to do about it.

        Args:
            clips_BTCHW: normalised clips, on any device; this process's part of the batch.
            labels_B: int64 labels, on any device; of several classes float32 (B, K), 1 for those there.
            position: number of the step, counted over the whole run.
            share: what of the batch these clips are; None for all of it.

        Returns:
            The result of the whole batch.

        Raises:
            TrainError: the model cannot be compiled.
            BatchTooLarge: a part does not fit in memory; nothing has changed.
        """
        rate = learning_rate(self._settings, position, self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_ratio"]
        share = share or Share(len(labels_B), min(self._settings.accumulate, len(labels_B)))
        _copy_all(self.model.buffers(), self._statistics)
        result: StepResult | None = None
        try:
            # Mixed before it is split, so that parts are those of the batch that would go through at once.
            clips_BTCHW = clips_BTCHW.to(self._device, non_blocking=True)  # from pinned memory
            labels_B = labels_B.to(self._device)
            clips_BTCHW, targets = self._mix(clips_BTCHW, labels_B, position, share.sizes)
            result = self._find_gradients(clips_BTCHW, targets, share)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if result is None:  # past the handler, whose error holds on to the memory
            self._optimizer.zero_grad(set_to_none=True)
            _copy_all(self._statistics, self.model.buffers())
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            raise BatchTooLarge
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

    def fits(self, clips_BTCHW: Tensor, labels_B: Tensor) -> bool:
        """Tell whether these clips fit in memory at once; changes nothing, and asks no other process."""
        norms = [part for part in self.model.modules() if isinstance(part, _BatchNorm) and part.training]
        for norm in norms:
            norm.eval()
        try:
            loss, _ = self._compute(clips_BTCHW, labels_B, self._part)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return False
        finally:
            self._optimizer.zero_grad(set_to_none=True)
            for norm in norms:
                norm.train()
        return True

    def _find_gradients(self, clips_BTCHW: Tensor, targets: Tensor, share: Share) -> StepResult:
        """Compute the gradients of the whole batch; none that count where its loss is no number."""
        self._optimizer.zero_grad(set_to_none=True)
        # Of the mean over the whole batch; the weights of all clips of all processes sum to 1.
        clip_weight = 1 / (share.num_clips * share.num_copies)
        parts = zip(
            clips_BTCHW.tensor_split(share.num_parts), targets.tensor_split(share.num_parts), strict=True
        )
        result = StepResult(0.0, 0)
        for number, (part_BTCHW, part_targets) in enumerate(parts, start=1):
            is_last = number == share.num_parts
            # Gradients are exchanged once a step, with those of the last part.
            parallel = self._parallel
            waits = not is_last and isinstance(parallel, DistributedDataParallel)
            with parallel.no_sync() if waits else nullcontext():  # type: ignore[operator]
                loss, num_correct = self._compute(part_BTCHW, part_targets, self._forward)
                loss = loss * (clip_weight * len(part_targets))
                result = StepResult(result.loss + float(loss.detach()), result.num_correct + num_correct)
                if is_last:
                    result = self._merge(result, share)
                    if not math.isfinite(result.loss):
                        return result
                # Processes average their gradients; the sum is wanted.
                self._scaler.scale(loss * self._group.size).backward()  # type: ignore[no-untyped-call]
        return result

    def _compute(
        self, clips_BTCHW: Tensor, targets: Tensor, forward: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        """Return the mean loss of clips, and how many of them were classified correctly."""
        targets = targets.to(self._device)
        with torch.autocast(
            self._device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        ):
            logits_BK = forward(clips_BTCHW.to(self._device))
        loss = self._loss(logits_BK.float(), targets)
        if targets.dim() == 2 and not self._is_multi_label:  # mixed
            targets = targets.argmax(-1)
        return loss, count_correct(logits_BK.detach(), targets)

    def _merge(self, result: StepResult, share: Share) -> StepResult:
        """Return the result of the whole batch from those of all processes."""
        losses, counts = zip(*self._group.gather_numbers(result.loss, result.num_correct), strict=True)
        return StepResult(sum(losses), int(sum(counts)) // share.num_copies)

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
            ValueError: the optimizer's memory is of another model, or no such memory.
        """
        check_update(state, self._optimizer)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.model.load_state_dict(state["average"])
        self._scaler.load_state_dict(state["scaler"])


def _copy_all(sources: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
    """Overwrite each target by its source, at once: one by one takes ten times as long for small tensors."""
    if targets := list(targets):
        torch._foreach_copy_(targets, list(sources))


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether torch raised this for want of memory; CUDA alone has a class of its own for it."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "MPS backend out of memory" in text
        or "can't allocate memory" in text
    )
