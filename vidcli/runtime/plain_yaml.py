"""Plain values from YAML that a stranger may have written, within the bounds of `plain`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from vidcli.runtime.plain import MAX_DEPTH, join_pairs, one_line

MAX_YAML_CHARACTERS = 64 * 2**10

_TAG_PREFIX = "tag:yaml.org,2002:"
_PLAIN_TAGS = (None, "!", f"{_TAG_PREFIX}str")


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
        return dict(join_pairs(pairs))


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
