"""The answer of a model for one video, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidcli.arrays import Float64
from vidcli.names import name_subject
from vidcli.sheets import shown_cell

CSV_COLUMNS = ("video", "rank", "label", "probability", "error", "start", "end", "unknown", "chosen", "track")


@dataclass(frozen=True)
class Prediction:
    """The answer of a model for one video.

    Attributes:
        video: the path as the caller gave it.
        class_names: the names of the K classes; a class's position is its label.
        probabilities: (K,), the mean over the views; None if the video failed.
        error: the reason why the video failed; None if it did not.
        logits_VK: the logits of each view, from which the probabilities come; None if the video failed.
        start_seconds: the start of the span that was classified.
        end_seconds: the end of that span; None is the end of the video.
        threshold: the probability below which the model abstains; None if it always answers.
        thresholds: for each class of a multi-label model, the least probability at which the video has
            the class; None for any other model.
        track: name of the subject that it is about; None for the whole picture.
    """

    video: str
    class_names: Sequence[str]
    probabilities: Float64 | None
    error: str | None = None
    logits_VK: Float64 | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    threshold: float | None = None
    thresholds: Sequence[float] | None = None
    track: str | None = None

    @property
    def name(self) -> str:
        """The path, and which subject of the picture it is about."""
        return name_subject(self.video, self.track)

    @property
    def labels(self) -> tuple[str, ...]:
        """The video's classes: all that reach their threshold if the model is multi-label, else the best."""
        if self.probabilities is None:
            return ()
        if self.thresholds is None:
            return tuple(name for name, _ in self.top(1))
        classes = zip(self.class_names, self.probabilities, self.thresholds, strict=True)
        return tuple(name for name, probability, threshold in classes if probability >= threshold)

    @property
    def is_unknown(self) -> bool:
        """Whether the model abstains, because no class reaches the threshold."""
        return (
            self.threshold is not None and self.probability is not None and self.probability < self.threshold
        )

    @property
    def label(self) -> str | None:
        """The most probable class; None if the video failed."""
        return self.top(1)[0][0] if self.probabilities is not None else None

    @property
    def probability(self) -> float | None:
        """The probability of the most probable class; None if the video failed."""
        return self.top(1)[0][1] if self.probabilities is not None else None

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return name and probability of the k most probable classes, best first, equal ones by label."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.class_names[label], float(self.probabilities[label])) for label in order]


def prediction_to_dict(prediction: Prediction, top_k: int) -> dict[str, Any]:
    """Return what `--format json` prints for one video."""
    row: dict[str, Any] = {"video": prediction.video}
    if prediction.track is not None:
        row["track"] = prediction.track
    if prediction.start_seconds or prediction.end_seconds is not None:
        row |= {"start": prediction.start_seconds, "end": prediction.end_seconds}
    if prediction.error is not None:
        return row | {"error": prediction.error}
    best = [{"label": label, "probability": p} for label, p in prediction.top(top_k)]
    row |= {"predictions": best}
    if prediction.thresholds is not None:
        row["labels"] = list(prediction.labels)
    return row if prediction.threshold is None else row | {"unknown": prediction.is_unknown}


def align(prediction: Prediction, class_names: Sequence[str]) -> Prediction:
    """Return a prediction over more classes than its model knows; those have no probability.

    Args:
        prediction: of a model.
        class_names: all classes, among them those of the model.
    """
    values = prediction.probabilities
    if values is not None:
        known = dict(zip(prediction.class_names, values, strict=True))
        values = np.array([known.get(name, 0.0) for name in class_names])
    return Prediction(
        prediction.video,
        tuple(class_names),
        values,
        prediction.error,
        start_seconds=prediction.start_seconds,
        end_seconds=prediction.end_seconds,
    )


def prediction_to_rows(prediction: Prediction, top_k: int) -> list[list[Any]]:
    """Return the rows of one video under `CSV_COLUMNS`; an empty field where there is nothing.

    What would steer a terminal is escaped in names.
    """
    video, track = shown_cell(prediction.video), shown_cell(prediction.track or "")
    end = "" if prediction.end_seconds is None else prediction.end_seconds
    span = [prediction.start_seconds or "", end]
    if prediction.error is not None:
        return [[video, "", "", "", shown_cell(prediction.error), *span, "", "", track]]
    unknown = "" if prediction.threshold is None else str(prediction.is_unknown).lower()
    best = enumerate(prediction.top(top_k), start=1)
    chosen = prediction.labels
    is_set = prediction.thresholds is not None
    return [
        [
            video,
            rank,
            shown_cell(label),
            p,
            "",
            *span,
            unknown,
            str(label in chosen).lower() if is_set else "",
            track,
        ]
        for rank, (label, p) in best
    ]
