"""How a terminal shows values: numbers, durations, paths, and text that came from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.text import Text

from vidcli.names import visible, visible_json

_MAX_PATH_WIDTH = 40


def plain(text: str, style: str = "") -> Text:
    """Return a name or sentence as it is: no markup, and nothing that steers a terminal.

    Line ends in it are escaped too, so that no name can forge a line of output.
    """
    return Text(visible(text), style)


def plain_lines(text: str, style: str = "") -> Text:
    """Return a message that may have several lines, otherwise as `plain` does."""
    return Text(visible(text, keep="\n\t"), style)


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it: 42 s, 3 min 20 s, 1 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_bytes(size: int) -> str:
    """Return a size as people read it: 512 bytes, 8.4 MiB, 1.2 GiB."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"


def format_about(seconds: float) -> str:
    """Return a rough duration, as suits an estimate: 40 s, 3 min, 2 h 10 min."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_ratio(value: float | None) -> str:
    """Return a share such as 0.875; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def shorten_path(path: str) -> str:
    """Return a path for a table; of a long one only the name and its folder."""
    parts = Path(path).parts
    return path if len(path) <= _MAX_PATH_WIDTH or len(parts) < 3 else str(Path("…", *parts[-2:]))


def shorten_middle(text: Text, width: int) -> Text:
    """Return a text of at most `width` columns; a longer one loses its middle to an ellipsis."""
    if text.cell_len <= width:
        return text
    head = text.copy()
    head.truncate(max(1, width // 2))
    head.rstrip()
    room, start = width - 1 - head.cell_len, len(text)
    while start > 0 and text[start - 1 :].cell_len <= room:
        start -= 1
    return Text.assemble(head, "…", text[start:])


def count_noun(count: int, noun: str) -> str:
    """Return a number with its noun: 1 video, 2 videos."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def list_most_common(counts: Mapping[str, int], limit: int = 4) -> str:
    """Return the first names with their counts, and the number of the others.

    Args:
        counts: number of items by name, the most common first.
        limit: number of names to show.
    """
    named = [f"{name} ({count})" for name, count in list(counts.items())[:limit]]
    return ", ".join(named) + (
        f" and {count_noun(len(counts) - limit, 'other')}" if len(counts) > limit else ""
    )


def format_times(ratio: float | None) -> str:
    """Return a ratio of speeds such as 1.25x; a dash where nothing was compared."""
    return "–" if ratio is None else f"{ratio:.2f}x"


def json_line(value: Mapping[str, Any], stream: TextIO) -> str:
    """Return an object as a line of JSON that the stream can encode and that steers no terminal.

    For UTF-8 only control, bidi and broken characters are escaped, for other encodings all non-ASCII ones.

    Args:
        value: the object.
        stream: where the line will be written.
    """
    is_utf8 = (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"
    return visible_json(json.dumps(value, ensure_ascii=not is_utf8))
