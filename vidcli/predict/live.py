"""Classify a video while it is still being filmed, picture by picture.

    state     a one-way recurrence keeps its state, so that an answer depends on all pictures so far
    features  each picture goes through the backbone once; the head reads the features of the last T
    whole     the last T pictures go through the whole model, for models in which frames see each other

If no picture came for a moment (a slow camera, a busy model), the picture before it is repeated, so that a
window is always as long as the clips that the model learnt from.

Shape suffixes: T frames a window, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float32, Float64, Frames
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.predict.frame_networks import FrameNetwork, frame_network
from vidcli.predict.predictor import Predictor
from vidcli.sampling import neighbour_steps
from vidcli.video import LiveFrame

if TYPE_CHECKING:
    from vidcli.models.heads import RecurrentState
    from vidcli.predict.torch_frames import TorchFrames


class LiveSession(ABC):
    """A live video as far as a model has seen it.

    Attributes:
        capacity: number of pictures that may wait for the model; it has no use for older ones.
        steps: pictures from one moment of a clip to the next.
    """

    capacity = 1
    steps = 1

    def __init__(self, predictor: Predictor) -> None:
        """Begin with nothing seen."""
        self._predictor = predictor
        self._length = predictor.config.clip.length
        self._next_moment = 0

    @property
    def is_full(self) -> bool:
        """Whether the model has seen as many pictures as a clip covers."""
        return self._next_moment >= self._length

    def push(self, frames: list[LiveFrame]) -> None:
        """Take the next pictures, in order."""
        for frame in frames:
            # A window of one picture stays the same, however often the picture is repeated.
            for _ in range(min(frame.moment - self._next_moment, self._length)):
                self._hold()
            self._see(frame.picture)
            self._next_moment = frame.moment + 1

    def fill(self) -> None:
        """Repeat the last picture until a clip is full, as `predict` does with a short video."""
        while not self.is_full:
            self._hold()
            self._next_moment += 1

    def answer(self) -> Float64:
        """Return the probabilities (K,) at this moment; at least one picture must have come."""
        return self._predictor.calibration.probabilities(self._logits())

    @abstractmethod
    def _see(self, picture_HWC: Frames) -> None:
        """Take the picture of the next moment."""

    @abstractmethod
    def _hold(self) -> None:
        """Take the last picture for the next moment too."""

    @abstractmethod
    def _logits(self) -> Float64:
        """Return the logits (1, K) at this moment."""


class WholeSession(LiveSession):
    """The whole model reads the last T moments, with their neighbours if it follows what moves."""

    def __init__(self, predictor: Predictor, spacing_seconds: float) -> None:
        """Begin with nothing seen.

        Args:
            predictor: the model.
            spacing_seconds: from one moment of a clip to the next.
        """
        super().__init__(predictor)
        self._follows = predictor.config.clip.follows
        self.steps = neighbour_steps(spacing_seconds) if self._follows else 1
        self._length *= self.steps
        self.capacity = self._length
        self._window: deque[Frames] = deque(maxlen=self._length)

    def _see(self, picture_HWC: Frames) -> None:
        self._window.append(picture_HWC)

    def _hold(self) -> None:
        self._window.append(self._window[-1])

    def _logits(self) -> Float64:
        frames = np.stack(self._window)
        if self._follows:
            own_T = np.arange(self.steps // 2, len(frames), self.steps)
            near_T3 = own_T[:, None] + np.array([-1, 0, 1])
            frames = frames[near_T3.clip(0, len(frames) - 1)]
        return self._predictor.classify(self._predictor.views.transform.array(frames)[None])


class _FeatureSession(LiveSession):
    """A session that sends each picture through the backbone once.

    With frame differences a picture has two kinds of features: those of a picture that follows another,
    and those of a picture alone, which has no difference. The first picture of a clip and a repeated
    picture are alone.
    """

    def __init__(self, predictor: Predictor, network: FrameNetwork) -> None:
        """Begin with nothing seen."""
        super().__init__(predictor)
        self._network = network
        self._has_differences = predictor.config.model.frame_differences
        network.open_parts(1)
        self._last_1CHW: Float32 | None = None

    def _see(self, picture_HWC: Frames) -> None:
        clip_1CHW = self._predictor.views.transform.array(picture_HWC[None])
        before = [] if self._last_1CHW is None or not self._has_differences else [self._last_1CHW]
        following_E = self._network.features(np.concatenate([*before, clip_1CHW])[None])[0, -1]
        is_first = self._last_1CHW is None
        self._last_1CHW = clip_1CHW
        self._add(following_E, following_E if is_first or not self._has_differences else None)

    def _alone(self) -> Float32:
        """Return the last picture's features (E,) without a difference."""
        assert self._last_1CHW is not None
        alone_E: Float32 = self._network.features(self._last_1CHW[None])[0, 0]
        return alone_E

    @abstractmethod
    def _add(self, following_E: Float32, alone_E: Float32 | None) -> None:
        """Take the features of the next moment.

        Args:
            following_E: of the picture after the one before it.
            alone_E: of the picture alone; None if they were not computed.
        """


