"""How gradients change weights: the update rule, the learning rate of each step, and the running average."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from vidcli.config import TrainConfig
from vidcli.train.freezing import backbone_stages
from vidcli.train.state import check_update

Model = TypeVar("Model", bound=nn.Module)


def build_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW or SGD; biases, norms and other vectors have no weight decay.

    The rate of the step times the `lr_ratio` of a parameter group is the rate of that group.

    Args:
        model: parameters named `backbone.*` learn at `train.backbone_lr_ratio` of the rate, and at
            `train.layer_decay` of that for each stage from there to the head.
        settings: the rule and its hyperparameters.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    stages = backbone_stages(getattr(model, "backbone", nn.Module()))
    shares = {
        parameter: settings.backbone_lr_ratio * settings.layer_decay ** (len(stages) - number)
        for number, stage in enumerate(stages)
        for module in stage
        for parameter in module.parameters()
    }
    for parameter in model.parameters():
        if parameter.requires_grad:
            ratio = shares.get(parameter, 1.0)
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((decay, ratio), []).append(parameter)
    described = [
        {"params": parameters, "weight_decay": decay, "lr_ratio": ratio}
        for (decay, ratio), parameters in groups.items()
    ]
    # One kernel updates all parameters on CPU and CUDA; on other devices torch chooses.
    fused = True if {parameter.device.type for parameter in model.parameters()} <= {"cpu", "cuda"} else None
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(described, lr=settings.lr, fused=fused)
    return torch.optim.SGD(
        described,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=fused,
    )


def learning_rate(settings: TrainConfig, position: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step: a linear rise over `warmup_epochs`, then half a cosine to zero.

    Args:
        settings: the highest rate, and the epochs of warm-up and of the run.
        position: number of the step, counted from 0 over the whole run.
        steps_per_epoch: batches an epoch.
    """
    num_steps = settings.epochs * steps_per_epoch
    num_warmup = min(round(settings.warmup_epochs * steps_per_epoch), num_steps - 1)
    if position < num_warmup:
        return settings.lr * (position + 1) / num_warmup
    progress = (position - num_warmup) / max(1, num_steps - num_warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def autocast_dtype(settings: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the reduced precision to train in, or None for float32."""
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "float32"
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def reduced_precision(settings: TrainConfig, device: torch.device) -> torch.autocast:
    """Return a context in which torch computes in the precision to train in.

    Args:
        settings: they name the precision.
        device: where to compute.
    """
    dtype = autocast_dtype(settings, device)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


class ScaledOptimizer:
    """An optimizer that sets the rate of each step, scales float16 gradients and clips them."""

    def __init__(
        self, model: nn.Module, settings: TrainConfig, steps_per_epoch: int, device: torch.device
    ) -> None:
        """Build the optimizer.

        Args:
            model: whose weights change; on `device`.
            settings: the rule, its rate, its precision, and the norm that gradients are clipped to.
            steps_per_epoch: batches an epoch, which the rate depends on.
            device: where to compute.
        """
        self._model, self._settings, self._steps_per_epoch = model, settings, steps_per_epoch
        self._optimizer = build_optimizer(model, settings)
        # Small float16 gradients would become zero unscaled; other precisions are not scaled.
        is_scaled = autocast_dtype(settings, device) is torch.float16
        self._scaler = torch.amp.GradScaler(device.type, enabled=is_scaled)

    def set_rate(self, position: int) -> None:
        """Set the learning rate of a step, counted from 0 over the whole run."""
        rate = learning_rate(self._settings, position, self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_ratio"]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, a scalar, to those there are."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Change the weights by the gradients; float16 gradients that overflow change only the scale."""
        self._scaler.unscale_(self._optimizer)
        if self._settings.grad_clip:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.grad_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the scale, which a run needs to go on."""
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, once it is checked.

        Args:
            state: other entries are ignored.

        Raises:
            KeyError: an entry is missing.
            ValueError: an entry is not the state of such an optimizer.
        """
        check_update(state, self._optimizer)
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


class WeightAverage(Generic[Model]):
    """Exponential moving average of a model's weights and BatchNorm statistics.

    The decay of step n is min(decay, (1 + n) / (10 + n)), as in TensorFlow's `ExponentialMovingAverage`, so
    that the random weights at the start fade in short runs too.
    """

    def __init__(self, model: Model, decay: float) -> None:
        """Start at the present weights.

        Args:
            model: the model to average.
            decay: share of the average that a step keeps, 0 to 1.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: Model, position: int) -> None:
        """Move the average towards the weights of a model.

        Args:
            model: the model after the step.
            position: number of the step, counted from 0 over the whole run.
        """
        decay = min(self._decay, (1 + position) / (10 + position))
        values = model.state_dict()
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                average.lerp_(values[name], 1 - decay)
            else:  # counters
                average.copy_(values[name])
