"""Heads trained and scored on features that a frozen backbone made once.

Shape suffixes: N videos, V views, T frames, F features a frame, B batch, K classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidcli.config import Config
from vidcli.data.items import class_names_of
from vidcli.errors import TrainError
from vidcli.evaluate import bootstrap_interval
from vidcli.features.frozen_backbone import VideoFeatures
from vidcli.models import FeatureClassifier, head_names, heads_that_see_order
from vidcli.models.classifier import standardisation
from vidcli.train.update import BatchTooLarge, Updater

Order = Literal["ordered", "shuffled"]
ORDERS: tuple[Order, ...] = ("ordered", "shuffled")

_MIN_STD = 1e-6
_VIDEOS_AT_ONCE = 256


@dataclass(frozen=True)
class HeadScore:
    """The scores of one head, with 95% intervals.

    Attributes:
        head: its name.
        sees_order: whether it can tell frames in order from shuffled ones.
        ordered: share of the videos it is right on, trained and scored on frames in order.
        ordered_interval: of that share.
        shuffled: the same, trained and scored on shuffled frames.
        shuffled_interval: of that share.
        seconds: time to train and score it.
    """

    head: str
    sees_order: bool
    ordered: float
    ordered_interval: tuple[float, float]
    shuffled: float
    shuffled_interval: tuple[float, float]
    seconds: float


@dataclass(frozen=True)
class TrainedHead:
    """A head in evaluation mode, and the mean and standard deviation of the features it was trained on."""

    model: FeatureClassifier
    mean_F: Tensor
    std_F: Tensor


class HeadTrials:
    """The features of all videos in both orders, on some of which heads are trained and scored.

    Attributes:
        items: the videos.
        class_names: the name of each class, at the position of its label.
    """

    def __init__(self, config: Config, videos: Sequence[VideoFeatures], device: torch.device) -> None:
        """Keep the features in memory.

        Args:
            config: all settings; `model.head` is not read.
            videos: features of each video in both orders.
            device: where heads are trained.
        """
        self._device, self.items = device, [video.item for video in videos]
        self.class_names = class_names_of(self.items)
        # Features cannot be mixed like pixels, and compiling takes longer than training a head.
        self._config = config.model_copy(
            update={
                "augment": config.augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0}),
                "train": config.train.model_copy(update={"compile": "off"}),
            }
        )
        label_of = {name: label for label, name in enumerate(self.class_names)}
        self._labels_N = torch.tensor([label_of[item.label] for item in self.items], device=device)
        self._features_NVTF: dict[Order, Tensor] = {
            "ordered": torch.from_numpy(np.stack([video.ordered_VTF for video in videos])),
            "shuffled": torch.from_numpy(np.stack([video.shuffled_VTF for video in videos])),
        }

    def train(self, head: str, order: Order, chosen_N: Tensor) -> TrainedHead:
        """Train a head on some videos, through the update that `vidcli train` uses.

        Args:
            head: its name.
            order: of the frames.
            chosen_N: indices of the videos.

        Raises:
            TrainError: the loss is no longer finite, or a batch does not fit in memory.
        """
        settings = self._config.train
        config = self._config.model.model_copy(update={"head": head})
        features_NVTF = self._features_NVTF[order][chosen_N]
        flat = features_NVTF.flatten(0, 2).double()
        mean_F, std_F = standardisation(flat, config)
        mean_F, std_F = mean_F.float(), std_F.float().clamp_min(_MIN_STD)
        clips_BTF = ((features_NVTF - mean_F) / std_F).flatten(0, 1).to(self._device)
        labels_N = self._labels_N[chosen_N]
        labels_B = labels_N.repeat_interleave(features_NVTF.shape[1])
        torch.manual_seed(settings.seed)
        model = FeatureClassifier(
            clips_BTF.shape[-1],
            len(self.class_names),
            config,
        ).to(self._device)
        counts = labels_N.bincount(minlength=len(self.class_names)).tolist()
        num_steps = -(-len(clips_BTF) // settings.batch_size)
        update = Updater(model, self._config, counts, num_steps, self._device)
        for epoch in range(settings.epochs):
            update.start_epoch(epoch)
            rng = np.random.default_rng([settings.seed, epoch])
            shuffled_B = torch.from_numpy(rng.permutation(len(clips_BTF)))
            for step, batch_B in enumerate(torch.split(shuffled_B, settings.batch_size)):
                position = epoch * num_steps + step
                try:
                    result = update(clips_BTF[batch_B], labels_B[batch_B], position)
                except BatchTooLarge as error:
                    raise TrainError(
                        f"--compare: the features of {len(batch_B)} clips do not fit in memory at once; "
                        "lower train.batch_size, or pass them in parts with train.accumulate"
                    ) from error
                if not math.isfinite(result.loss):
                    raise TrainError(
                        f"--compare: the loss of the head {head} became {result.loss} in epoch {epoch + 1}. "
                        f"Lower train.lr (now {settings.lr:g}) or set train.grad_clip"
                    )
        return TrainedHead(update.evaluated_model.eval(), mean_F, std_F)

    @torch.inference_mode()
    def score(self, trained: TrainedHead, order: Order, chosen_N: Tensor) -> npt.NDArray[np.bool_]:
        """Return which videos a head is right on; its probabilities are averaged over views.

        Args:
            trained: the head.
            order: of the frames.
            chosen_N: indices of the videos.
        """
        right: list[Tensor] = []
        for some_N in torch.split(chosen_N, _VIDEOS_AT_ONCE):
            clips_NVTF = (self._features_NVTF[order][some_N] - trained.mean_F) / trained.std_F
            logits_BK = trained.model(clips_NVTF.flatten(0, 1).to(self._device))
            probabilities_NK = logits_BK.unflatten(0, (len(some_N), -1)).softmax(-1).mean(1)
            right.append(probabilities_NK.argmax(-1) == self._labels_N[some_N])
        correct_N: npt.NDArray[np.bool_] = torch.cat(right).cpu().numpy()
        return correct_N


def score_heads(
    trials: HeadTrials, folds_N: npt.NDArray[np.int64], progress: Callable[[int, int], None]
) -> tuple[list[HeadScore], dict[tuple[str, Order], npt.NDArray[np.bool_]]]:
    """Train and score every head in both orders, on each fold a head that was trained without it.

    Args:
        trials: trains and scores a head.
        folds_N: number of the fold of each video; -1 for a video that is only trained on.
        progress: called with the number of trainings done and of all.

    Returns:
        A row for each head, and which videos each head is right on in each order, False for a video that
        is only trained on.
    """
    num_folds = int(folds_N.max()) + 1
    total, done = len(head_names()) * len(ORDERS) * num_folds, 0
    scored_N = folds_N >= 0
    scores = []
    correct: dict[tuple[str, Order], npt.NDArray[np.bool_]] = {}
    for head in head_names():
        started = time.monotonic()
        for order in ORDERS:
            correct[head, order] = np.zeros(len(folds_N), dtype=bool)
            for fold in range(num_folds):
                held_out_N = torch.from_numpy(np.flatnonzero(folds_N == fold))
                trained = trials.train(head, order, torch.from_numpy(np.flatnonzero(folds_N != fold)))
                correct[head, order][held_out_N.numpy()] = trials.score(trained, order, held_out_N)
                done += 1
                progress(done, total)
        ordered_N, shuffled_N = (correct[head, order][scored_N] for order in ORDERS)
        scores.append(
            HeadScore(
                head,
                head in heads_that_see_order(),
                float(ordered_N.mean()),
                bootstrap_interval(ordered_N),
                float(shuffled_N.mean()),
                bootstrap_interval(shuffled_N),
                time.monotonic() - started,
            )
        )
    return scores, correct
