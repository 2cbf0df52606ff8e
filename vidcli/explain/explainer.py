"""Explain the prediction for a video: which frames and which places contribute to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidcli.arrays import Float32, Float64, Frames
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.config import ClipConfig
from vidcli.data.frames import FrameSource, decode_limits
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, ExportError, did_you_mean
from vidcli.explain.frame_weights import weigh_frames
from vidcli.explain.maps import MapMethod, map_frames
from vidcli.models import for_inference
from vidcli.names import name_subject, normal_name
from vidcli.sampling import Seconds
from vidcli.storage.addresses import path_of
from vidcli.transforms import ClipTransform, build_sampler, own_frames, squeeze, to_pixels
from vidcli.transforms.subject_window import SubjectWindow
from vidcli.video import decode_frames, probe

Window: TypeAlias = tuple[float, float, float, float]
"""Top, left, height and width as shares of the height and width of a frame."""
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)

_FULL_QUANTILE = 0.98
_LOW_QUANTILE = 0.05
_LEAST_CONTRAST = 0.1
_MAX_BYTES = 2**27
"""The most memory of pictures that are decoded at once."""


@dataclass(frozen=True)
class Explanation:
    """The explanation of a model's prediction for a clip.

    Attributes:
        video: the path as the caller gave it.
        class_name: the class that is explained.
        predicted: the most probable class.
        probability: the probability of the explained class for this clip.
        frames_THWC: the frames that the model read.
        seconds_T: the moment of each frame in the video, from the first frame.
        weights_T: the weight of each frame; see `frame_method`.
        maps_THW: the weight of each pixel, 0 to 1; see `map_method`.
        frame_method: `attention` or `occlusion`; see `frame_weights`.
        map_method: `gradients` or `grad-cam`; see `maps`.
        class_names: all classes of the model.
        windows: the part of the upright video that the model read, of each frame or of all.
        track: the subject that the answer is about; None for the whole picture.
    """

    video: str
    class_name: str
    predicted: str
    probability: float
    frames_THWC: Frames
    seconds_T: Seconds
    weights_T: Float64
    maps_THW: Float32
    frame_method: str
    map_method: str
    class_names: tuple[str, ...] = ()
    windows: tuple[Window, ...] = (WHOLE,)
    track: str | None = None

    def window(self, frame: int) -> Window:
        """Return the part of the upright video that the model read, of one of the frames."""
        return self.windows[min(frame, len(self.windows) - 1)]

    @property
    def name(self) -> str:
        """The video, and which subject of the picture it is about."""
        return name_subject(self.video, self.track)

    @property
    def full_heat(self) -> float | None:
        """The weight from which a place is shown in the strongest colour; None if no place stands out.

        A few places have far larger weights than all others. A colour scale up to the largest weight would
        show nothing but these.
        """
        weights_N = self.maps_THW[self.maps_THW > 0]
        if not len(weights_N):
            return None
        full = float(np.quantile(weights_N, _FULL_QUANTILE))
        low = float(np.quantile(self.maps_THW, _LOW_QUANTILE))
        return full if full - low > _LEAST_CONTRAST * full else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object that `vidcli explain --format json` prints.

        `focus` is the centre of mass of a frame's map, in shares of width and height of the upright video
        from the top left; None if nothing in the frame speaks for the class. `map_is_flat` is true if no
        place of the clip stands out.
        """

        def focus(frame: int, map_HW: Float32) -> list[float] | None:
            top, left, height, width = self.window(frame)
            centre = _centre(map_HW)
            return centre and [round(left + width * centre[0], 4), round(top + height * centre[1], 4)]

        return {
            "video": self.video,
            "track": self.track,
            "label": self.class_name,
            "predicted": self.predicted,
            "probability": self.probability,
            "frame_method": self.frame_method,
            "map_method": self.map_method,
            "map_is_flat": self.full_heat is None,
            "frames": [
                {"seconds": float(seconds), "weight": float(weight), "focus": focus(frame, map_HW)}
                for frame, (seconds, weight, map_HW) in enumerate(
                    zip(self.seconds_T, self.weights_T, self.maps_THW, strict=True)
                )
            ],
        }


def explain_video(
    network: nn.Module | ExportedNetwork,
    about: Checkpoint,
    device: torch.device,
    video: str | os.PathLike[str] | VideoItem,
    class_name: str | None = None,
    map_method: MapMethod = "gradients",
) -> Explanation:
    """Explain a model's prediction for the clip that a single view of a video shows.

    Args:
        network: the model, in evaluation mode.
        about: its sampling, preprocessing, class names and calibration.
        device: where to compute.
        video: the file, or one subject of it.
        class_name: the class to explain; None takes the most probable.
        map_method: `gradients` or `grad-cam`; see `maps`.

    Raises:
        VideoError: the video cannot be decoded.
        DataError: there are no boxes of the subject.
        ConfigError: the model has no such class, or no such maps.
        ExportError: the model is an exported one, which has no gradients.
    """
    if isinstance(network, ExportedNetwork):
        raise ExportError("an exported model cannot be explained; name the run it came from with --model")
    network = for_inference(network.to(device))
    label = _find_label(class_name, about.class_names)
    clip_config = about.config.clip.model_copy(update={"views": 1})
    item = video if isinstance(video, VideoItem) else VideoItem(path_of(video), label="")
    source = FrameSource(about.config)
    frames, seconds_T = _decode_clip(item, source, about)
    clip_TCHW = ClipTransform(clip_config)(frames).to(device)
    with torch.inference_mode():
        logits_BK = network(clip_TCHW[None]).double().cpu().numpy()
    probabilities_K = about.calibration.probabilities(logits_BK)
    predicted = int(probabilities_K.argmax())
    label = predicted if label is None else label
    frame_method, weights_T = weigh_frames(
        network, clip_TCHW, label, multi_label=about.calibration.thresholds is not None
    )
    maps_THW = map_frames(network, clip_TCHW, label, map_method)
    shown_THWC, maps_THW, inner = _as_shown(frames, clip_TCHW, maps_THW, clip_config)
    return Explanation(
        video=str(item.path if isinstance(video, VideoItem) else video),
        class_name=about.class_names[label],
        predicted=about.class_names[predicted],
        probability=float(probabilities_K[label]),
        frames_THWC=shown_THWC,
        seconds_T=seconds_T,
        weights_T=weights_T,
        maps_THW=maps_THW,
        frame_method=frame_method,
        map_method=map_method,
        class_names=tuple(about.class_names),
        windows=tuple(_within(outer, inner) for outer in _subject_windows(item, source, seconds_T)),
        track=item.track,
    )


