"""The colour of each class, the same in every picture and on every page.

A class's position among the model's classes in alphabetical order decides its colour, so that all pictures
of a model agree. The first colours are those of Okabe and Ito (2008); the others are as far from them and
from each other as possible, also for colour-blind readers. All can be seen on white and on black. From the
21st class on the colours repeat with stripes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Rgb: TypeAlias = tuple[int, int, int]

_COLOURS = (
    "0072b2", "e69f00", "009e73", "cc79a7", "d55e00", "8811ff", "99cc77", "66bbff", "9966ff", "cc0033",
    "ffaabb", "ee4466", "99ccee", "885577", "dd00bb", "447744", "bb9944", "77dd44", "3399ee", "bb3300",
)  # fmt: skip
_DARKER = 0.6
_STRIPE = 0.45


class Stripes(Enum):
    """The stripes of a repeated colour; the value is the hatch pattern of matplotlib."""

    NONE = ""
    RISING = "///"
    FALLING = "\\\\\\"
    UPRIGHT = "|||"
    LEVEL = "---"


@dataclass(frozen=True)
class Colour:
    """A colour and its stripes.

    Attributes:
        rgb: red, green and blue, each from 0 to 255.
        stripes: their direction; their colour is the darker `stripe_rgb`.
    """

    rgb: Rgb
    stripes: Stripes = Stripes.NONE

    @property
    def hex(self) -> str:
        """The colour as HTML and matplotlib write it, such as #0072b2."""
        return _to_hex(self.rgb)

    @property
    def stripe_rgb(self) -> Rgb:
        """The colour of the stripes."""
        return _scale(self.rgb, _STRIPE)

    @property
    def stripe_hex(self) -> str:
        """The colour of the stripes as HTML and matplotlib write it."""
        return _to_hex(self.stripe_rgb)


GREY = Colour((140, 140, 140))
"""The colour of everything that is no class: unknown, others, and weights against a class."""


def class_colours(class_names: Iterable[str]) -> dict[str, Colour]:
    """Return the colour of each class.

    Args:
        class_names: all classes of the model, in any order.
    """
    return {name: _colour_at(at) for at, name in enumerate(sorted(set(class_names)))}


def _colour_at(place: int) -> Colour:
    """Return the colour at a position: 20 plain ones, then four kinds of stripes, then darker ones."""
    cycle, at = divmod(place, len(_COLOURS))
    darker, kind = divmod(cycle, len(Stripes))
    red, green, blue = bytes.fromhex(_COLOURS[at])
    return Colour(_scale((red, green, blue), _DARKER ** (darker % 2)), list(Stripes)[kind])


def _scale(rgb: Rgb, factor: float) -> Rgb:
    red, green, blue = (round(value * factor) for value in rgb)
    return red, green, blue


def _to_hex(rgb: Rgb) -> str:
    return "#" + bytes(rgb).hex()
