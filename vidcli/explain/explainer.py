"""A video and a model to an explanation: which frames, and where in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vidcli.checkpoint import Checkpoint
from vidcli.data.frames import FrameSource
from vidcli.data.manifest import VideoItem
from vidcli.errors import ConfigError, ExportError, did_you_mean
from vidcli.explain.frames import weigh_frames
from vidcli.explain.maps import MapMethod, map_frames
from vidcli.exported import ExportedNetwork
from vidcli.names import normal_name
from vidcli.sampling import Seconds
from vidcli.transforms import ClipTransform, build_sampler, to_pixels


@dataclass(frozen=True)
class Explanation:
    """Why a model says what it says of a clip.

    Attributes:
        video: the path as it was given.
        class_name: the class that is explained.
        predicted: the most probable class.
        probability: of the class that is explained, of this clip.
        frames_THWC: uint8, what the network saw.
        seconds_T: when in the video, from its first frame.
        weights_T: weight of each frame; see `frame_method`.
        maps_THW: 0 to 1, weight of each pixel; see `map_method`.
        frame_method: attention or occlusion.
        map_method: gradients or grad-cam.
    """

    video: str
    class_name: str
    predicted: str
    probability: float
    frames_THWC: npt.NDArray[np.uint8]
    seconds_T: Seconds
    weights_T: npt.NDArray[np.float64]
    maps_THW: npt.NDArray[np.float32]
    frame_method: str
    map_method: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what `vidcli explain --format json` prints.

        `focus` is where the map of a frame has its centre of mass, as shares of width and height
        from the top left; None where nothing in the frame speaks for the class.
        """
        return {
            "video": self.video,
            "label": self.class_name,
            "predicted": self.predicted,
            "probability": self.probability,
            "frame_method": self.frame_method,
            "map_method": self.map_method,
            "frames": [
                {"seconds": float(seconds), "weight": float(weight), "focus": _centre(map_HW)}
                for seconds, weight, map_HW in zip(self.seconds_T, self.weights_T, self.maps_THW, strict=True)
            ],
        }


def explain_video(
    network: nn.Module,
    about: Checkpoint,
    device: torch.device,
    video: str | os.PathLike[str],
    class_name: str | None = None,
    map_method: MapMethod = "gradients",
) -> Explanation:
    """Explain what a model says of a video, by the clip that one view of it shows.

    Args:
        network: on `device`, in evaluation mode.
        about: its sampling, preprocessing, class names and calibration.
        device: where to compute.
        video: the file.
        class_name: the class to explain; None takes the most probable.
        map_method: how places are weighed; see `maps`.

    Raises:
        VideoError: the video cannot be decoded.
        ConfigError: the model knows no such class, or has no such maps.
        ExportError: the model is an exported one, which has no gradients.
    """
    if isinstance(network, ExportedNetwork):
        raise ExportError("an exported model tells no reasons; name the run it came from with --model")
    label = _find_label(class_name, about.class_names)
    clip_config = about.config.clip.model_copy(update={"views": 1})
    sampler = build_sampler(clip_config)
    moments: list[Seconds] = []

    def plan(duration_seconds: float) -> Seconds:
        moments.append(np.minimum(sampler(duration_seconds).ravel(), duration_seconds))
        return moments[-1]

    frames = FrameSource(about.config).frames(VideoItem(Path(video), label=""), plan)
    clip_TCHW = ClipTransform(clip_config)(frames).to(device)
    with torch.inference_mode():
        logits_BK = network(clip_TCHW[None]).double().cpu().numpy()
    probabilities_K = about.calibration.probabilities(logits_BK)
    predicted = int(probabilities_K.argmax())
    label = predicted if label is None else label
    multi_label = about.calibration.thresholds is not None
    frame_method, weights_T = weigh_frames(network, clip_TCHW, label, multi_label)
    maps_THW = map_frames(network, clip_TCHW, label, map_method)
    return Explanation(
        video=str(video),
        class_name=about.class_names[label],
        predicted=about.class_names[predicted],
        probability=float(probabilities_K[label]),
        frames_THWC=to_pixels(clip_TCHW.cpu(), clip_config),
        seconds_T=moments[-1],
        weights_T=weights_T,
        maps_THW=maps_THW,
        frame_method=frame_method,
        map_method=map_method,
    )


def _find_label(class_name: str | None, class_names: Sequence[str]) -> int | None:
    if class_name is None:
        return None
    class_name = normal_name(class_name)
    if class_name not in class_names:
        hint = did_you_mean(class_name, class_names)
        raise ConfigError(
            f"--label {class_name}: the model does not know this class.{hint} "
            f"It knows {', '.join(class_names)}"
        )
    return list(class_names).index(class_name)


def _centre(map_HW: npt.NDArray[np.float32]) -> list[float] | None:
    total = float(map_HW.sum())
    if total <= 0:
        return None
    height, width = map_HW.shape
    x = float(map_HW.sum(axis=0) @ (np.arange(width) + 0.5)) / total / width
    y = float(map_HW.sum(axis=1) @ (np.arange(height) + 0.5)) / total / height
    return [round(x, 4), round(y, 4)]
