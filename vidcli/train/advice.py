"""What to tell the user about the settings of a run, before it starts and while it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterator

from vidcli.config import Config, DataConfig
from vidcli.data.frames import FrameSource
from vidcli.models import VideoClassifier, VideoModel, unused_settings
from vidcli.models.hf_encoders import ClipEncoder
from vidcli.runtime.threads import num_workers
from vidcli.train.batchnorm import has_batchnorm
from vidcli.train.events import TOLERATED_IDLE, Waits
from vidcli.train.freezing import Freezing, is_frozen
from vidcli.train.frozen import obstacle_to_features

# A very short epoch mostly waits for its first batch, which is no reason to advise anything.
_TOLERATED_SECONDS = 1.0


def iter_advice(config: Config, model: VideoModel, freezing: Freezing, has_validation: bool) -> Iterator[str]:
    """Yield a sentence for every setting that has no effect in this run, or not the effect it is meant for.

    Args:
        config: all settings.
        model: the model to train.
        freezing: of its backbone.
        has_validation: whether there are validation videos.
    """
    parts = f"{config.model.backbone} and {config.model.head}"
    for name in unused_settings(config.model):
        yield f"{name} has no effect with {parts}"
    train = config.train
    frozen = is_frozen(config)
    idle = _idle_settings(config, model, has_validation)
    for name, (is_idle, reason) in idle.items():
        if is_idle and _is_changed(config, name):
            yield f"{name} has no effect {reason}"
    starts_random = not config.model.pretrained and config.model.weights is None
    for name in ("train.freeze_epochs", "train.freeze_batchnorm", "train.unfreeze_every"):
        if starts_random and _is_changed(config, name):
            yield (
                f"{name} holds on to a backbone that starts random; it is meant for model.pretrained=true "
                "or model.weights=FILE"
            )
    knows_colours = config.model.pretrained is True and config.model.weights is None
    reads_differences = config.model.frame_differences and _sees_frames(model)
    if knows_colours and reads_differences and (frozen or train.lora):
        yield (
            "model.frame_differences=true has no effect: published weights know colours only, and the "
            "backbone never learns to see more; false saves the time"
        )
    if frozen and train.frozen_clips and (obstacle := obstacle_to_features(config)) is not None:
        yield f"the backbone stays frozen, and yet works in every epoch: {obstacle}"
    if train.unfreeze_every and not frozen:
        yield (
            f"the last of the backbone's {freezing.num_stages} stages learns from epoch "
            f"{train.freeze_epochs + 1}, the first from epoch {freezing.full_epoch + 1} of {train.epochs}"
        )


def _sees_frames(model: VideoModel) -> bool:
    return isinstance(model, VideoClassifier) and not isinstance(model.backbone, ClipEncoder)


def _idle_settings(config: Config, model: VideoModel, has_validation: bool) -> dict[str, tuple[bool, str]]:
    """Return for each setting that others can make idle whether they do, and which ones."""
    train, frozen = config.train, is_frozen(config)
    return {
        "train.minutes": (True, "unless train.optimizer=ridge"),
        "train.ridge": (True, "unless train.optimizer=ridge"),
        "train.contender": (True, "unless train.optimizer=ridge"),
        "train.momentum": (train.optimizer == "adamw", "with train.optimizer=adamw"),
        "train.patience": (not has_validation, "without validation videos"),
        "train.freeze_batchnorm": (
            not has_batchnorm(model.backbone),
            f"with {config.model.backbone}, which has no BatchNorm",
        ),
        "train.lora_alpha": (not train.lora, "with train.lora=0"),
        "train.layer_decay": (frozen, "when the backbone stays frozen to the end"),
        "train.backbone_lr_ratio": (frozen, "when the backbone stays frozen to the end"),
        "train.unfreeze_every": (frozen, "when the backbone stays frozen to the end"),
        "train.frozen_clips": (not frozen, "unless the backbone stays frozen to the end"),
        "augment.jitter": (config.clip.sampling == "segments", "with clip.sampling=segments"),
        "augment.randaugment_magnitude": (not config.augment.randaugment, "with augment.randaugment=0"),
        "augment.mixup": (train.batch_size == 1, "with train.batch_size=1"),
        "augment.cutmix": (train.batch_size == 1, "with train.batch_size=1"),
        "clip.fit": (config.clip.resize is not None, "with clip.resize"),
        "clip.crop_ratio": (config.clip.resize is not None and config.clip.focus == 1, "with clip.resize"),
        "clip.stride_seconds": (config.clip.sampling == "segments", "with clip.sampling=segments"),
        "data.cache_gib": (config.data.cache == "off", "with data.cache=off"),
    }


_READ_BY_RIDGE = {
    *("train.optimizer", "train.ridge", "train.minutes", "train.epochs", "train.class_balance", "train.seed"),
    *("train.plots", "train.contender", "train.tracker"),
    "augment.flip",
}


def iter_advice_of_ridge(config: Config) -> Iterator[str]:
    """Yield a sentence for every setting that has no effect in a run in closed form.

    Args:
        config: all settings.
    """
    for name in unused_settings(config.model):
        yield f"{name} has no effect with model.streams"
    for section in ("augment", "train"):
        for key in type(getattr(config, section)).model_fields:
            name = f"{section}.{key}"
            if name not in _READ_BY_RIDGE and _is_changed(config, name):
                yield f"{name} has no effect with train.optimizer=ridge"


def _is_changed(config: Config, name: str) -> bool:
    section, _, key = name.partition(".")
    return bool(getattr(getattr(config, section), key) != getattr(getattr(Config(), section), key))


class Pace:
    """The speed of one epoch and its waits for data, from its first step in this process on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._num_clips = 0
        self._seconds_waited = 0.0

    def add(self, num_clips: int, seconds_waited: float) -> None:
        """Count a step.

        Args:
            num_clips: clips of the whole batch.
            seconds_waited: how long this process, or its GPU, waited for its part of the batch.
        """
        self._num_clips += num_clips
        self._seconds_waited += seconds_waited

    @property
    def clips_per_second(self) -> float:
        """Clips trained on a second, waiting included."""
        return self._num_clips / self._seconds

    @property
    def waiting(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        return min(1.0, self._seconds_waited / self._seconds)

    @property
    def is_held_up(self) -> bool:
        """Whether waiting for data costs more than it should."""
        return self._seconds_waited > _TOLERATED_SECONDS and self.waiting > TOLERATED_IDLE

    def waits(self, device: str) -> Waits | None:
        """Return who waited for whom, on a kind of device; None after a moment, which is mostly a start."""
        return Waits(device, self.waiting) if self._seconds > _TOLERATED_SECONDS else None

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)


def waiting_notice(waiting: float, settings: DataConfig, source: FrameSource) -> str:
    """Return a sentence that says how much of an epoch was spent waiting, and what would help.

    Args:
        waiting: share of the epoch's time, 0 to 1.
        settings: how videos are decoded and cached.
        source: where frames come from.
    """
    remedies = []
    if source.cache is None and settings.decode != "keyframes":
        kept = "data.cache=disk" if settings.cache == "off" else "a larger data.cache_gib"
        remedies.append(f"{kept} (each video is decoded once)")
    remedies.append(f"more data.workers (now {num_workers(settings.workers)})")
    remedies.append("a smaller clip.size")
    return (
        f"{waiting:.0%} of this epoch was spent waiting for data; what helps: "
        f"{', '.join(remedies[:-1])} or {remedies[-1]}"
    )
