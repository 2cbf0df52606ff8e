"""Mixup and CutMix: two clips of a batch become one, and so do their labels.

    mixup     every pixel is a weighted mean of the two          (Zhang et al. 2017, arXiv:1710.09412)
    cutmix    a box, the same in all frames, comes from another  (Yun et al. 2019, arXiv:1905.04899)

The draws of a batch depend only on the seed of the run and the number of the step. Where several processes
share a batch, each clip has a partner anywhere in the whole batch, and processes exchange clips, or boxes of
them: the mixed batch is the same as in a single process.

Shape suffixes: B clips, T frames, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from vidcli.config import AugmentConfig
from vidcli.runtime.processes import ALONE, Group


class ClipMixer:
    """Mix the clips of a batch as the settings say."""

    def __init__(self, settings: AugmentConfig, num_classes: int, seed: int, group: Group = ALONE) -> None:
        """Keep what mixing depends on.

        Args:
            settings: the strength of mixup and cutmix; 0 turns one off.
            num_classes: K.
            seed: of the run.
            group: the processes that share batches.
        """
        self._alphas = {"mixup": settings.mixup, "cutmix": settings.cutmix}
        self._kinds = [kind for kind, alpha in self._alphas.items() if alpha]
        self._num_classes, self._seed, self._group = num_classes, seed, group

    def __call__(
        self, clips_BTCHW: Tensor, labels_B: Tensor, position: int, sizes: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed clips and their targets.

        Where both kinds are on, each batch draws one of them. Where both are off, the batch does not change.

        Args:
            clips_BTCHW: normalised clips; they are not changed in place.
            labels_B: int64 labels, or float (B, K) with 1 for each class of a clip.
            position: number of the step, counted from 0 over the whole run.
            sizes: number of clips of each process, by rank; empty where these clips are the whole batch.

        Returns:
            Clips of the same shape, and probabilities (B, K), or the labels given where both kinds are off.
        """
        if not self._kinds:
            return clips_BTCHW, labels_B
        # Clips draw from seeds of three or four numbers; five make sure that this seed is another.
        rng = np.random.default_rng([self._seed, position, 0, 0, 1])
        kind = self._kinds[int(rng.integers(len(self._kinds)))]
        share = float(rng.beta(self._alphas[kind], self._alphas[kind]))
        partners = rng.permutation(sum(sizes) or len(labels_B)).tolist()

        def of_partner(values_B: Tensor) -> Tensor:
            return self._group.trade(values_B, partners, sizes) if sizes else values_B[partners]

        if kind == "mixup":
            mixed_BTCHW = of_partner(clips_BTCHW).lerp(clips_BTCHW, share)
        else:
            top, bottom, left, right = _draw_box(clips_BTCHW.shape[-2], clips_BTCHW.shape[-1], share, rng)
            mixed_BTCHW = clips_BTCHW.clone()
            box = (..., slice(top, bottom), slice(left, right))
            mixed_BTCHW[box] = of_partner(clips_BTCHW[box])
            # The box is cut to whole pixels and to the frame, so its share is not quite the one drawn.
            share = 1 - (bottom - top) * (right - left) / (clips_BTCHW.shape[-2] * clips_BTCHW.shape[-1])
        own_BK = (
            labels_B.float()
            if labels_B.dim() == 2
            else functional.one_hot(labels_B, self._num_classes).float()
        )
        return mixed_BTCHW, of_partner(own_BK).lerp(own_BK, share)


def _draw_box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of a box around a random pixel that leaves `share` of the frame."""
    side = math.sqrt(1 - share)
    box_height, box_width = round(height * side), round(width * side)
    top = int(rng.integers(height)) - box_height // 2
    left = int(rng.integers(width)) - box_width // 2
    return max(0, top), min(height, top + box_height), max(0, left), min(width, left + box_width)
