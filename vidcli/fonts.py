"""Fonts that have the letters of names, for all pictures, whether matplotlib or Pillow draws them.

The default font (DejaVu Sans, which comes with matplotlib) has Latin, Greek, Cyrillic and more; another
font of the machine may have other letters. A name that no font can write is shown as a number, and a
sentence says which number stands for which name: no picture shows boxes.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vidcli.names import visible

_ALWAYS = "0123456789%…+().#?|"
"""Letters that pictures write beside names."""


@dataclass(frozen=True)
class PictureNames:
    """Names as a picture shows them.

    Attributes:
        shown: the texts, in the order given; a name that no font can write is a number: #1, #2 and so on.
        numbered: the number and the name of each of those.
    """

    shown: tuple[str, ...]
    numbered: tuple[tuple[str, str], ...] = ()

    @property
    def note(self) -> str | None:
        """A sentence that says which number stands for which name; None where there are no numbers."""
        if not self.numbered:
            return None
        meanings = ", ".join(f"{number} = {visible(name)}" for number, name in self.numbered)
        return (
            f"no font of this machine has all letters of these names, and pictures number them: {meanings}. "
            "A font of the language, such as fonts-noto-cjk, mends that"
        )


def picture_names(names: Sequence[str], one_font: bool = False) -> PictureNames:
    """Return names as a picture can show them.

    Args:
        names: such as class names; the number of a name is its position, counted from 1.
        one_font: whether one font must have all letters that are shown, as Pillow needs; matplotlib mixes
            fonts.
    """
    texts = [drawable(name) for name in names]
    lacking = _lacking_one(tuple(texts)) if one_font else missing_letters("".join(texts))
    numbers = [f"#{at + 1}" if not lacking.isdisjoint(text) else None for at, text in enumerate(texts)]
    shown = tuple(number or text for number, text in zip(numbers, texts, strict=True))
    return PictureNames(
        shown, tuple((number, name) for number, name in zip(numbers, names, strict=True) if number)
    )


def drawable(text: str) -> str:
    """Return text for a picture: one line, without characters that have no shape."""
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    private = "".join(c for c in seen if unicodedata.category(c) == "Co")  # a font may have these
    return visible(" ".join(seen.split()), keep=private)


def short_names(names: Sequence[str], max_columns: int) -> list[str]:
    """Return names that fit into a width and still differ: a long one loses its middle.

    Args:
        names: such as `PictureNames.shown`.
        max_columns: the width; a letter of East Asia takes two columns.
    """
    short = [_shorten(name, max_columns) for name in names]
    counts = Counter(short)
    return [
        text if counts[text] == 1 or text == name else _shorten(name, max_columns, f"#{at + 1}")
        for at, (name, text) in enumerate(zip(names, short, strict=True))
    ]


def num_columns(text: str) -> int:
    """Return the width of a text in columns; a letter of East Asia takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _shorten(text: str, max_columns: int, end: str = "") -> str:
    """Return a text with an ellipsis for its middle if it is long, and always where it gets a new end."""
    if num_columns(text) <= max_columns and not end:
        return text
    tail = end or text
    while not end and num_columns(tail) > max_columns // 3:
        tail = tail[1:]
    head = text
    while head and num_columns(head) + 1 + num_columns(tail) > max_columns:
        head = head[:-1]
    return f"{head}…{tail}"


def font_families(text: str) -> list[str]:
    """Return the names of fonts that together have the letters of a text, the default one first."""
    found = [name for file in _fonts_for(_letters(text)) if (name := _family_of(file)) is not None]
    return ["DejaVu Sans", *(name for name in found if name != "DejaVu Sans")]


def missing_letters(text: str) -> frozenset[str]:
    """Return the letters that no font of this machine has."""
    letters = _letters(text)
    return letters.difference(*(_letters_of(file) for file in _fonts_for(letters)))


def choose_font(text: str) -> tuple[str, bool]:
    """Return the file of one font, the default or an installed one, and whether it has all letters."""
    letters = _letters(text)
    for file in (_default_font(), *(_installed() if letters - _letters_of(_default_font()) else ())):
        if letters <= _letters_of(file):
            return file, True
    return _default_font(), False


def _lacking_one(texts: Sequence[str]) -> frozenset[str]:
    """Return the letters that are missing in the font that can write most of the texts."""
    letters = [_letters(text) for text in texts]
    if choose_font("".join(texts))[1]:
        return frozenset()
    best = max(
        (_default_font(), *_installed()), key=lambda file: sum(of <= _letters_of(file) for of in letters)
    )
    return frozenset().union(*letters) - _letters_of(best)


def _letters(text: Iterable[str]) -> frozenset[str]:
    return frozenset(text) - {" ", "\n"} | frozenset(_ALWAYS)


@lru_cache(maxsize=64)
def _fonts_for(letters: frozenset[str]) -> tuple[str, ...]:
    """Return the default font, and as few others as have the letters that it lacks."""
    chosen, lacking = [_default_font()], letters - _letters_of(_default_font())
    while lacking:
        best = max(_installed(), key=lambda file: len(lacking & _letters_of(file)), default=_default_font())
        if not lacking & _letters_of(best):
            break
        chosen.append(best)
        lacking -= _letters_of(best)
    return tuple(chosen)


@lru_cache(maxsize=1)
def _default_font() -> str:
    # Imported late: otherwise every prediction would wait for it.
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))


def _installed() -> list[str]:
    """Return the files of the installed fonts, upright ones of normal weight first."""
    from matplotlib import font_manager  # looks through the system's fonts when it is first imported

    entries = sorted(
        font_manager.fontManager.ttflist,
        key=lambda entry: (entry.weight != 400, entry.style != "normal", entry.fname),
    )
    # The font "LastResort" has a box for every letter.
    return [entry.fname for entry in entries if "lastresort" not in entry.name.replace(" ", "").lower()]


@lru_cache(maxsize=4096)
def _letters_of(file: str) -> frozenset[str]:
    """Return the letters that a font has; none where the file cannot be used."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()  # the file was removed or damaged after it was listed


def _family_of(file: str) -> str | None:
    from matplotlib import font_manager

    return next((entry.name for entry in font_manager.fontManager.ttflist if entry.fname == file), None)
