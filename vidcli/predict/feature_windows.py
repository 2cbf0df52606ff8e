"""The windows of a model that sees frames one by one: each frame is computed once, for all that hold it.

    frames      x0  x1  x2  x3        with frame differences, what is seen in x2 depends on x1,
    following       f1  f2  f3        except in the window that begins with x2:
    beginning   b0  b1  b2  b3        there nothing is before it

    windows     b0  f1  f2            T = 3, step = 1
                    b1  f2  f3

Shape suffixes: N frames, W windows, T frames a window, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from vidcli.arrays import Float64, Frames
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.artifacts.graph_parts import FRAMES, HEAD
from vidcli.models import VideoClassifier
from vidcli.predict.predictor import Predictor
from vidcli.predict.shared_cores import SharedCores, parts_of
from vidcli.predict.window_plan import WindowPlan

_AT_ONCE = 48
"""Frames, and windows, that a core computes in one go: more fall out of its cache, fewer wait for Python."""


class FrameNetwork(Protocol):
    """A network whose frames do not see each other: their features can be shared by clips."""

    @property
    def head(self) -> Callable[[Tensor], Tensor]:
        """Takes features_BTE to logits_BK."""

    def features(self, clip_BTCHW: Tensor) -> Tensor:
        """Return features_BTE."""

    def folded(self, clip_BTCHW: Tensor) -> FrameNetwork:
        """Return a network that answers as this one does, and faster; the clip is an example."""

    def without_differences(self) -> FrameNetwork:
        """Return a network that answers as this one does for frames which begin a clip."""


def frame_network(predictor: Predictor) -> FrameNetwork | None:
    """Return the model, if the features of a frame are the same in every clip that holds the frame.

    None if the backbone also sees neighbouring frames (a temporal shift, a whole video network), and if the
    window into the frame depends on the clip (`clip.focus`, `clip.panels`).
    """
    network = predictor.network
    if predictor.config.clip.looks_for_motion or not isinstance(network, VideoClassifier | ExportedNetwork):
        return None
    if isinstance(network, VideoClassifier):
        network.eval()
    return None if network.sees_neighbours else network


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
        self._last_1CHW: Tensor | None = None
        self._features_NE: Tensor | None = None
        self._starts: list[Tensor] = []
        self._num_pushed = 0
        self._cores = SharedCores(predictor.device)
        if isinstance(network, ExportedNetwork):
            network.open_for(self._cores.count, (FRAMES, HEAD))

    def push(self, frames_NHWC: Frames) -> Iterator[list[Float64]]:
        """Take the next frames; yield the probabilities of the windows that they fill, once for all."""
        with self._cores.sharing():
            found = self._push(frames_NHWC)
        yield found

    def _push(self, frames_NHWC: Frames) -> list[Float64]:
        plan = self._plan
        (clip_NCHW,) = self._cores.each([(self._predictor.views.transform, frames_NHWC)])
        clip_NCHW = clip_NCHW.to(self._predictor.device)
        if not self._num_pushed:
            self._prepare(clip_NCHW[None, : plan.length])
        following_NE = self._see(clip_NCHW)
        known = [] if self._features_NE is None else [self._features_NE]
        features_NE = torch.cat([*known, following_NE])
        firsts = range(0, len(features_NE) - plan.length + 1, plan.step)
        windows = [
            torch.cat([self._starts.pop(0)[None], features_NE[n + 1 : n + plan.length]]) for n in firsts
        ]
        self._features_NE = features_NE[len(firsts) * plan.step :]
        some = [windows[part.start : part.stop] for part in parts_of(len(windows), _AT_ONCE)]
        answers = self._cores.each([(self._network.head, torch.stack(windows_TE)) for windows_TE in some])
        return [
            self._predictor.calibration.probabilities(logits_K[None])
            for logits_WK in answers
            for logits_K in logits_WK.double().cpu().numpy()
        ]

    def _prepare(self, clip_1TCHW: Tensor) -> None:
        """Make the networks quicker, which answer as the model does."""
        if clip_1TCHW.device.type == "cpu":
            self._network = self._network.folded(clip_1TCHW)
        self._beginning = self._network.without_differences()

    def _see(self, clip_NCHW: Tensor) -> Tensor:
        """Return the features of frames that follow others (N, E), and keep those of frames that begin."""
        differs = self._predictor.config.model.frame_differences
        before = [] if self._last_1CHW is None else [self._last_1CHW]
        shown_NCHW = torch.cat([*before, clip_NCHW])
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
        following_NE = torch.cat(following)[len(before) :]
        if differs:
            self._starts += [start_E for features_BTE in seen[len(parts) :] for start_E in features_BTE[:, 0]]
        else:
            self._starts += following_NE[first :: self._plan.step].unbind(0)
        self._last_1CHW = clip_NCHW[-1:]
        self._num_pushed += len(clip_NCHW)
        return following_NE
