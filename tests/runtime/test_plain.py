"""Text of strangers is read within bounds, and whatever is wrong with it is one short line."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from vidcli.runtime.plain import (
    MAX_DEPTH,
    is_number,
    one_line,
    parse_json,
    shown,
)
from vidcli.runtime.plain_yaml import MAX_YAML_CHARACTERS, parse_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 2.5, true, null]", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("2024-13-45", "2024-13-45"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("64x112", "64x112"),
        ("!!str 3", "3"),
        ("", None),
    ],
)
def test_plain_yaml_is_read(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "alias"),
        ("&a [*a]", "alias"),
        ("[" * 30_000, "nested more than"),
        ("a:\n" + "".join("  " * depth + "a:\n" for depth in range(1, 40)), "nested more than"),
        ("{a: " * 10_000, "nested more than"),
        ("- " * 20_000, "nested more than"),
        ("? " * 20_000, "nested more than"),
        ("9" * 5000, "digits"),
        ("a: 1\na: 2", "'a' twice"),
        ("1: 2", "1, which is no text"),
        ("? [a]\n: 2", "which is no text"),
        ("true: 2", "True, which is no text"),
        ("!!binary aGVsbG8=", "the tag"),
        ("!!python/object/apply:os.system [ls]", "the tag"),
        ("!!set {a}", "the tag"),
        ("!!timestamp 2024-13-45", "the tag"),
        ("!!bool maybe", "the tag"),
        ("!!map [a]", "the tag"),
        ("!!int ''", "the tag"),
        ("!!str {a: 1}", "expected a scalar"),
        ("<<: {a: 1}", "no text|constructor"),
        ("a: b: c", "not allowed"),
        ("a\x07b", "special characters"),
        ("--- 1\n--- 2", "another document"),
        ("x" * (MAX_YAML_CHARACTERS + 1), "are the most"),
    ],
)
def test_yaml_that_is_not_plain_is_refused_at_once(text: str, told: str) -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match=told) as caught:
        parse_yaml(text)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a":' * 10**5, "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)]
)
def test_deep_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nested more than 32 deep"):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e999", "9" * 5000, '{"a": 1, "a": 1}', "{", "\x00", ""]
)
def test_json_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


def test_plain_json_is_read() -> None:
    deep: Any = parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert deep[0]
    assert parse_json('{"a": [1, 2.5, null, "\\u00e9"]}') == {"a": [1, 2.5, None, "é"]}


def test_numbers() -> None:
    assert all(map(is_number, (0, -1, 2.5)))
    assert not any(map(is_number, (True, "1", None, math.nan, math.inf, 10**400)))


def test_what_is_shown_is_short() -> None:
    assert shown("läuft") == "'läuft'"
    assert one_line("a\n b") == "a b"
    for value in ("x" * 10**7, ["x"] * 10**5, 10**5000, "\n" * 1000):
        assert len(shown(value)) <= 101
        assert "\n" not in shown(value)
