"""A video and a model to an explanation: which frames, and where in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vidcli.artifacts.exported import ExportedNetwork
from vidcli.artifacts.model_file import Checkpoint
from vidcli.data.frames import FrameSource, decode_limits
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, ExportError, did_you_mean
from vidcli.explain.frames import weigh_frames
from vidcli.explain.maps import MapMethod, map_frames
from vidcli.names import normal_name
from vidcli.sampling import Seconds
from vidcli.transforms import ClipTransform, build_sampler, to_pixels
from vidcli.video import Frames, decode_frames, probe

Window: TypeAlias = tuple[float, float, float, float]

_FULL_QUANTILE = 0.98
_LOW_QUANTILE = 0.05
_LEAST_CONTRAST = 0.1
_MAX_BYTES = 2**27
"""Of pictures that are decoded at once."""


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
        class_names: all classes of the model.
        window: which part of the upright video the network saw: top, left, height and width, as shares.
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
    class_names: tuple[str, ...] = ()
    window: Window = (0.0, 0.0, 1.0, 1.0)

    @property
    def full_heat(self) -> float | None:
        """The weight, as a share of the strongest place's, from which on a place is among the strongest.

        Few places are far stronger than all others, so that a picture in even steps up to them would show
        nothing else. None of a flat map, where no place stands out.
        """
        weights_N = self.maps_THW[self.maps_THW > 0]
        if not len(weights_N):
            return None
        full = float(np.quantile(weights_N, _FULL_QUANTILE))
        low = float(np.quantile(self.maps_THW, _LOW_QUANTILE))
        return full if full - low > _LEAST_CONTRAST * full else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what `vidcli explain --format json` prints.

        `focus` is where the map of a frame has its centre of mass, as shares of width and height
        of the upright video from the top left; None where nothing in the frame speaks for the class.
        `map_is_flat` tells that no place of the clip stands out.
        """
        top, left, height, width = self.window

        def focus(map_HW: npt.NDArray[np.float32]) -> list[float] | None:
            centre = _centre(map_HW)
            return centre and [round(left + width * centre[0], 4), round(top + height * centre[1], 4)]

        return {
            "video": self.video,
            "label": self.class_name,
            "predicted": self.predicted,
            "probability": self.probability,
            "frame_method": self.frame_method,
            "map_method": self.map_method,
            "map_is_flat": self.full_heat is None,
            "frames": [
                {"seconds": float(seconds), "weight": float(weight), "focus": focus(map_HW)}
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
    transform = ClipTransform(clip_config)
    clip_TCHW = transform(frames).to(device)
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
        class_names=tuple(about.class_names),
        window=_shares(transform.seen_window(frames), *frames.shape[1:3]),
    )


def iter_pictures(explanation: Explanation, about: Checkpoint) -> Iterator[Frames]:
    """Yield the frames of an explanation once more, each (H, W, 3), upright and at the video's own size.

    Raises:
        VideoError: the video cannot be decoded, or exceeds a limit.
    """
    data = about.config.data
    height, width = probe(explanation.video).upright_size
    num_at_once = max(1, _MAX_BYTES // (height * width * 3))
    for start in range(0, len(explanation.seconds_T), num_at_once):
        moments = explanation.seconds_T[start : start + num_at_once]
        yield from decode_frames(
            explanation.video,
            partial(_same_moments, moments),
            lambda height, width: (height, width),
            mode=data.decode,
            limits=decode_limits(data),
            hwaccel=data.hwaccel,
        ).frames


def _shares(window: tuple[int, int, int, int], num_rows: int, num_columns: int) -> Window:
    top, left, height, width = window
    return top / num_rows, left / num_columns, height / num_rows, width / num_columns


def _same_moments(moments: Seconds, duration_seconds: float) -> Seconds:
    return moments


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
    return [x, y]
