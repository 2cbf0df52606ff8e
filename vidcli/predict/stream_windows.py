"""The windows of a two-stream model: each frame passes through the backbone once, for all that hold it.

Shape suffixes: N frames, W windows, T frames a window, F features of a frame, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vidcli.arrays import Float64, Frames
from vidcli.models import TwoStreamClassifier
from vidcli.predict.predictor import Predictor

_WINDOWS_AT_ONCE = 16


def stream_network(predictor: Predictor) -> TwoStreamClassifier | None:
    """Return the model, if what it sees in a frame is the same in every clip that holds the frame.

    None for other models, and where the picture depends on the clip (`clip.focus`, `clip.panels`).
    """
    network, is_alone = predictor.network, predictor.config.clip.is_frame_alone
    return network if isinstance(network, TwoStreamClassifier) and is_alone else None


class StreamWindows:
    """Describe every frame once, and classify each window by the frames in it."""

    def __init__(self, predictor: Predictor, length: int, step: int, network: TwoStreamClassifier) -> None:
        """Begin before the first frame.

        Args:
            predictor: of the model.
            length: frames of a window.
            step: frames from one window to the next.
            network: the model itself.
        """
        self._predictor, self._length, self._step = predictor, length, step
        self._network = network.eval()
        self._seen_NF: Tensor | None = None

    def push(self, frames_NHWC: Frames) -> Iterator[list[Float64]]:
        """Take the next frames; yield the probabilities of the windows that they fill, once for all."""
        yield self._push(frames_NHWC)

    @torch.inference_mode()
    def _push(self, frames_NHWC: Frames) -> list[Float64]:
        predictor, length, step = self._predictor, self._length, self._step
        clip_NCHW = predictor.views.transform(frames_NHWC).to(predictor.device)
        new_NF = self._network.see_frames(clip_NCHW[None])[0]
        seen_NF = new_NF if self._seen_NF is None else torch.cat([self._seen_NF, new_NF])
        starts = range(0, len(seen_NF) - length + 1, step)
        found: list[Float64] = []
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            some = starts[first : first + _WINDOWS_AT_ONCE]
            rows_WTF = torch.stack([seen_NF[start : start + length] for start in some])
            logits_WK = self._network.head(self._network.describe_frames(rows_WTF)).double().cpu().numpy()
            found += [predictor.calibration.probabilities(logits_K[None]) for logits_K in logits_WK]
        self._seen_NF = seen_NF[len(starts) * step :]
        return found
