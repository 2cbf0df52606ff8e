"""What a model file and an exported model say of themselves: everything needed to predict but the weights.

It is JSON that may come from anybody, so that every value is checked. Reading it imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidcli.config import Config, config_from_dict, config_to_dict
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models.calibration import UNCALIBRATED, Calibration, uncalibrated
from vidcli.models.timeline_rules import TimelineRules, rules_from_dict
from vidcli.names import is_text, normal_names
from vidcli.runtime.plain import is_number, shown
from vidcli.transforms import MEAN, STD

if TYPE_CHECKING:
    from torch import Tensor

    from vidcli.models import VideoModel

FORMAT_VERSION = 1
MAX_DESCRIPTION_BYTES = 8 * 2**20
"""The most bytes of the JSON."""

_MAX_CLASSES, _MAX_NAME, _MAX_METRICS = 100_000, 1000, 1000


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and all that is needed to use it.

    Attributes:
        weights: state dict of the model that `config.model` describes.
        config: all settings of the run that made the model.
        class_names: the name of each class, at the position of its label.
        metrics: the scores of these weights on the validation videos, by name.
        fingerprint: SHA-256 digest of the videos that it was trained and validated on.
        calibration: the temperature, and any thresholds, that turn logits into answers.
        rules: how windows of a timeline become segments, where that was learnt.
    """

    weights: Mapping[str, Tensor]
    config: Config
    class_names: Sequence[str]
    metrics: Mapping[str, float | int | None] = field(default_factory=dict)
    fingerprint: str = ""
    calibration: Calibration = UNCALIBRATED
    rules: TimelineRules | None = None

    def build(self) -> VideoModel:
        """Return the model with its weights, in evaluation mode.

        Raises:
            CheckpointError: the weights are not those of the model that the settings describe.
        """
        from vidcli.models import build_model

        model = build_model(self.config.model, len(self.class_names), load_weights=False)
        try:
            model.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise CheckpointError(f"the weights do not fit the model's settings: {error}") from error
        return model.eval()


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return everything in a model file except the weights, as plain values for JSON.

    `model.weights` names the file that training started from, `data.labelled_spans` the table of what was
    looked at, and `hf:FOLDER` the folder of an encoder. Only their names are kept, without the folder: the
    model no longer needs them, and folder names can be private.
    """
    from vidcli.models.hf_encoders import PREFIX, encoder_name

    settings = config_to_dict(checkpoint.config)
    encoder = encoder_name(settings["model"]["backbone"])
    if encoder is not None and os.path.isdir(os.path.expanduser(encoder)):
        settings["model"]["backbone"] = f"{PREFIX}{Path(encoder).name}"
    for section, name in (("model", "weights"), ("data", "labelled_spans")):
        if settings[section][name] is not None:
            settings[section][name] = Path(settings[section][name]).name
    return {
        "format_version": FORMAT_VERSION,
        "config": settings,
        "class_names": list(checkpoint.class_names),
        "preprocessing": _preprocessing_of(checkpoint.config),
        # JSON has no infinity and no NaN.
        "metrics": {name: value if is_number(value) else None for name, value in checkpoint.metrics.items()},
        "fingerprint": checkpoint.fingerprint,
        "calibration": asdict(checkpoint.calibration),
        **({} if checkpoint.rules is None else {"timeline": checkpoint.rules.to_dict()}),
    }


def _preprocessing_of(config: Config) -> dict[str, object]:
    """Return how frames become numbers, for programs that read the file without vidcli."""
    mean, std = config.clip.mean or MEAN, config.clip.std or STD
    return {"mean": list(mean), "std": list(std), "channels": "RGB", "layout": "TCHW"}


def parse_description(about: object, source: Path) -> dict[str, Any]:
    """Check what `describe_checkpoint` gave, and return the fields of a `Checkpoint` except the weights.

    Args:
        about: the parsed JSON, of any type.
        source: path of the file, for error messages.

    Raises:
        CheckpointError: another version wrote it, or it is damaged.
    """
    version = about.get("format_version") if isinstance(about, dict) else None
    if not isinstance(about, dict) or type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{source}: has format version {shown(version)}, this vidcli reads "
            f"{FORMAT_VERSION}; use the version of vidcli that wrote it"
        )
    try:
        config = _config_of(about["config"])
        class_names = _class_names_of(about["class_names"])
        if about.get("preprocessing", preprocessing := _preprocessing_of(config)) != preprocessing:
            raise ValueError(f"preprocessing {shown(about['preprocessing'])}, expected {preprocessing}")
        return {
            "config": config,
            "class_names": class_names,
            "metrics": _metrics_of(about["metrics"]),
            "fingerprint": _fingerprint_of(about["fingerprint"]),
            # Files of early versions have no calibration.
            "calibration": _calibration_of(
                about.get("calibration", {}), len(class_names), config.data.multi_label
            ),
            "rules": _rules_of(about.get("timeline"), len(class_names)),
        }
    except (ConfigError, KeyError, ValueError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{source}: holds settings that this version does not know: {told}") from error


def _config_of(values: object) -> Config:
    if not isinstance(values, dict):
        raise ValueError(f"config {shown(values)}, expected settings")
    return config_from_dict(values)


def _class_names_of(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_CLASSES:
        raise ValueError(f"class_names {shown(values)}, expected a list of 1 to {_MAX_CLASSES} names")
    for name in values:
        if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME or not is_text(name):
            raise ValueError(f"class_names with {shown(name)}, expected names of 1 to {_MAX_NAME} characters")
    names = normal_names(values)
    if len(set(names)) < len(names):
        raise ValueError("class_names of which two are the same")
    return names


def _metrics_of(values: object) -> dict[str, float | int | None]:
    if not isinstance(values, dict) or len(values) > _MAX_METRICS:
        raise ValueError(f"metrics {shown(values)}, expected numbers by name")
    for name, value in values.items():
        if len(name) > _MAX_NAME or (value is not None and not is_number(value)):
            raise ValueError(f"metrics with {shown(name)} {shown(value)}, expected a number")
    return values


def _fingerprint_of(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise ValueError(f"fingerprint {shown(value)}, expected a digest of the data")
    return value


def _calibration_of(values: object, num_classes: int, multi_label: bool) -> Calibration:
    known = {item.name for item in fields(Calibration)}
    if not isinstance(values, dict) or not set(values) <= known:
        raise ValueError(f"calibration {shown(values)}, expected {', '.join(sorted(known))}")
    thresholds = values.get("thresholds")
    numbers = [values.get("temperature", 1.0), values.get("num_videos", 0)]
    if thresholds is not None:
        if not isinstance(thresholds, list) or len(thresholds) != num_classes:
            raise ValueError(
                f"thresholds {shown(thresholds)}, expected one for each of {num_classes} classes"
            )
        numbers += thresholds
    if not all(is_number(number) for number in numbers) or not isinstance(numbers[1], int):
        raise ValueError(f"calibration {shown(values)}, expected numbers")
    if values and (thresholds is not None) != multi_label:
        raise ValueError(f"thresholds {shown(thresholds)} with data.multi_label={str(multi_label).lower()}")
    return Calibration(**values) if values else uncalibrated(num_classes, multi_label)


def _rules_of(values: object, num_classes: int) -> TimelineRules | None:
    if values is None:
        return None
    if not isinstance(values, dict):
        raise ValueError(f"timeline {shown(values)}, expected rules by name")
    return rules_from_dict(values, num_classes)
