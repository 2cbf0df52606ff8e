"""The loss that training minimises: cross-entropy, with label smoothing and weights of classes.

Shape suffixes: B clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


class ClipLoss:
    """Mean cross-entropy of a batch of clips."""

    def __init__(
        self, label_smoothing: float, class_counts: Sequence[int] | None, device: torch.device
    ) -> None:
        """Compute the weights of classes.

        Args:
            label_smoothing: probability that is spread over all classes, 0 to 1.
            class_counts: clips of each class in an epoch, by label. A clip weighs the inverse of its class's
                share, and the mean weight over an epoch is 1. None weighs all clips alike.
            device: of the logits.
        """
        self._label_smoothing = label_smoothing
        self._weights_K: Tensor | None = None
        if class_counts is not None:
            counts_K = torch.tensor(class_counts, dtype=torch.float32, device=device)
            self._weights_K = counts_K.sum() / (len(class_counts) * counts_K)

    def __call__(self, logits_BK: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss.

        Args:
            logits_BK: float.
            targets: int64 labels (B,), or the probability of each class (B, K).
        """
        if self._weights_K is None:
            return functional.cross_entropy(logits_BK, targets, label_smoothing=self._label_smoothing)
        loss_B = functional.cross_entropy(
            logits_BK, targets, label_smoothing=self._label_smoothing, reduction="none"
        )
        weights_B = self._weights_K[targets] if targets.dim() == 1 else targets @ self._weights_K
        # The mean is over clips, not over weights, so that a batch of rare classes counts more.
        return (loss_B * weights_B).mean()


class MultiLabelLoss:
    """Binary cross-entropy of clips that may have several classes, mean over clips and classes."""

    def __init__(self, label_smoothing: float) -> None:
        """Keep the label smoothing s: targets 0 and 1 become s/2 and 1 - s/2."""
        self._label_smoothing = label_smoothing

    def __call__(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Return the mean loss.

        Args:
            logits_BK: float.
            targets_BK: float, 1 for each class of a clip and 0 for the others.
        """
        soft_BK = targets_BK * (1 - self._label_smoothing) + self._label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits_BK, soft_BK)


def count_correct(logits_BK: Tensor, labels: Tensor) -> int:
    """Return how many clips are classified correctly; one of several classes needs all and no others.

    Args:
        logits_BK: float.
        labels: int64 (B,), or float (B, K) with 1 for each class of a clip.
    """
    if labels.dim() == 1:
        return int((logits_BK.argmax(-1) == labels).sum())
    return int(((logits_BK > 0) == (labels > 0.5)).all(-1).sum())
