"""The update rule, the learning rate of every step, and the precision of the arithmetic."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from vidcli.config import TrainConfig


def build_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW or SGD; biases, norms and other vectors are not decayed.

    Each group says in `lr_ratio` by what to multiply the rate of the step.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            ratio = settings.backbone_lr_ratio if name.startswith("backbone.") else 1.0
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((decay, ratio), []).append(parameter)
    described = [
        {"params": parameters, "weight_decay": decay, "lr_ratio": ratio}
        for (decay, ratio), parameters in groups.items()
    ]
    # One kernel for all parameters; elsewhere torch chooses.
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
    """Return the rate of step `position`, counted over the whole run.

    A linear rise over `warmup_epochs`, then half a cosine down to zero.
    """
    num_steps = settings.epochs * steps_per_epoch
    num_warmup = min(round(settings.warmup_epochs * steps_per_epoch), num_steps - 1)
    if position < num_warmup:
        return settings.lr * (position + 1) / num_warmup
    progress = (position - num_warmup) / max(1, num_steps - num_warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def step_seed(seed: int, position: int, rank: int = 0) -> int:
    """Return what torch's generator starts from in step `position`, counted over the whole run.

    A step thus draws the same whatever was drawn before it, and a run that goes on needs no
    generator's state.
    """
    return int(np.random.SeedSequence([seed, position, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_generators(seed: int, device: torch.device) -> None:
    """Start torch's generators of the CPU and of `device`.

    As `torch.manual_seed` does for every kind of device there is, which takes a millisecond: too much for
    every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def autocast_dtype(settings: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the reduced precision to train in, or None for float32."""
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "float32"
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
