"""Classes that tell a side, such as `turn left`: what a mirror makes of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CAMEL_CASE = re.compile(r"([a-z])([A-Z])")
_SIDED_WORD = re.compile(
    r"(?<![a-z])(left|right|(north|south)?(east|west)|(counter|anti)?-?clockwise)(ward)?s?(?![a-z])",
    re.IGNORECASE,
)
_SIDE = re.compile(r"left|right|east|west|(counter|anti)?-?clockwise", re.IGNORECASE)
_OPPOSITE = {"left": "right", "right": "left", "east": "west", "west": "east"}


def sided_class_names(class_names: Sequence[str]) -> list[str]:
    """Return the class names that name a side, such as `turn left`, and so forbid mirrored clips."""
    return [name for name in class_names if _SIDED_WORD.search(_CAMEL_CASE.sub(r"\1 \2", name))]


def mirrored_classes(class_names: Sequence[str]) -> list[int] | None:
    """Return for each class the class that a mirror makes of it: itself, or that of the other side.

    Args:
        class_names: the name of each class, at the position of its label.

    Returns:
        Labels; None where a class tells a side and the other side is no class.
    """
    sided = set(sided_class_names(class_names))
    label_of = {_spelling(name): label for label, name in enumerate(class_names)}
    mirrored: list[int] = []
    for label, name in enumerate(class_names):
        if name not in sided:
            mirrored.append(label)
            continue
        others = [label_of[other] for other in _opposites(name) if other in label_of]
        if not others:
            return None
        mirrored.append(others[0])
    return mirrored if all(mirrored[other] == label for label, other in enumerate(mirrored)) else None


def _spelling(name: str) -> str:
    return _CAMEL_CASE.sub(r"\1 \2", name).casefold()


def _opposites(name: str) -> list[str]:
    """Return the spellings of the class name of the other side."""
    spelling = _spelling(name)
    opposites: list[str] = []
    for rest in ("counter-", "anti-", "counter", "anti"):

        def turn(found: re.Match[str], rest: str = rest) -> str:
            word = found.group()
            if word.endswith("clockwise"):
                return rest + word if word == "clockwise" else "clockwise"
            return _OPPOSITE[word]

        opposites.append(_SIDED_WORD.sub(lambda found: _SIDE.sub(turn, found.group()), spelling))
    return list(dict.fromkeys(opposites))
