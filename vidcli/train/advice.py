"""What to tell the user about the settings of a run before it starts."""

from __future__ import annotations

from collections.abc import Iterator

from vidcli.config import Config
from vidcli.models import VideoModel, unused_settings
from vidcli.train.freezing import Freezing, has_batchnorm
from vidcli.train.frozen import is_frozen, obstacle_to_features


def iter_advice(config: Config, model: VideoModel, freezing: Freezing, has_validation: bool) -> Iterator[str]:
    """Yield a sentence for every setting that has no effect in this run, or hardly the one it should."""
    parts = f"{config.model.backbone} and {config.model.head}"
    for name in unused_settings(config.model):
        yield f"{name} has no effect with {parts}"
    train = config.train
    frozen = is_frozen(config)
    idle = {
        "train.momentum": (train.optimizer == "adamw", "with train.optimizer=adamw"),
        "train.patience": (not has_validation, "without validation videos"),
        "train.freeze_batchnorm": (
            not has_batchnorm(model.backbone),
            f"with {config.model.backbone}, which has no BatchNorm",
        ),
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
    if frozen and train.frozen_clips and (obstacle := obstacle_to_features(config)) is not None:
        yield f"the backbone stays frozen, and yet works in every epoch: {obstacle}"
    if train.unfreeze_every and not frozen:
        yield (
            f"the last of the backbone's {freezing.num_stages} stages learns from epoch "
            f"{train.freeze_epochs + 1}, the first from epoch {freezing.full_epoch + 1} of {train.epochs}"
        )


def _is_changed(config: Config, name: str) -> bool:
    section, _, key = name.partition(".")
    return bool(getattr(getattr(config, section), key) != getattr(getattr(Config(), section), key))
