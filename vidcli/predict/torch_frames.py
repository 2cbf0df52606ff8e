"""A torch model whose frames do not see each other, as arrays go in and come out.

Shape suffixes: B clips, T frames a clip, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

from vidcli.arrays import Float32, Float64
from vidcli.models import VideoClassifier
from vidcli.models.heads import RecurrentHead, RecurrentState


class TorchFrames:
    """A model on its device: see `FrameNetwork`."""

    def __init__(self, model: VideoClassifier, device: torch.device) -> None:
        """Keep a model.

        Args:
            model: in evaluation mode.
            device: where it lies.
        """
        self._model, self._device = model, device

    @torch.inference_mode()
    def features(self, clip_BTCHW: Float32) -> Float32:
        """Return features_BTE."""
        return np.asarray(self._model.features(self._tensor(clip_BTCHW)).float().cpu().numpy())

    @torch.inference_mode()
    def head(self, features_BTE: Float32) -> Float32:
        """Return logits_BK."""
        return np.asarray(self._model.head(self._tensor(features_BTE)).float().cpu().numpy())

    def open_parts(self, num_callers: int) -> None:
        """Do nothing: any number of threads may call a torch model."""

    def folded(self, clip_BTCHW: Float32) -> TorchFrames:
        """Return a network that answers as this one does, and faster; the clip is an example."""
        if self._device.type != "cpu":
            return self
        with torch.inference_mode():
            return TorchFrames(self._model.folded(self._tensor(clip_BTCHW)), self._device)

    def without_differences(self) -> TorchFrames:
        """Return a network that answers as this one does for frames which begin a clip."""
        return TorchFrames(self._model.without_differences(), self._device)

    @property
    def keeps_state(self) -> bool:
        """Whether the head is a one-way recurrence, which can go on from frame to frame."""
        return isinstance(self._model.head, RecurrentHead) and self._model.head.is_one_way

    @torch.inference_mode()
    def advance(
        self, features_E: Float32, state: RecurrentState | None
    ) -> tuple[Float64, RecurrentState | None]:
        """Return logits (1, K) and the new state of a one-way recurrence after one more frame.

        Args:
            features_E: of the frame.
            state: after the frames before it; None before the first.
        """
        assert isinstance(self._model.head, RecurrentHead)
        logits_1K, state = self._model.head.advance(self._tensor(features_E[None, None]), state)
        return np.asarray(logits_1K.double().cpu().numpy()), state

    def _tensor(self, values: Float32) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)
