"""How the windows of a timeline become segments: what was learnt of that, kept with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vidcli.models.temporal_weights import TemporalWeights

READINGS = ("mean", "middle")
"""Which windows tell of a moment: all that hold it, or those that have it in the middle."""
SMOOTHINGS = ("none", "duration", "viterbi")


@dataclass(frozen=True)
class TimelineRules:
    """How a model's windows become segments, chosen on validation recordings.

    Attributes:
        step_seconds: from one window to the next.
        reading: one of `READINGS`.
        smoothing: none; the shortest duration of each class; or the most probable sequence of classes
            (Viterbi 1967), where a change costs the less, the more often it was labelled.
        min_seconds: for `duration`, of the shortest segment of each class.
        log_prior: for `viterbi`, what is subtracted from the logarithm of each class's probability.
        log_transitions: for `viterbi`, the logarithm of how probable each class is one step after another
            one, a row for each earlier class.
        thresholds: of a multi-label model, the probability from which a moment has each class.
        weight: for `viterbi`, how much a step's probabilities count: less than 1 where windows overlap.
        temporal: a network that sees the probabilities of all steps again before they are smoothed, each in
            view of those around it; None for none.
    """

    step_seconds: float
    reading: str = "mean"
    smoothing: str = "none"
    min_seconds: tuple[float, ...] = ()
    log_prior: tuple[float, ...] = ()
    log_transitions: tuple[tuple[float, ...], ...] = ()
    weight: float = 1.0
    thresholds: tuple[float, ...] = ()
    temporal: TemporalWeights | None = None

    def check(self, num_classes: int) -> None:
        """Refuse rules that do not fit a model.

        Raises:
            ValueError: they do not.
        """
        if self.reading not in READINGS or self.smoothing not in SMOOTHINGS:
            raise ValueError(f"timeline rules {self.reading!r} and {self.smoothing!r}, which are not known")
        lengths = {
            "none": (0, 0, 0),
            "duration": (num_classes, 0, 0),
            "viterbi": (0, num_classes, num_classes),
        }[self.smoothing]
        if (len(self.min_seconds), len(self.log_prior), len(self.log_transitions)) != lengths or any(
            len(row) != num_classes for row in self.log_transitions
        ):
            raise ValueError(f"timeline rules of another number of classes than {num_classes}")
        if len(self.thresholds) not in (0, num_classes) or (self.thresholds and self.smoothing == "viterbi"):
            raise ValueError(f"timeline rules with thresholds that do not fit {num_classes} classes")
        if self.temporal is not None:
            if self.thresholds:
                raise ValueError("timeline rules with a temporal network for several classes at a time")
            self.temporal.build(num_classes)
        numbers = [self.step_seconds, self.weight, *self.min_seconds, *self.log_prior, *self.thresholds]
        numbers += [value for row in self.log_transitions for value in row]
        if not all(math.isfinite(number) for number in numbers) or self.step_seconds <= 0:
            raise ValueError(
                "timeline rules with numbers that are not finite, or a step that is not positive"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def rules_from_dict(values: Mapping[str, Any], num_classes: int) -> TimelineRules:
    """Return the rules that `to_dict` gave.

    Args:
        values: plain values, perhaps damaged.
        num_classes: of the model.

    Raises:
        ValueError: they are not rules of such a model.
    """
    known = {one.name for one in fields(TimelineRules)}
    if not set(values) <= known or "step_seconds" not in values:
        raise ValueError(
            f"timeline rules with {', '.join(sorted(map(str, values)))}, expected {', '.join(known)}"
        )
    try:
        rules = TimelineRules(
            float(values["step_seconds"]),
            str(values.get("reading", "mean")),
            str(values.get("smoothing", "none")),
            tuple(map(float, values.get("min_seconds", ()))),
            tuple(map(float, values.get("log_prior", ()))),
            tuple(tuple(map(float, row)) for row in values.get("log_transitions", ())),
            float(values.get("weight", 1.0)),
            tuple(map(float, values.get("thresholds", ()))),
            None if values.get("temporal") is None else _temporal_of(values["temporal"]),
        )
    except TypeError as error:
        raise ValueError(f"timeline rules that are no numbers ({error})") from error
    rules.check(num_classes)
    return rules


def _temporal_of(values: Mapping[str, Any]) -> TemporalWeights:
    known = {one.name for one in fields(TemporalWeights)}
    if set(values) != known:
        raise ValueError(
            f"a temporal network with {', '.join(map(str, values))}, expected {', '.join(known)}"
        )
    return TemporalWeights(int(values["channels"]), bool(values["uses_motion"]), str(values["weights"]))
