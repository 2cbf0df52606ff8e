"""Settings from defaults, then a recipe, then `--set`; and back to plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from vidcli.config.recipes import find_recipe, read_recipe
from vidcli.config.sections import ClipConfig, Config
from vidcli.config.values import Section
from vidcli.errors import ConfigError, did_you_mean
from vidcli.runtime.plain import one_line, shown

_MAX_FAULTS = 20


def load_config(recipe: str | None = None, assignments: Sequence[str] = ()) -> Config:
    """Build settings from defaults, then a recipe, then `KEY=VALUE` assignments.

    Raises:
        ConfigError: lists every fault at once: unknown names (with the nearest known), values out
            of range, a recipe that is missing or no mapping.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    if recipe is not None:
        path = find_recipe(recipe)
        values = read_recipe(path)
        faults += _unknown_names(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            faults.append(f"--set {one_line(assignment)}: expected KEY=VALUE, such as train.lr=3e-4")
            continue
        section, _, name = key.partition(".")
        unknown = _unknown_names({section: {name: None} if name else None})
        if unknown:
            faults += unknown
            continue
        if not isinstance(values.setdefault(section, {}), dict):
            continue  # already among the faults of the recipe
        values[section][name] = _parse_value(text)
    known = _without_unknown(values)
    try:
        config = Config.model_validate(known)
    except pydantic.ValidationError as error:
        faults += [_describe_fault(fault) for fault in error.errors()]
    if faults:
        raise _all_at_once(faults)
    return config


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Rebuild settings that `config_to_dict` wrote.

    Raises:
        ConfigError: the values are not those of this version.
    """
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise _all_at_once([_describe_fault(fault) for fault in error.errors()]) from error


def change_clip(clip: ClipConfig, **changes: Any) -> ClipConfig:
    """Return the settings of a clip with some changed.

    Raises:
        ConfigError: a value is out of range, or all of them together take too much memory.
    """
    try:
        return ClipConfig.model_validate(clip.model_dump() | changes)
    except pydantic.ValidationError as error:
        raise _all_at_once([f"clip.{_describe_fault(fault)}" for fault in error.errors()]) from error


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return plain values, ready for YAML or JSON."""
    return config.model_dump(mode="json")


def config_to_yaml(config: Config) -> str:
    """Return the settings as a recipe that repeats them."""
    import yaml  # which predicting does without

    return yaml.safe_dump(config_to_dict(config), sort_keys=False)


def _all_at_once(faults: Sequence[str]) -> ConfigError:
    more = f"\n… and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    return ConfigError("\n".join(faults[:_MAX_FAULTS]) + more)


def _sections() -> dict[str, type[Section]]:
    found = {name: field.annotation for name, field in Config.model_fields.items()}
    return {name: section for name, section in found.items() if isinstance(section, type)}


def _unknown_names(values: Mapping[str, Any]) -> list[str]:
    sections = _sections()
    all_names = [f"{name}.{key}" for name, section in sections.items() for key in section.model_fields]
    faults: list[str] = []
    for section_name, section_values in values.items():
        if section_name not in sections:
            keys = list(section_values) if isinstance(section_values, Mapping) else []
            given = one_line(f"{section_name}.{keys[0]}" if len(keys) == 1 else section_name)
            ends = [name for name in all_names if name.endswith(f".{section_name}")]
            hint = f" Did you mean {ends[0]!r}?" if ends else _hint(given, all_names, len(faults))
            faults.append(f"unknown setting {given!r}.{hint}")
            continue
        if not isinstance(section_values, Mapping):
            faults.append(
                f"{section_name}: expected settings such as {section_name}."
                f"{next(iter(sections[section_name].model_fields))}"
            )
            continue
        for key in section_values:
            if key not in sections[section_name].model_fields:
                given = one_line(f"{section_name}.{key}")
                faults.append(f"unknown setting {given!r}.{_hint(given, all_names, len(faults))}")
    return faults


def _hint(given: str, all_names: Sequence[str], num_faults: int) -> str:
    """Return the nearest name for a fault that will be told; of thousands, most are only counted."""
    if any(given.startswith(f"{name}.") for name in all_names):
        given = ".".join(given.split(".")[:2])
    return did_you_mean(given, all_names) if num_faults < _MAX_FAULTS else ""


def _without_unknown(values: Mapping[str, Any]) -> dict[str, Any]:
    sections = _sections()
    return {
        name: {key: value for key, value in given.items() if key in sections[name].model_fields}
        for name, given in values.items()
        if name in sections and isinstance(given, Mapping)
    }


def _parse_value(text: str) -> Any:
    for number in (int, float):  # YAML 1.1 reads 3e-4 as a string
        try:
            return number(text)
        except ValueError:
            continue
    from vidcli.runtime.plain_yaml import parse_yaml

    try:
        return parse_yaml(text)
    except ValueError:
        return text


def _describe_fault(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
    given = fault.get("input")
    found = "" if isinstance(given, Mapping) else f" (got {shown(given)})"
    return f"{one_line(name)}: {fault['msg'].removeprefix('Value error, ')}{found}"
