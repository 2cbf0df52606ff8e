"""Names of classes on the page, each beside a chip of its colour."""

from __future__ import annotations

from collections.abc import Mapping

from vidcli.data.items import LABEL_SEPARATOR
from vidcli.palette import Colour, Stripes
from vidcli.report.markup import Html, join, tag

_ANGLES = {Stripes.RISING: 135, Stripes.FALLING: 45, Stripes.UPRIGHT: 90, Stripes.LEVEL: 0}


def class_label(name: str, colours: Mapping[str, Colour]) -> Html:
    """Return one class, or several with `|` between them, each after its chip.

    Args:
        name: as it is written; one without a colour stands alone.
        colours: of all classes of the model.
    """
    names = [name] if name in colours else name.split(LABEL_SEPARATOR)
    if not set(names) <= colours.keys():
        return join([name])
    parts = [join([chip(colours[part]), part]) for part in names]
    separated = [piece for part in parts for piece in (LABEL_SEPARATOR, part)][1:]
    return join(separated)


def chip(colour: Colour) -> Html:
    """Return a small square in a colour, with its stripes."""
    return tag("i", class_="chip", style=f"background: {_background(colour)}")


def _background(colour: Colour) -> str:
    if colour.stripes is Stripes.NONE:
        return colour.hex
    return (
        f"repeating-linear-gradient({_ANGLES[colour.stripes]}deg, {colour.hex} 0 3px, "
        f"{colour.stripe_hex} 3px 5px)"
    )
