"""What validation says of a model: its scores, and the calibration that is fitted on its logits.

Shape suffixes: N videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidcli.data.items import VideoItem
from vidcli.evaluate import Evaluation, evaluate
from vidcli.evaluate.multilabel import evaluate_multi_label, targets_of
from vidcli.models.calibration import Calibration, fit_multi_label, fit_temperature, uncalibrated
from vidcli.predict import Prediction


@dataclass(frozen=True)
class Validation:
    """Scores on the validation videos, of probabilities without calibration.

    Attributes:
        loss: None where every video failed.
        top1, balanced_accuracy, scores: None for a multi-label model.
        mean_average_precision: None unless the model is one.
        calibration: fitted on these videos.
    """

    loss: float | None
    top1: float | None
    balanced_accuracy: float | None
    mean_average_precision: float | None
    scores: Evaluation | None
    calibration: Calibration


def validate(
    predictions: Sequence[Prediction],
    items: Sequence[VideoItem],
    class_names: Sequence[str],
    multi_label: bool,
) -> Validation:
    """Score uncalibrated predictions of labelled videos and fit a calibration to them."""
    scored = [index for index, prediction in enumerate(predictions) if prediction.logits_VK is not None]
    logits = [logits_VK for p in predictions if (logits_VK := p.logits_VK) is not None]
    if multi_label:
        targets_NK = targets_of(items, class_names)
        of_sets = evaluate_multi_label(predictions, targets_NK, uncalibrated(len(class_names), True))
        fitted = fit_multi_label(logits, targets_NK[scored])
        return Validation(of_sets.loss, None, None, of_sets.mean_average_precision, None, fitted)
    scores = evaluate(predictions, [item.label for item in items], class_names)
    label_of = {name: label for label, name in enumerate(class_names)}
    fitted = fit_temperature(logits, [label_of[items[index].label] for index in scored])
    return Validation(scores.loss, scores.top1, scores.balanced_accuracy, None, scores, fitted)
