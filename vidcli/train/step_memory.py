"""The memory that a step of training takes on a CPU, foreseen.

A CPU never says that its memory is full: the machine slows down, or kills the process. Other devices raise an
error in time.

Shape suffixes: B clips, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vidcli.runtime.memory import free_memory

_MEMORY_SHARE = 0.8
"""Of the free memory, that a step may take."""
_MOST_KEPT = 400
"""Bytes that networks keep for a byte of a clip, at most; clips that fit so often need no closer look."""
_PEAK = 1.25
"""What a step takes at most, as a multiple of what it keeps (measured: 1.0 to 1.2 of 300 MiB and more)."""


class StepMemory:
    """Tells whether clips fit."""

    def __init__(self, model: nn.Module, compute: Callable[[Tensor, Tensor], object]) -> None:
        """Keep what computes.

        Args:
            model: whose weights are in memory already.
            compute: runs clips and their labels forward.
        """
        self._model, self._compute = model, compute
        self._clip_bytes: int | None = None

    def has_room(self, clips_BTCHW: Tensor, labels_B: Tensor) -> bool:
        """Tell whether a step on clips fits in the free memory; one clip is computed where that is not plain.

        Args:
            clips_BTCHW: normalised clips, or their features.
            labels_B: their labels, as for an update.
        """
        free = _MEMORY_SHARE * free_memory()
        if _MOST_KEPT * clips_BTCHW.nbytes <= free:
            return True
        if self._clip_bytes is None:
            self._clip_bytes = self.kept_bytes(clips_BTCHW[:1], labels_B[:1])
        return len(clips_BTCHW) * self._clip_bytes * _PEAK <= free

    def kept_bytes(self, clips_BTCHW: Tensor, labels_B: Tensor) -> int:
        """Return the bytes that clips leave until their gradients are found, besides the weights.

        Args:
            clips_BTCHW: as in `has_room`.
            labels_B: as in `has_room`.
        """
        weights = {weight.untyped_storage().data_ptr() for weight in self._model.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = self._compute(clips_BTCHW, labels_B)
        del result  # until here it keeps all of them, so that no two have one place
        return sum(kept.values())
