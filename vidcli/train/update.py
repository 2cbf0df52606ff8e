"""One update of the weights: it takes a batch and returns its loss.

The trainer and `compare` both train through it. They know about epochs, videos and files; this module knows
about optimisation: what learns, reduced precision, the loss, mixed clips, the optimizer and the running
average of the weights. The caller passes the number of the step, so that `state_dict` holds all state there
is to resume.

Shape suffixes: B clips, T frames, C channels, H W pixels, K classes. Features have other shapes after B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vidcli.config import Config
from vidcli.errors import TrainError
from vidcli.runtime.compat import compiler_error_type, copy_tensors
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.batchnorm import statistics_kept
from vidcli.train.freezing import Freezing
from vidcli.train.loss import ClipLoss, MultiLabelLoss, count_correct
from vidcli.train.mixing import ClipMixer
from vidcli.train.optimizer import Model, ScaledOptimizer, WeightAverage, reduced_precision
from vidcli.train.step_memory import StepMemory


class BatchTooLarge(Exception):
    """A part of a batch did not fit in memory; weights and optimizer have not changed."""


@dataclass(frozen=True)
class Share:
    """Which part of a step's batch this process computes.

    Attributes:
        num_clips: clips of the whole batch, over all processes.
        num_parts: parts that pass through the model one by one, as many in all processes; none is empty.
        num_copies: number of processes that compute the same clips as this one, itself included.
        sizes: number of clips of each process, by rank; empty where each process computes all of them.
    """

    num_clips: int
    num_parts: int
    num_copies: int = 1
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """The result of one batch: its mean loss, and the number of clips that were classified correctly.

    The correct class of a mixed clip is the one with the larger share.
    """

    loss: float
    num_correct: int


class Updater(Generic[Model]):
    """A model and all that changes its weights."""

    def __init__(
        self,
        model: Model,
        config: Config,
        class_counts: Sequence[int],
        steps_per_epoch: int,
        device: torch.device,
        group: Group = ALONE,
        part: nn.Module | None = None,
    ) -> None:
        """Build the optimizer.

        Args:
            model: on `device`; its `backbone`, if it has one, is frozen as the settings say.
            config: all settings; `train` and `augment` say how weights change.
            class_counts: training videos of each class, by label.
            steps_per_epoch: batches an epoch, which the rate depends on.
            device: where to compute.
            group: the processes that compute a batch together.
            part: the part of the model that batches pass through, where they are features of a frozen
                backbone; None is the whole model.
        """
        settings = config.train
        self.model = model
        self.freezing = Freezing(getattr(model, "backbone", nn.Module()), settings)
        self._settings, self._device, self._group = settings, device, group
        self._optimizer = ScaledOptimizer(model, settings, steps_per_epoch, device)
        self._loss = _build_loss(config, class_counts, device)
        self._mix = ClipMixer(config.augment, len(class_counts), settings.seed, group)
        self._average = WeightAverage(model, settings.ema) if settings.ema else None
        self._statistics = [torch.empty_like(buffer) for buffer in model.buffers()]
        self._part: nn.Module = model if part is None else part
        self._num_learning = -1
        self._memory = StepMemory(model, lambda clips, labels: self._compute(clips, labels, self._part))
        self._parallel = self._part
        self._forward: Callable[[Tensor], Tensor] = self._part

    @property
    def evaluated_model(self) -> Model:
        """The model to validate and save: the running average of the weights, where there is one."""
        return self.model if self._average is None else self._average.model

    def start_epoch(self, epoch: int) -> None:
        """Put the model in training mode and freeze what does not learn in an epoch, counted from 0."""
        self.model.train()
        self.freezing.apply(epoch)
        num_learning = sum(parameter.requires_grad for parameter in self.model.parameters())
        if num_learning != self._num_learning:  # stages only ever begin to learn, so their number tells which
            self._num_learning = num_learning
            self._parallel = self._group.parallel(self._part)
            self._forward = _compiled(self._parallel) if self._settings.compile == "on" else self._parallel

    def end_epoch(self) -> None:
        """Give all processes the BatchNorm statistics of the main one, so that they evaluate one model."""
        self._group.copy_buffers(self.model)
        if self._average is not None:
            self._group.copy_buffers(self._average.model)

    def seed_draws(self, position: int) -> None:
        """Seed what a step draws itself, such as dropout, by its number alone; see `__call__`."""
        _seed_draws(self._settings.seed, position, self._group.rank, self._device)

    def __call__(
        self, clips_BTCHW: Tensor, labels_B: Tensor, position: int, share: Share | None = None
    ) -> StepResult:
        """Change the weights by one batch, which passes through the model in `accumulate` parts.

        A loss that is not finite changes nothing; the caller has to look at it.

        Args:
            clips_BTCHW: normalised clips, or their features; on any device. Of several processes, the part
                of the batch that this one computes.
            labels_B: int64 labels, or float32 (B, K) with 1 for each class of a clip; on any device.
            position: number of the step, counted from 0 over the whole run.
            share: which part of the batch these clips are; None for the whole batch.

        Returns:
            The result of the whole batch, over all processes.

        Raises:
            TrainError: the model cannot be compiled.
            BatchTooLarge: a part does not fit in memory; nothing has changed.
        """
        self._optimizer.set_rate(position)
        share = share or Share(len(labels_B), min(self._settings.accumulate, len(labels_B)))
        copy_tensors(self._statistics, self.model.buffers())
        result: StepResult | None = None
        try:
            # Clips are mixed before the batch is cut, so that the parts have the clips of the whole.
            clips_BTCHW = clips_BTCHW.to(self._device, non_blocking=True)  # from pinned memory
            labels_B = labels_B.to(self._device)
            clips_BTCHW, targets = self._mix(clips_BTCHW, labels_B, position, share.sizes)
            result = self._find_gradients(clips_BTCHW, targets, share)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if result is None:  # after the handler, because its error keeps the memory in use
            self._optimizer.zero_grad()
            copy_tensors(self.model.buffers(), self._statistics)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            raise BatchTooLarge
        if not math.isfinite(result.loss):
            return result
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self.model, position)
        return result

    def fits(self, clips_BTCHW: Tensor, labels_B: Tensor) -> bool:
        """Tell whether clips fit in memory at once; nothing changes, and no other process takes part.

        Args:
            clips_BTCHW: normalised clips, or their features; on any device.
            labels_B: their labels, as for an update.
        """
        with statistics_kept(self.model):
            try:
                loss, _ = self._compute(clips_BTCHW, labels_B, self._part)
                self._optimizer.backward(loss)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                return False
            finally:
                self._optimizer.zero_grad()
        return True

    def has_room(self, clips_BTCHW: Tensor, labels_B: Tensor) -> bool:
        """Tell whether a CPU has the memory that a step on clips takes at once; see `step_memory`."""
        with statistics_kept(self.model):
            return self._device.type != "cpu" or self._memory.has_room(clips_BTCHW, labels_B)

    def _find_gradients(self, clips_BTCHW: Tensor, targets: Tensor, share: Share) -> StepResult:
        """Compute the gradients of the whole batch; they are of no use where its loss is not finite."""
        self._optimizer.zero_grad()
        # The loss is the mean over the whole batch: the weights of all clips of all processes sum to 1.
        clip_weight = 1 / (share.num_clips * share.num_copies)
        parts = zip(
            clips_BTCHW.tensor_split(share.num_parts), targets.tensor_split(share.num_parts), strict=True
        )
        result = StepResult(0.0, 0)
        for number, (part_BTCHW, part_targets) in enumerate(parts, start=1):
            is_last = number == share.num_parts
            # Processes exchange gradients once a step, with the last part.
            parallel = self._parallel
            waits = not is_last and isinstance(parallel, DistributedDataParallel)
            with parallel.no_sync() if waits else nullcontext():  # type: ignore[operator]
                loss, num_correct = self._compute(part_BTCHW, part_targets, self._forward)
                loss = loss * (clip_weight * len(part_targets))
                result = StepResult(result.loss + float(loss.detach()), result.num_correct + num_correct)
                if is_last:
                    rows = self._group.gather_numbers(result.loss, result.num_correct)
                    losses, counts = zip(*rows, strict=True)
                    result = StepResult(sum(losses), int(sum(counts)) // share.num_copies)
                    if not math.isfinite(result.loss):
                        return result
                # DistributedDataParallel averages the gradients of processes, but the loss is a sum.
                self._optimizer.backward(loss * self._group.size)
        return result

    def _compute(
        self, clips_BTCHW: Tensor, targets: Tensor, forward: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        """Return the mean loss of clips, and how many of them were classified correctly."""
        targets = targets.to(self._device)
        with reduced_precision(self._settings, self._device):
            logits_BK = forward(clips_BTCHW.to(self._device))
        loss = self._loss(logits_BK.float(), targets)
        if targets.dim() == 2 and isinstance(self._loss, ClipLoss):  # mixed
            targets = targets.argmax(-1)
        return loss, count_correct(logits_BK.detach(), targets)

    def state_dict(self) -> dict[str, Any]:
        """Return what a run needs to go on: weights, their average, and the state of the optimizer."""
        return {
            "model": self.model.state_dict(),
            "average": self._average.model.state_dict() if self._average is not None else None,
            **self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: other entries are ignored.

        Raises:
            KeyError: an entry is missing.
            RuntimeError: the weights are of another model, or the average is missing.
            ValueError: the state of the optimizer is of another model, or damaged.
        """
        self._optimizer.load_state_dict(state)
        self.model.load_state_dict(state["model"])
        if self._average is not None:
            self._average.model.load_state_dict(state["average"])


