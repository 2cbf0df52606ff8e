"""The windows of a model of streams: each frame passes through the backbone once, for all that hold it.

Shape suffixes: N frames, W windows, T frames a window, F features of a frame, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vidcli.arrays import Float64, Frames
from vidcli.models import MultiStreamClassifier
from vidcli.predict.predictor import Predictor
from vidcli.predict.shared_cores import SharedCores, parts_of

_AT_ONCE = 4
"""Frames, and windows, that a core computes in one go: few come at a time, and maps stay in its cache."""


class StreamWindows:
    """Describe every frame once, and classify each window by the frames in it."""

    def __init__(self, predictor: Predictor, length: int, step: int, network: MultiStreamClassifier) -> None:
        """Begin before the first frame.

        Args:
            predictor: of the model.
            length: frames of a window.
            step: frames from one window to the next.
            network: the model itself.
        """
        self._predictor, self._length, self._step = predictor, length, step
        self._network = network.eval()
        self._cores = SharedCores(predictor.is_on_cpu)
        self._seen_NF: Tensor | None = None

    def push(self, frames_NHWC: Frames) -> Iterator[list[Float64]]:
        """Take the next frames; yield the probabilities of the windows that they fill, once for all."""
        with self._cores.sharing():
            found = self._push(frames_NHWC)
        yield found

    @torch.inference_mode()
    def _push(self, frames_NHWC: Frames) -> list[Float64]:
        predictor, length, step = self._predictor, self._length, self._step
        frames = [frames_NHWC[part.start : part.stop] for part in parts_of(len(frames_NHWC), _AT_ONCE)]
        known = [] if self._seen_NF is None else [self._seen_NF]
        seen_NF = torch.cat([*known, *self._cores.each([(self._see, some_NHWC) for some_NHWC in frames])])
        starts = range(0, len(seen_NF) - length + 1, step)
        windows = [seen_NF[start : start + length] for start in starts]
        some = [windows[part.start : part.stop] for part in parts_of(len(windows), _AT_ONCE)]
        answers = self._cores.each([(self._answer, torch.stack(windows_TF)) for windows_TF in some])
        self._seen_NF = seen_NF[len(starts) * step :]
        return [
            predictor.calibration.probabilities(logits_K[None])
            for logits_WK in answers
            for logits_K in logits_WK.double().cpu().numpy()
        ]

    @torch.inference_mode()
    def _see(self, frames_NHWC: Frames) -> Tensor:
        clip_NCHW = self._predictor.views.transform(frames_NHWC).to(self._predictor.device)
        return self._network.see_frames(clip_NCHW[None])[0]

    @torch.inference_mode()
    def _answer(self, windows_WTF: Tensor) -> Tensor:
        logits_WK: Tensor = self._network.head(self._network.describe_frames(windows_WTF))
        return logits_WK
