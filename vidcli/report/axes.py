"""What the axes of charts say, in pictures and on the page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_MAX_DIGITS = 17
_DECADES_OF_LOG = 3
_GAIN_OF_EXPONENT = 3
"""Letters that an exponent must save."""


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return numbers as short as they can be told apart: 0.5, 1e-6, 2.5e6.

    Nothing is left to a common factor or offset beside the axis.
    """
    finite = sorted({value for value in values if math.isfinite(value)})
    steps = [after - before for before, after in pairwise(finite)]
    tolerance = 0.01 * min(steps, default=1e-3 * max(map(abs, finite), default=1.0))
    # What rounding leaves of zero.
    clean = [0.0 if abs(value) < tolerance else value for value in values]
    for digits in range(1, _MAX_DIGITS + 1):
        labels = [_short(value, digits) for value in clean]
        if all(abs(float(text) - value) <= tolerance for text, value in zip(labels, clean, strict=True)):
            break
    return labels


def needs_log(values: Sequence[float]) -> bool:
    """Tell whether values span so much that an axis in equal steps would show only the largest."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) >= 10**_DECADES_OF_LOG * min(finite)


def finite_or_none(value: object) -> float | None:
    """Return a number that has a place on an axis; None for what is missing, infinite or no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _short(value: float, digits: int) -> str:
    """Return a number in so many significant digits, with an exponent only where that is much shorter."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    plain = _without_zeros(f"{value:.{decimals}f}")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    short = f"{_without_zeros(mantissa)}e{int(exponent)}"
    return short if len(short) <= len(plain) - _GAIN_OF_EXPONENT else plain


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