class FeatureSession(_FeatureSession):
    """A session in which the head reads the features of the last T pictures."""

    def __init__(self, predictor: Predictor, network: FrameNetwork) -> None:
        """Begin with nothing seen."""
        super().__init__(predictor, network)
        self._window: deque[tuple[Float32, Float32]] = deque(maxlen=self._length)

    def _add(self, following_E: Float32, alone_E: Float32 | None) -> None:
        self._window.append((following_E, self._alone() if alone_E is None else alone_E))

    def _hold(self) -> None:
        alone_E = self._window[-1][1]
        self._window.append((alone_E, alone_E))

    def _logits(self) -> Float64:
        (_, first_E), *others = self._window
        window_TE = np.stack([first_E, *(following_E for following_E, _ in others)])
        return self._network.head(window_TE[None]).astype(np.float64)


class StateSession(_FeatureSession):
    """A session of a one-way recurrence, whose state depends on all pictures so far."""

    def __init__(self, predictor: Predictor, network: TorchFrames) -> None:
        """Begin with nothing seen."""
        super().__init__(predictor, network)
        self._recurrence = network
        self._state: RecurrentState | None = None
        self._alone_E: Float32 | None = None
        self._logits_1K: Float64 | None = None

    def _add(self, following_E: Float32, alone_E: Float32 | None) -> None:
        self._alone_E = alone_E
        self._logits_1K, self._state = self._recurrence.advance(following_E, self._state)

    def _hold(self) -> None:
        alone_E = self._alone() if self._alone_E is None else self._alone_E
        self._add(alone_E, alone_E)

    def _logits(self) -> Float64:
        assert self._logits_1K is not None
        return self._logits_1K


def can_keep_state(predictor: Predictor) -> bool:
    """Tell whether the model is a one-way recurrence over single frames, which can keep its state."""
    return _recurrence(predictor) is not None


def _recurrence(predictor: Predictor) -> TorchFrames | None:
    if isinstance(predictor.network, ExportedNetwork):
        return None
    from vidcli.predict.torch_frames import TorchFrames

    network = frame_network(predictor)
    return network if isinstance(network, TorchFrames) and network.keeps_state else None


def open_session(predictor: Predictor, keeps_state: bool, spacing_seconds: float) -> LiveSession:
    """Return a session that has seen nothing yet.

    Args:
        predictor: the model.
        keeps_state: let each answer depend on all pictures so far; else it depends on the last clip only.
        spacing_seconds: from one moment of a clip to the next; pictures come `steps` times as often.

    Raises:
        ValueError: the model cannot keep a state.
    """
    if keeps_state:
        if (recurrence := _recurrence(predictor)) is None:
            raise ValueError("this model has no one-way state")
        return StateSession(predictor, recurrence)
    network = frame_network(predictor)
    return WholeSession(predictor, spacing_seconds) if network is None else FeatureSession(predictor, network)
