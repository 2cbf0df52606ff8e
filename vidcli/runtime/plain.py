"""Plain values from text that a stranger may have written: JSON within bounds; YAML is in `plain_yaml`.

What is not plain is refused before it is built: nothing here takes more time or memory than a text
of that size deserves, and whatever is wrong is one `ValueError` whose message is one short line.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeGuard

MAX_DEPTH = 32
_MAX_SHOWN = 100


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, is nested more than `MAX_DEPTH` deep, or holds a key twice or a number
            that is not finite or has thousands of digits.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=join_pairs, parse_constant=_refuse_number, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise ValueError(one_line(error)) from error
    _check_depth(value)
    return value


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


def join_pairs(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a mapping of keys and values.

    Raises:
        ValueError: a key stands twice or is no text.
    """
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
