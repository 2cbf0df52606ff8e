"""Predictions of labelled videos as a table."""

from __future__ import annotations

from collections.abc import Sequence

from vidcli.data.items import LABEL_SEPARATOR, VideoItem, labels_of
from vidcli.predict import Prediction
from vidcli.sheets import csv_text, shown_cell


def is_right(item: VideoItem, prediction: Prediction) -> bool:
    """Tell whether a prediction is the label; of a multi-label model, all classes and no others."""
    if prediction.error is not None:
        return False
    return set(prediction.labels) == set(labels_of(item.label, prediction.thresholds is not None))


def predictions_csv(
    items: Sequence[VideoItem], predictions: Sequence[Prediction], class_names: Sequence[str]
) -> str:
    """Return every video's label, prediction and probabilities as CSV."""
    fixed = ["video", "start", "end", "label", "predicted", "probability", "correct", "error"]
    rows: list[list[object]] = [[*fixed, *class_names]]
    for item, prediction in zip(items, predictions, strict=True):
        best = prediction.top(1)
        name, probability = best[0] if best else ("", "")
        shown = [""] * len(class_names) if prediction.probabilities is None else prediction.probabilities
        if prediction.thresholds is not None:
            name = LABEL_SEPARATOR.join(prediction.labels)
        correct = str(is_right(item, prediction)).lower()
        end = "" if item.end_seconds is None else item.end_seconds
        about = [prediction.video, item.start_seconds, end, item.label, name, probability, correct]
        rows.append([*about, prediction.error or "", *shown])
    return csv_text([shown_cell(cell) for cell in row] for row in rows)
