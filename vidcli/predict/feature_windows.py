"""The windows of a model that sees frames one by one: each frame is computed once, for all that hold it.

    frames      x0  x1  x2  x3        with frame differences, what is seen in x2 depends on x1,
    following       f1  f2  f3        except in the window that begins with x2:
    beginning   b0  b1  b2  b3        there nothing is before it

    windows     b0  f1  f2            T = 3, step = 1
                    b1  f2  f3

Shape suffixes: N frames, W windows, T frames a window, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vidcli.arrays import Float32, Float64, Frames
from vidcli.predict.frame_networks import FrameNetwork
from vidcli.predict.predictor import Predictor
from vidcli.predict.shared_cores import SharedCores, parts_of
from vidcli.predict.window_plan import WindowPlan

_AT_ONCE = 48
"""Frames, and windows, that a core computes in one go: more fall out of its cache, fewer wait for Python."""


class FeatureWindows:
    """Send every frame through the backbone, and use its features in all windows that hold it.

    With frame differences the first frame of a window has no difference. The features of such frames
    are computed both with and without one; without, by a network that takes no differences at all.
    """

    def __init__(self, predictor: Predictor, plan: WindowPlan, network: FrameNetwork) -> None:
        """Begin before the first frame.

        Args:
            predictor: of the model.
            plan: the windows.
            network: the model itself.
        """
        self._predictor, self._plan = predictor, plan
        self._network = self._beginning = network
        self._last_1CHW: Float32 | None = None
        self._features_NE: Float32 | None = None
        self._starts: list[Float32] = []
        self._num_pushed = 0
        self._cores = SharedCores(predictor.is_on_cpu)
        network.open_parts(self._cores.count)

    def push(self, frames_NHWC: Frames) -> Iterator[list[Float64]]:
        """Take the next frames; yield the probabilities of the windows that they fill, once for all."""
        with self._cores.sharing():
            found = self._push(frames_NHWC)
        yield found

    def _push(self, frames_NHWC: Frames) -> list[Float64]:
        plan = self._plan
        (clip_NCHW,) = self._cores.each([(self._predictor.views.transform.array, frames_NHWC)])
        if not self._num_pushed:
            self._prepare(clip_NCHW[None, : plan.length])
        following_NE = self._see(clip_NCHW)
        known = [] if self._features_NE is None else [self._features_NE]
        features_NE = np.concatenate([*known, following_NE])
        firsts = range(0, len(features_NE) - plan.length + 1, plan.step)
        windows = [
            np.concatenate([self._starts.pop(0)[None], features_NE[n + 1 : n + plan.length]]) for n in firsts
        ]
        self._features_NE = features_NE[len(firsts) * plan.step :]
        some = [windows[part.start : part.stop] for part in parts_of(len(windows), _AT_ONCE)]
        answers = self._cores.each([(self._network.head, np.stack(windows_TE)) for windows_TE in some])
        return [
            self._predictor.calibration.probabilities(logits_K[None])
            for logits_WK in answers
            for logits_K in logits_WK.astype(np.float64)
        ]

    def _prepare(self, clip_1TCHW: Float32) -> None:
        """Make the networks quicker, which answer as the model does."""
        self._network = self._network.folded(clip_1TCHW)
        self._beginning = self._network.without_differences()

    def _see(self, clip_NCHW: Float32) -> Float32:
        """Return the features of frames that follow others (N, E), and keep those of frames that begin."""
        differs = self._predictor.config.model.frame_differences
        before = [] if self._last_1CHW is None else [self._last_1CHW]
        shown_NCHW = np.concatenate([*before, clip_NCHW])
        first = -self._num_pushed % self._plan.step
        starts_NCHW = clip_NCHW[first :: self._plan.step] if differs else clip_NCHW[:0]
        parts, begin = (parts_of(len(shown), _AT_ONCE) for shown in (shown_NCHW, starts_NCHW))
        seen = self._cores.each(
            [
                # Each part begins with the frame before it, which its first frame differs from.
                *((self._network.features, shown_NCHW[None, max(0, at.start - 1) : at.stop]) for at in parts),
                *((self._beginning.features, starts_NCHW[at.start : at.stop, None]) for at in begin),
            ]
        )
        following = [seen[0][0], *(features_BTE[0, 1:] for features_BTE in seen[1 : len(parts)])]
        following_NE: Float32 = np.concatenate(following)[len(before) :]
        if differs:
            self._starts.extend(
                start_E for features_BTE in seen[len(parts) :] for start_E in features_BTE[:, 0]
            )
        else:
            self._starts.extend(following_NE[first :: self._plan.step])
        self._last_1CHW = clip_NCHW[-1:]
        self._num_pushed += len(clip_NCHW)
        return following_NE