def _as_shown(
    frames: Frames, clip_TCHW: Tensor, maps_THW: Float32, clip: ClipConfig
) -> tuple[Frames, Float32, Window]:
    """Return the pictures that are shown, the map of each, and what part of the decoded frames they show.

    Args:
        frames: as decoded.
        clip_TCHW: as the model read them.
        maps_THW: of what the model read.
        clip: its settings.
    """
    windows = _shares(ClipTransform(clip).seen_windows(frames), *own_frames(frames).shape[1:3])
    if clip.panels == ("window",):
        return to_pixels(clip_TCHW.cpu().numpy(), clip), maps_THW, windows[0][0]
    folded_THW = _on_whole_frames(maps_THW, windows)
    return squeeze(own_frames(frames), *folded_THW.shape[1:]), folded_THW, WHOLE


def _subject_windows(item: VideoItem, source: FrameSource, seconds_T: Seconds) -> list[Window]:
    """Return the part of the upright video that is cut out around the subject at each moment, or all."""
    framing = source.framing(item)
    if not isinstance(framing, SubjectWindow):
        return [WHOLE]
    height, width = probe(item.path).upright_size
    parts = [framing.at(float(seconds), height, width) for seconds in seconds_T]
    return [(top / height, left / width, high / height, wide / width) for left, top, wide, high in parts]


def _within(outer: Window, inner: Window) -> Window:
    """Return a part of a part of a frame."""
    top, left, height, width = outer
    return (
        top + inner[0] * height,
        left + inner[1] * width,
        inner[2] * height,
        inner[3] * width,
    )


def _decode_clip(item: VideoItem, source: FrameSource, about: Checkpoint) -> tuple[Frames, Seconds]:
    """Return the frames of the clip that a single view of a video shows, and their moments in seconds."""
    sampler = build_sampler(about.config.clip.model_copy(update={"views": 1}))
    moments: list[Seconds] = []

    def plan(duration_seconds: float) -> Seconds:
        moments.append(np.minimum(sampler(duration_seconds), duration_seconds))
        return moments[-1]

    frames = source.frames(item, plan)
    return frames, (moments[-1][..., 1] if sampler.neighbours else moments[-1]).ravel()


def _on_whole_frames(maps_THW: Float32, windows: Sequence[Sequence[Window]]) -> Float32:
    """Return the maps of all panels, each added where its window lies in the frame.

    Args:
        maps_THW: the weight of each pixel of pictures of panels above each other.
        windows: what part of the frame each panel shows at each moment.
    """
    length, height, width = len(maps_THW), maps_THW.shape[1] // len(windows), maps_THW.shape[2]
    added_THW = np.zeros((length, height, width), dtype=np.float32)
    for panel, of_panel in enumerate(windows):
        for moment, window in enumerate(of_panel):
            panel_HW = torch.from_numpy(maps_THW[moment, panel * height : (panel + 1) * height].copy())
            top = min(round(window[0] * height), height - 1)
            left = min(round(window[1] * width), width - 1)
            size = (
                min(max(1, round(window[2] * height)), height - top),
                min(max(1, round(window[3] * width)), width - left),
            )
            inside_hw = functional.interpolate(panel_HW[None, None], size, mode="area")[0, 0].numpy()
            added_THW[moment, top : top + size[0], left : left + size[1]] += inside_hw
    folded: Float32 = added_THW / np.float32(max(1.0, float(added_THW.max())))
    return folded


def iter_pictures(explanation: Explanation, about: Checkpoint) -> Iterator[Frames]:
    """Decode the frames of an explanation again and yield each at the video's own size, (H, W, 3), upright.

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


def _shares(
    windows: Sequence[Sequence[tuple[int, int, int, int]]], num_rows: int, num_columns: int
) -> list[list[Window]]:
    return [
        [
            (top / num_rows, left / num_columns, height / num_rows, width / num_columns)
            for top, left, height, width in of_panel
        ]
        for of_panel in windows
    ]


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


def _centre(map_HW: Float32) -> list[float] | None:
    total = float(map_HW.sum())
    if total <= 0:
        return None
    height, width = map_HW.shape
    x = float(map_HW.sum(axis=0) @ (np.arange(width) + 0.5)) / total / width
    y = float(map_HW.sum(axis=1) @ (np.arange(height) + 0.5)) / total / height
    return [x, y]
