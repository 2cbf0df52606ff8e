"""Times as people and programs write them in tables: seconds, or hours, minutes and seconds."""

from __future__ import annotations

import re

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d*)?)")


def parse_seconds(text: str, name: str, has_decimal_commas: bool = False) -> float:
    """Return a time such as `62.5`, `1:02.5` or `00:01:02.500` in seconds.

    Args:
        text: as it stands in the file.
        name: of the time, for the message, such as `start`.
        has_decimal_commas: whether a comma stands for the decimal point where there is one.

    Raises:
        ValueError: it is no time, or a negative one.
    """
    point = text.strip()
    if has_decimal_commas or ":" in point:
        point = point.replace(",", ".")
    if clock := _CLOCK.fullmatch(point):
        hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), float(clock[3])
        if seconds < 60 and (minutes < 60 or clock[1] is None):
            return hours * 3600 + minutes * 60 + seconds
    else:
        try:
            value = float(point)
        except ValueError:
            value = -1.0
        if 0 <= value < float("inf"):
            return value
    raise ValueError(f"{name} {text!r}; expected seconds, 0 or more, or HH:MM:SS.mmm")
