"""Bring names of files and classes into one form when they are read, and escape them when they are shown.

A file system may spell `é` as one code point (NFC) or as `e` and an accent (NFD, macOS). Both look alike, so
that one form stands for both. Text that is shown holds no character that controls a terminal, changes the
reading direction or is invisible: such characters are written as Python's escapes, such as `\\x1b`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

_JOINERS = "\u200c\u200d"
"""Invisible, but Persian, Hindi and many emoji need them, and they control nothing."""

_PLACEHOLDERS = frozenset(("nan", "none", "null", "n/a", "#n/a", "<na>", "#null!", "#ref!", "#name?"))


def normal_name(name: str) -> str:
    """Return a name in the composed form (NFC), so that equal looks are equal strings."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def normal_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in composed form (NFC), or unchanged if two of them would become equal."""
    given = tuple(names)
    normal = tuple(map(normal_name, given))
    return normal if len(set(normal)) == len(set(given)) else given


def is_text(name: str) -> bool:
    """Tell whether a name is valid text: file systems and JSON can hold broken characters too."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible(text: str, keep: str = "") -> str:
    """Return text in which control, bidirectional, invisible and broken characters are escaped.

    Args:
        text: such as a file's name.
        keep: characters that stay in any case, such as line ends in a message of several lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or _is_harmless(c) else ascii(c)[1:-1] for c in text)


def visible_json(text: str) -> str:
    """Return equal JSON in which the characters that `visible` escapes are written as JSON's escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_harmless(c) else _json_escape(c) for c in text)


def _is_harmless(c: str) -> bool:
    return c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs"


def _json_escape(c: str) -> str:
    units = c.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def name_subject(video: object, track: str | None) -> str:
    """Return what a video is called, or one subject of its picture."""
    return str(video) if track is None else f"{video}, {track}"


def is_placeholder(label: str) -> bool:
    """Tell whether a cell of a table stands for no value, such as `nan`, `None` or `N/A`."""
    return label.strip().casefold() in _PLACEHOLDERS


def likeness(name: str) -> str:
    """Return a key that is equal for names which a reader may confuse.

    Upper and lower case, blanks, invisible characters and compatible forms (NFKC) make no difference.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in folded if not c.isspace() and not _is_unseen(c))


def _is_unseen(c: str) -> bool:
    """Tell whether a character is a joiner, a mark of direction, a control or a variation selector."""
    return unicodedata.category(c) in ("Cf", "Cc") or "\ufe00" <= c <= "\ufe0f" or c == "\u034f"


def tell_alike(counts: Mapping[str, int]) -> list[str]:
    """Return a sentence on each set of classes whose names a reader may confuse.

    Args:
        counts: number of videos by class name.
    """
    sets: dict[str, list[str]] = {}
    for name in counts:
        sets.setdefault(likeness(name), []).append(name)
    return [
        "names that differ only in case, blanks or characters that cannot be seen are different classes: "
        + ", ".join(f"{_quoted(name)} ({counts[name]} videos)" for name in sorted(alike))
        + "; give them one name if they are one class"
        for alike in sets.values()
        if len(alike) > 1
    ]


def _quoted(name: str) -> str:
    """Return a name in quotes, in which invisible characters and unusual blanks are escaped."""
    return "'" + "".join(ascii(c)[1:-1] if _is_odd(c) else c for c in name) + "'"


def _is_odd(c: str) -> bool:
    return _is_unseen(c) or not c.isprintable()