def _build_loss(
    config: Config, class_counts: Sequence[int], device: torch.device
) -> ClipLoss | MultiLabelLoss:
    settings = config.train
    if config.data.multi_label:
        return MultiLabelLoss(settings.label_smoothing)
    counts = class_counts if settings.class_balance == "loss" else None
    return ClipLoss(settings.label_smoothing, counts, device)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether torch ran out of memory; only on CUDA does it raise a class of its own for that."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "MPS backend out of memory" in text
        or "can't allocate memory" in text
    )


def _compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the model as a function that its first call compiles; the parameters stay the model's.

    The function raises a TrainError where there is no compiler, or the model cannot be compiled.
    """
    # This import takes half a second, so only runs that compile wait for it.
    compiler_error = compiler_error_type()
    run: Callable[[Tensor], Tensor] = torch.compile(model)

    def forward(clips_BTCHW: Tensor) -> Tensor:
        try:
            return run(clips_BTCHW)
        except compiler_error as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainError(
                f"train.compile=on: the model cannot be compiled here ({reason}). Install a C++ compiler, "
                "or set train.compile=off"
            ) from error

    return forward


def _seed_draws(seed: int, position: int, rank: int, device: torch.device) -> None:
    """Seed torch's generators for one step, such as for dropout, so that it draws the same in every run.

    A run that goes on therefore needs no state of these generators.
    """
    drawn = np.random.SeedSequence([seed, position, rank]).generate_state(1, np.uint64)[0]
    step_seed = int(drawn >> np.uint64(1))
    # `torch.manual_seed` seeds every kind of device there is, which takes a millisecond a step.
    torch.default_generator.manual_seed(step_seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(step_seed)
    elif device.type == "mps":
        torch.mps.manual_seed(step_seed)
