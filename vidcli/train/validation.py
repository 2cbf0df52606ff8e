"""Validation after each epoch: the scores of the model, and the calibration fitted to its logits.

Shape suffixes: N videos, K classes, V views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from vidcli.data.items import VideoItem
from vidcli.errors import TrainError
from vidcli.evaluate import Evaluation, evaluate
from vidcli.evaluate.multilabel import evaluate_multi_label, targets_of
from vidcli.models import VideoModel
from vidcli.models.calibration import Calibration, fit_multi_label, fit_temperature, uncalibrated
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.processes import Group
from vidcli.train.frozen import FeaturePredictor, FrozenFeatures


@dataclass(frozen=True)
class Validation:
    """Scores on the validation videos, of probabilities without calibration.

    Attributes:
        loss: mean loss of a video; None where every video failed.
        top1: share of videos whose best class is right; None for a multi-label model.
        balanced_accuracy: mean recall of the classes; None for a multi-label model.
        mean_average_precision: None unless the model is multi-label.
        scores: all scores; None for a multi-label model.
        calibration: fitted to these videos.
    """

    loss: float | None
    top1: float | None
    balanced_accuracy: float | None
    mean_average_precision: float | None
    scores: Evaluation | None
    calibration: Calibration

    def metrics(self) -> dict[str, float | None]:
        """Return the scores under the names that they have in an `EpochRow`."""
        return {
            "val_loss": self.loss,
            "val_top1": self.top1,
            "val_balanced_accuracy": self.balanced_accuracy,
            "val_map": self.mean_average_precision,
        }


def score(
    predictions: Sequence[Prediction],
    items: Sequence[VideoItem],
    class_names: Sequence[str],
    multi_label: bool,
) -> Validation:
    """Score predictions of labelled videos, made without calibration, and fit a calibration to them.

    Args:
        predictions: one a video.
        items: the videos.
        class_names: the name of each class, at the position of its label.
        multi_label: whether a video has any number of classes.
    """
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


class Validator:
    """Predicts the validation videos of a run after each epoch, and scores the predictions.

    Attributes:
        items: the validation videos; there may be none.
        predictor: of the model, without calibration.
        calibration: fitted at the last validation.
    """

    def __init__(
        self,
        items: Sequence[VideoItem],
        class_names: Sequence[str],
        multi_label: bool,
        predictor: Predictor,
        group: Group,
    ) -> None:
        """Keep what to predict, and with what.

        Args:
            items: the validation videos.
            class_names: the name of each class, at the position of its label.
            multi_label: whether a video has any number of classes.
            predictor: of the model, without calibration.
            group: the processes that share the videos.
        """
        self.items, self._class_names, self._multi_label = items, class_names, multi_label
        self.predictor, self._group = predictor, group
        self.calibration = predictor.calibration

    def use_features(self, model: VideoModel, features: FrozenFeatures) -> None:
        """Predict from features instead of frames from now on.

        Args:
            model: the model of the predictor.
            features: of a backbone that never learns; they hold those of the validation videos.
        """
        self.predictor = FeaturePredictor(self.predictor, model, features)

    def validate(self, epoch: int, after_each: Callable[[], None]) -> Validation | None:
        """Predict and score the videos; None where there are none.

        Args:
            epoch: number of the epoch that ended, counted from 1.
            after_each: called after each video, equally often in every process.

        Raises:
            TrainError: no video could be scored.
        """
        if not self.items:
            return None
        predictions = self._predict(after_each)
        found = score(predictions, self.items, self._class_names, self._multi_label)
        if found.loss is None or not math.isfinite(found.loss):
            reason = next((p.error for p in predictions if p.error is not None), f"loss {found.loss}")
            unscored = TrainError(
                f"not one validation video could be scored in epoch {epoch} ({reason}); no model of this "
                f"epoch is saved. If training diverged, lower train.lr (now "
                f"{self.predictor.config.train.lr:g}) or set train.grad_clip"
            )
            raise self._group.of_all(unscored)
        self.calibration = found.calibration
        return found

    def _predict(self, after_each: Callable[[], None]) -> list[Prediction]:
        predictions: list[Prediction] = []
        with closing(self.predictor.predict_many(self._group.share(self.items))) as predicted:
            for _ in range(-(-len(self.items) // self._group.size)):
                predictions += islice(predicted, 1)
                after_each()
        return self._group.gather_shares(predictions)
