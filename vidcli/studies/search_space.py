"""Which settings a search varies, and between what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidcli.config import Config
from vidcli.errors import ConfigError, did_you_mean

PRESETS: dict[str, tuple[str, ...]] = {
    "training": (
        "train.lr=1e-4..1e-2",
        "train.weight_decay=1e-3..0.3",
        "train.label_smoothing=0..0.2",
        "model.dropout=0..0.6",
    ),
    "augmentation": (
        "augment.crop_scale=0.4..1",
        "augment.brightness=0..0.4",
        "augment.contrast=0..0.4",
        "augment.speed=0..0.5",
        "augment.mixup=0..0.4",
    ),
    "clip": ("clip.length=4,8,16", "clip.focus=0.3..1", "clip.sampling=segments,dense"),
    "head": ("model.head=mean,gru,attention", "model.width=64..256", "model.hidden=64..256"),
}
"""Spaces by name, as `--over` would spell them."""

_LOG_RATIO = 10
"""An axis whose ends differ by this factor or more is searched by its logarithm."""
_EXPECTED = "expected KEY=LOW..HIGH, such as train.lr=1e-4..1e-2, or KEY=A,B,C, such as model.head=mean,gru"


@dataclass(frozen=True)
class Dimension:
    """One setting that is varied.

    Attributes:
        key: its name.
        low: its smallest value; None for choices.
        high: its largest value; None for choices.
        is_whole: only whole numbers are tried.
        choices: the values of a setting that is no range; empty for a range.
    """

    key: str
    low: float | None
    high: float | None
    is_whole: bool
    choices: tuple[str, ...] = ()

    @property
    def is_log(self) -> bool:
        """Whether factors matter more than differences."""
        return self.low is not None and self.high is not None and 0 < self.low * _LOG_RATIO <= self.high

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that must be allowed, for all between them to be: the two ends, or all choices."""
        return self.choices or (self.write(self.low), self.write(self.high))

    def write(self, value: Any) -> str:
        """Return a value as `--set` takes it."""
        if self.choices:
            return str(value)
        return str(int(value)) if self.is_whole else f"{value:.6g}"

    def suggest(self, trial: Any) -> str:
        """Ask a trial of optuna for a value, as `--set` takes it."""
        if self.choices:
            return self.write(trial.suggest_categorical(self.key, list(self.choices)))
        low, high = self.low or 0.0, self.high or 0.0
        if self.is_whole:
            return self.write(trial.suggest_int(self.key, int(low), int(high), log=self.is_log))
        return self.write(trial.suggest_float(self.key, low, high, log=self.is_log))

    def present(self, config: Config) -> str | float | int | None:
        """Return the value that settings have, if a trial can be asked for it; None where it lies outside."""
        value = _value_of(config, self.key)
        if self.choices:
            told = str(value).lower() if isinstance(value, bool) else str(value)
            return told if told in self.choices else None
        assert self.low is not None
        assert self.high is not None
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return value if self.low <= value <= self.high else None


def read_space(presets: Sequence[str], overs: Sequence[str], config: Config) -> list[Dimension]:
    """Return what is varied; `--over` comes before a preset of the same setting.

    Args:
        presets: names of spaces; none of them, and no `overs`, is `training`.
        overs: `KEY=LOW..HIGH` or `KEY=A,B,C`.
        config: the settings that are varied.

    Raises:
        ConfigError: a name or a range is wrong.
    """
    for name in presets:
        if name not in PRESETS:
            raise ConfigError(f"--space {name}: expected {', '.join(PRESETS)}.{did_you_mean(name, PRESETS)}")
    names = presets or ([] if overs else ["training"])
    found: dict[str, Dimension] = {}
    for text in [part for name in names for part in PRESETS[name]]:
        dimension = read_dimension(text, config)
        found[dimension.key] = dimension
    asked: set[str] = set()
    for text in overs:
        dimension = read_dimension(text, config)
        if dimension.key in asked:
            raise ConfigError(f"--over {text}: {dimension.key} is named twice; leave one out")
        asked.add(dimension.key)
        found[dimension.key] = dimension
    return list(found.values())


def read_dimension(text: str, config: Config) -> Dimension:
    """Return one setting that is varied, from what `--over` says.

    Args:
        text: `KEY=LOW..HIGH` or `KEY=A,B,C`.
        config: the settings that are varied.

    Raises:
        ConfigError: it is neither, or the setting is unknown or no number.
    """
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not values.strip():
        raise ConfigError(f"--over {text}: {_EXPECTED}")
    if key == "train.seed":
        raise ConfigError("--over train.seed: a seed that is lucky on these videos helps on no others")
    value = _value_of(config, key)
    low, dots, high = values.partition("..")
    if not dots:
        choices = tuple(dict.fromkeys(word.strip() for word in values.split(",")))
        if len(choices) < 2 or not all(choices):
            raise ConfigError(f"--over {text}: {len(choices)} value; {_EXPECTED}")
        return Dimension(key, None, None, False, choices)
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ConfigError(f"--over {text}: {_EXPECTED}") from None
    if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise ConfigError(f"--over {text}: {low} is not below {high}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"--over {text}: {key} is no number; name its values, as in {key}=A,B")
    is_whole = isinstance(value, int)
    if is_whole and not all(end == int(end) for end in ends):
        raise ConfigError(f"--over {text}: {key} takes whole numbers")
    return Dimension(key, *ends, is_whole)


def plain_space(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Return plain values that say what is varied, for the file of a study."""
    return [
        {"key": each.key, "low": each.low, "high": each.high, "choices": list(each.choices)} for each in space
    ]


def space_from_plain(told: Sequence[Mapping[str, Any]], config: Config) -> list[Dimension]:
    """Return what `plain_space` told.

    Args:
        told: plain values.
        config: the settings that are varied.
    """
    return [
        Dimension(
            each["key"],
            each["low"],
            each["high"],
            not each["choices"] and isinstance(_value_of(config, each["key"]), int),
            tuple(each["choices"]),
        )
        for each in told
    ]


def _value_of(config: Config, key: str) -> object:
    """Return the value of a setting.

    Raises:
        ConfigError: there is no such setting; names the nearest.
    """
    section, _, name = key.partition(".")
    part = getattr(config, section, None) if section in type(config).model_fields else None
    if part is None or name not in type(part).model_fields:
        known = [f"{top}.{below}" for top in type(config).model_fields for below in _names_of(config, top)]
        raise ConfigError(f"--over {key}: no such setting.{did_you_mean(key, known)}")
    return getattr(part, name)


def _names_of(config: Config, section: str) -> list[str]:
    return list(type(getattr(config, section)).model_fields)
