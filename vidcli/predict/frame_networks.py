"""Models that say the same of a frame in every clip that holds it.

Arrays go into a `FrameNetwork` and come out, so that the windows of an exported one need no torch.

Shape suffixes: B clips, T frames a clip, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vidcli.arrays import Float32
from vidcli.artifacts.exported import ExportedNetwork

if TYPE_CHECKING:
    from vidcli.models import MultiStreamClassifier
    from vidcli.predict.predictor import Predictor


class FrameNetwork(Protocol):
    """A network whose features of frames can be shared by clips."""

    def features(self, clip_BTCHW: Float32) -> Float32:
        """Return features_BTE."""

    def head(self, features_BTE: Float32) -> Float32:
        """Return logits_BK."""

    def open_parts(self, num_callers: int) -> None:
        """Get ready for so many threads that call `features` and `head` at the same time."""

    def folded(self, clip_BTCHW: Float32) -> FrameNetwork:
        """Return a network that answers as this one does, and faster; the clip is an example."""

    def without_differences(self) -> FrameNetwork:
        """Return a network that answers as this one does for frames which begin a clip."""


def frame_network(predictor: Predictor) -> FrameNetwork | None:
    """Return the model, if the features of a frame are the same in every clip that holds the frame.

    None if the backbone also sees neighbouring frames (a temporal shift, a whole video network), and if the
    window into the frame depends on the clip (`clip.focus`, `clip.panels`).
    """
    network = predictor.network
    if predictor.config.clip.looks_for_motion:
        return None
    if isinstance(network, ExportedNetwork):
        return None if network.sees_neighbours else network
    from vidcli.models import VideoClassifier
    from vidcli.predict.torch_frames import TorchFrames

    if not isinstance(network, VideoClassifier) or network.sees_neighbours:
        return None
    return TorchFrames(network.eval(), predictor.device)


def stream_network(predictor: Predictor) -> MultiStreamClassifier | None:
    """Return a model of streams, if what it sees in a frame is the same in every clip that holds the frame.

    None for other models, where the picture depends on the clip (`clip.focus`, `clip.panels`), and where a
    network over time takes part or some frames are left out.
    """
    network = predictor.network
    if isinstance(network, ExportedNetwork) or not predictor.config.shares_frames:
        return None
    from vidcli.models import MultiStreamClassifier

    return network if isinstance(network, MultiStreamClassifier) else None
