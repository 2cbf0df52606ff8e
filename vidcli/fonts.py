"""Which fonts have the letters of a name: the one place for all pictures, of matplotlib and Pillow alike.

Our own font (DejaVu Sans, which comes with matplotlib) knows Latin, Greek, Cyrillic and more; what it
lacks, another font of this machine may have. A name that none has is shown as its number, and a sentence
tells which number is which: no picture shows boxes.
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
"""What every picture writes beside names."""


@dataclass(frozen=True)
class PictureNames:
    """Names as a picture shows them.

    Attributes:
        shown: in the order given; one that no font can write is its number: #1, #2 and so on.
        numbered: number and name of those.
    """

    shown: tuple[str, ...]
    numbered: tuple[tuple[str, str], ...] = ()

    @property
    def note(self) -> str | None:
        """A sentence that tells which number stands for which name; None where all are written."""
        if not self.numbered:
            return None
        told = ", ".join(f"{number} = {visible(name)}" for number, name in self.numbered)
        return (
            f"no font of this machine has all letters of these names, and pictures number them: {told}. "
            "A font of the language, such as fonts-noto-cjk, mends that"
        )


def picture_names(names: Sequence[str], one_font: bool = False) -> PictureNames:
    """Return names as a picture can show them.

    Args:
        names: such as class names; the position is the number less one.
        one_font: one font must have all letters that are shown, as Pillow needs; matplotlib mixes.
    """
    texts = [drawable(name) for name in names]
    lacking = _lacking_one(tuple(texts)) if one_font else missing_letters("".join(texts))
    numbers = [f"#{at + 1}" if not lacking.isdisjoint(text) else None for at, text in enumerate(texts)]
    shown = tuple(number or text for number, text in zip(numbers, texts, strict=True))
    return PictureNames(
        shown, tuple((number, name) for number, name in zip(numbers, names, strict=True) if number)
    )


def drawable(text: str) -> str:
    """Return text for a picture: on one line, without characters that have no shape."""
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    private = "".join(c for c in seen if unicodedata.category(c) == "Co")  # some font may have it
    return visible(" ".join(seen.split()), keep=private)


def short_names(names: Sequence[str], max_columns: int) -> list[str]:
    """Return names that take little room, still told apart: the middle of a long one is left out.

    Args:
        names: such as `PictureNames.shown`.
        max_columns: how wide they may be; a letter of East Asia takes two columns.
    """
    short = [_shorten(name, max_columns) for name in names]
    counts = Counter(short)
    return [
        text if counts[text] == 1 or text == name else _shorten(name, max_columns, f"#{at + 1}")
        for at, (name, text) in enumerate(zip(names, short, strict=True))
    ]


def num_columns(text: str) -> int:
    """Return how many letters wide a text is; those of East Asia take the room of two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _shorten(text: str, max_columns: int, end: str = "") -> str:
    """Return a text whose middle gives way to an ellipsis; an `end` is added to what is cut anyway."""
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
    """Return the names of fonts for matplotlib that together have the letters of a text, ours first."""
    found = [name for file in _fonts_for(_letters(text)) if (name := _family_of(file)) is not None]
    return ["DejaVu Sans", *(name for name in found if name != "DejaVu Sans")]


def missing_letters(text: str) -> frozenset[str]:
    """Return the letters that no font of this machine has."""
    letters = _letters(text)
    return letters.difference(*(_letters_of(file) for file in _fonts_for(letters)))


def choose_font(text: str) -> tuple[str, bool]:
    """Return the file of one font, and whether it has all letters: ours, or one of the system's."""
    letters = _letters(text)
    for file in (_ours(), *(_installed() if letters - _letters_of(_ours()) else ())):
        if letters <= _letters_of(file):
            return file, True
    return _ours(), False


def _lacking_one(texts: Sequence[str]) -> frozenset[str]:
    """Return the letters that are missing in the one font that has all letters of most names."""
    letters = [_letters(text) for text in texts]
    if choose_font("".join(texts))[1]:
        return frozenset()
    best = max((_ours(), *_installed()), key=lambda file: sum(of <= _letters_of(file) for of in letters))
    return frozenset().union(*letters) - _letters_of(best)


def _letters(text: Iterable[str]) -> frozenset[str]:
    return frozenset(text) - {" ", "\n"} | frozenset(_ALWAYS)


@lru_cache(maxsize=64)
def _fonts_for(letters: frozenset[str]) -> tuple[str, ...]:
    """Return our font, and as few others as have what it lacks, as far as any does."""
    chosen, lacking = [_ours()], letters - _letters_of(_ours())
    while lacking:
        best = max(_installed(), key=lambda file: len(lacking & _letters_of(file)), default=_ours())
        if not lacking & _letters_of(best):
            break
        chosen.append(best)
        lacking -= _letters_of(best)
    return tuple(chosen)


@lru_cache(maxsize=1)
def _ours() -> str:
    # Not before: every prediction would wait for it.
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))


def _installed() -> list[str]:
    """Return the files of this machine's fonts, upright ones of usual weight first."""
    from matplotlib import font_manager  # looks through the system's fonts when it is first imported

    entries = sorted(
        font_manager.fontManager.ttflist,
        key=lambda entry: (entry.weight != 400, entry.style != "normal", entry.fname),
    )
    # The last resort has a box for every letter there is.
    return [entry.fname for entry in entries if "lastresort" not in entry.name.replace(" ", "").lower()]


@lru_cache(maxsize=4096)
def _letters_of(file: str) -> frozenset[str]:
    """Return the letters that a font has; none where it cannot be drawn with."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()  # listed, and gone or damaged since


def _family_of(file: str) -> str | None:
    from matplotlib import font_manager

    return next((entry.name for entry in font_manager.fontManager.ttflist if entry.fname == file), None)
