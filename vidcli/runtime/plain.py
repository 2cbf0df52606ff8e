"""Plain values from text that a stranger may have written: JSON and YAML within bounds.

What is not plain is refused before it is built: nothing here takes more time or memory than a text
of that size deserves, and whatever is wrong is one `ValueError` whose message is one short line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from typing import Any, NoReturn, TypeGuard

import yaml

MAX_DEPTH = 32
MAX_YAML_CHARACTERS = 64 * 2**10
_MAX_SHOWN = 100

_TAG_PREFIX = "tag:yaml.org,2002:"
_PLAIN_TAGS = (None, "!", f"{_TAG_PREFIX}str")


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, is nested more than `MAX_DEPTH` deep, or holds a key twice or a number
            that is not finite or has thousands of digits.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_join_pairs, parse_constant=_refuse_number, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise ValueError(one_line(error)) from error
    _check_depth(value)
    return value


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text: nothing, truth values, numbers, strings, lists and mappings.

    Dates stay the strings that they were written as.

    Raises:
        ValueError: it is no YAML, is longer than `MAX_YAML_CHARACTERS`, is nested more than `MAX_DEPTH`
            deep, or holds an alias, a tag other than that of strings, a key that is no string or stands
            twice, or a number of thousands of digits.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"holds {len(text)} characters, where {MAX_YAML_CHARACTERS} are the most")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(one_line(f"{error.problem or error.context}{where}")) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(one_line(error)) from error


def one_line(text: object) -> str:
    """Return a text, such as that of an error, on one line of at most a hundred characters."""
    text = str(text)
    line = " ".join(text[: 2 * _MAX_SHOWN].split())
    return line if len(line) <= _MAX_SHOWN and len(text) <= 2 * _MAX_SHOWN else f"{line[:_MAX_SHOWN]}…"


def shown(value: object) -> str:
    """Return how Python writes a value, on one line of at most a hundred characters."""
    try:
        return one_line(repr(value[: 2 * _MAX_SHOWN]) if isinstance(value, str) else repr(value))
    except ValueError:  # Python writes no whole number of more than some thousands of digits
        return "a number of thousands of digits"
    except RecursionError:
        return "a deeply nested value"


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite int or float; truth values are none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


class _PlainLoader(yaml.SafeLoader):
    """Reads dates as strings, and refuses keys that stand twice or are no strings."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the library declares it)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG_PREFIX}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        pairs = [
            (self.construct_object(key, deep=True), self.construct_object(value, deep=deep))
            for key, value in node.value
        ]
        return dict(_join_pairs(pairs))


def _join_pairs(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    joined: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"holds the key {shown(key)}, which is no text")
        if key in joined:
            raise ValueError(f"holds the key {shown(key)} twice")
        joined[key] = value
    return joined


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"holds {text}, where a finite number was expected")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _check_depth(value: object) -> None:
    level, depth = [value], 0
    while level := [
        child
        for parent in level
        if isinstance(parent, (dict, list))
        for child in (parent.values() if isinstance(parent, dict) else parent)
    ]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} deep")


def _check_events(text: str) -> None:
    """Refuse what is not plain as soon as the parser comes to it, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"holds the alias *{event.anchor}; write the value itself")
        tag = getattr(event, "tag", None)
        if tag not in _PLAIN_TAGS:
            raise ValueError(f"holds the tag {tag}; expected plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} deep")
