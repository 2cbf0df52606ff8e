"""A video in, class probabilities out: the one path that predict, eval and validation share.

    path -> probe -> sampler -> decode -> transform -> model -> logits -> calibration -> probabilities

Each video goes through the model on its own, all its views as one batch. The numbers of a video
therefore never depend on which others are asked about with it: eval and predict agree to the last
bit.
"""

from __future__ import annotations

import copy
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vidcli.artifacts.exported import load_network
from vidcli.artifacts.model_file import Checkpoint
from vidcli.artifacts.run_folder import find_model
from vidcli.config import Config, change_clip
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, VideoError
from vidcli.models import VideoClassifier
from vidcli.models.calibration import UNCALIBRATED, Calibration
from vidcli.predict.inputs import explain_failure
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import shuffled_order
from vidcli.transforms import ClipTransform, build_sampler
from vidcli.video import Frames

_LOADED_BYTES, _COMPUTED_BYTES = 2**30, 2**29
"""Of the clips that wait for the model, and of those that it is given at once."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video.

    Attributes:
        video: the path as it was given.
        class_names: position is label.
        probabilities: float64 (K,), averaged over the views; None when the video failed.
        error: why the video failed; None when it did not.
        logits_VK: float64 (V, K), what the probabilities were made of; None when the video failed.
        start_seconds, end_seconds: the span that was asked about; None is the end of the video.
        threshold: the probability below which the model abstains; None where it always answers.
        thresholds: of a multi-label model, the probability from which each class counts as there.
    """

    video: str
    class_names: Sequence[str]
    probabilities: npt.NDArray[np.float64] | None
    error: str | None = None
    logits_VK: npt.NDArray[np.float64] | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    threshold: float | None = None
    thresholds: Sequence[float] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the video: of a multi-label model those that reach their threshold, else one."""
        if self.probabilities is None:
            return ()
        if self.thresholds is None:
            return tuple(name for name, _ in self.top(1))
        told = zip(self.class_names, self.probabilities, self.thresholds, strict=True)
        return tuple(name for name, probability, threshold in told if probability >= threshold)

    @property
    def is_unknown(self) -> bool:
        """Whether the model abstains: no class is as probable as the threshold asks for."""
        return (
            self.threshold is not None and self.probability is not None and self.probability < self.threshold
        )

    @property
    def label(self) -> str | None:
        """The most probable class; None when the video failed."""
        return self.top(1)[0][0] if self.probabilities is not None else None

    @property
    def probability(self) -> float | None:
        """The probability of that class; None when the video failed."""
        return self.top(1)[0][1] if self.probabilities is not None else None

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k most probable classes, best first; ties go by name order."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.class_names[label], float(self.probabilities[label])) for label in order]


class Predictor:
    """A model with its own sampling and preprocessing.

    Attributes:
        model_seconds: what the model has taken so far; on a GPU, until its work was handed back.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Config,
        class_names: Sequence[str],
        device: torch.device,
        source: FrameSource | None = None,
        shuffle_seed: int | None = None,
        calibration: Calibration = UNCALIBRATED,
        threshold: float | None = None,
    ) -> None:
        """Keep a model and how to feed it.

        Args:
            model: on `device`.
            config: its sampling and preprocessing.
            class_names: position is label.
            device: where to compute.
            source: where frames come from; None decodes as the settings say.
            shuffle_seed: show the frames of each video in a random order drawn from this seed, to
                see what a model knows without time; None keeps their order.
            calibration: how its logits become probabilities.
            threshold: the probability below which it abstains; None always answers.
        """
        self.config, self.class_names, self.calibration = config, tuple(class_names), calibration
        self.device = device
        self._model = model
        self._source = source or FrameSource(config)
        self._shuffle_seed = shuffle_seed
        self.threshold = threshold
        self.model_seconds = 0.0
        self._sampler = build_sampler(config.clip)
        self._transform = ClipTransform(config.clip)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, device: torch.device, shuffle_seed: int | None = None
    ) -> Predictor:
        """Build the model of a checkpoint on a device."""
        return cls.of(checkpoint.build(), checkpoint, device, shuffle_seed)

    @classmethod
    def of(
        cls, network: nn.Module, about: Checkpoint, device: torch.device, shuffle_seed: int | None = None
    ) -> Predictor:
        """Feed a network, wherever it computes, as a checkpoint says."""
        return cls(
            network.to(device),
            about.config,
            about.class_names,
            device,
            shuffle_seed=shuffle_seed,
            calibration=about.calibration,
        )

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None,
        device: torch.device,
        shuffle_seed: int | None = None,
    ) -> Predictor:
        """Load a run directory, model file or exported model; None takes the newest run.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        network, about = load_network(find_model(model))
        return cls.of(network, about, device, shuffle_seed)

    def with_views(self, views: int | None, crops: int | None) -> Predictor:
        """Return the same model with other numbers of clips a video and crops a clip; None keeps one.

        Raises:
            ConfigError: the frames leave no room for crops, or so many take too much memory.
        """
        clip = self.config.clip
        clip = change_clip(clip, views=views or clip.views, crops=crops or clip.crops)
        has_room = clip.fit == "crop" or clip.crop_ratio < 1 or clip.resize is not None
        if clip.crops > 1 and not has_room:
            raise ConfigError(
                "--crops: this model reads whole frames (clip.fit=stretch), of which there are no other "
                "windows; leave it out"
            )
        other = copy.copy(self)
        other.config = self.config.model_copy(update={"clip": clip})
        other._sampler = build_sampler(clip)
        return other

    def abstain_below(self, threshold: float | None) -> None:
        """Call a video unknown if no class is at least this probable; None always answers.

        Raises:
            ConfigError: a multi-label model, whose classes have thresholds of their own.
        """
        if threshold is not None and self.calibration.thresholds is not None:
            raise ConfigError(
                "--threshold: this is a multi-label model, whose classes have thresholds of their own; a "
                "video that reaches none of them has no label"
            )
        self.threshold = threshold

    def identity(self) -> str:
        """Return a digest of what determines the probabilities: weights, classes, frames.

        Where the model lies and how it was trained are no part of it.
        """
        digest = hashlib.sha256()
        settings = self.config.clip.model_dump(exclude={"views", "crops"}), self.config.model.model_dump()
        about = settings, self.config.data.decode, self.class_names, self.calibration
        digest.update(repr(about).encode())
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def predict(self, video: str | os.PathLike[str] | VideoItem) -> Prediction:
        """Classify one video; a video that cannot be decoded gives a prediction with its error."""
        return next(self.predict_many([video]))

    def predict_many(
        self,
        videos: str | os.PathLike[str] | VideoItem | Iterable[str | os.PathLike[str] | VideoItem],
        seen: Callable[[VideoItem, Tensor], None] | None = None,
    ) -> Generator[Prediction, None, None]:
        """Classify videos in order; the next ones are decoded while the model computes.

        Args:
            videos: paths, or spans of them; one alone may be given as it is.
            seen: shown the clips (V, T, C, H, W) of each video that could be decoded.
        """
        items = [
            video if isinstance(video, VideoItem) else VideoItem(Path(video), label="")
            for video in ([videos] if isinstance(videos, str | os.PathLike | VideoItem) else videos)
        ]
        with closing(self.load_many(items)) as loaded:
            for item, views in zip(items, loaded, strict=True):
                if isinstance(views, VideoError):
                    yield self._answer(item, None, explain_failure(item.path, views.reason))
                    continue
                if seen is not None:
                    seen(item, views)
                logits_VK = self.classify(views)
                if np.isfinite(logits_VK).all():
                    yield self._answer(item, logits_VK, None)
                else:
                    reason = "the model's output is not a number; its weights are damaged or diverged"
                    yield self._answer(item, None, reason)

    def load_many(self, items: Sequence[VideoItem]) -> Generator[Tensor | VideoError, None, None]:
        """Yield the views of each video in order, or why there are none; the next are decoded ahead."""
        most = max(1, _LOADED_BYTES // self.config.clip.num_video_bytes)
        workers = min(num_workers(self.config.data.workers), max(1, len(items)), most)
        ahead = min(2 * workers, most - 1)
        on_cpu = self.device.type == "cpu"
        return map_ahead(self._try_views, items, workers, ahead, gives_way=on_cpu)

    @torch.inference_mode()
    def classify(self, views_VTCHW: Tensor) -> npt.NDArray[np.float64]:
        """Return logits (V, K) of clips as the model reads them."""
        started = time.perf_counter()
        # Asked first, for `eval` visits every module: a tenth of a small model's time.
        if self._model.training:
            self._model.eval()
        # All at once, but for views so large that the network would fill the memory.
        parts = torch.split(views_VTCHW, max(1, _COMPUTED_BYTES // self.config.clip.num_bytes))
        logits_VK = np.concatenate(
            [self._compute(part.to(self.device)).double().cpu().numpy() for part in parts]
        )
        self.model_seconds += time.perf_counter() - started
        return logits_VK

    def _compute(self, views_VTCHW: Tensor) -> Tensor:
        logits_VK: Tensor = self._model(views_VTCHW)
        return logits_VK

    def transform(self, frames_THWC: Frames) -> Tensor:
        """Return frames of the size that `decode_size` gives as the model reads them (T, C, H, W)."""
        return self._transform(frames_THWC)

    def decode_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size to decode an upright frame to."""
        return self._transform.decode_size(height, width)

    @property
    def frame_network(self) -> VideoClassifier | None:
        """The model, where what it makes of a frame is the same whichever clip holds that frame.

        None where the backbone sees neighbours (a temporal shift, a video network), where the
        window into the frame depends on the clip, and for exported models.
        """
        network = self._model
        if not isinstance(network, VideoClassifier) or network.sees_neighbours or self.config.clip.focus < 1:
            return None
        return network

    def answer_of(self, name: str, probabilities_K: npt.NDArray[np.float64]) -> Prediction:
        """Return an answer whose probabilities are known, of what is no file."""
        thresholds = self.calibration.thresholds
        return Prediction(
            name, self.class_names, probabilities_K, threshold=self.threshold, thresholds=thresholds
        )

    def _answer(
        self, item: VideoItem, logits_VK: npt.NDArray[np.float64] | None, error: str | None
    ) -> Prediction:
        return Prediction(
            str(item.path),
            self.class_names,
            None if logits_VK is None else self.calibration.probabilities(logits_VK),
            error,
            logits_VK,
            item.start_seconds,
            item.end_seconds,
            self.threshold,
            self.calibration.thresholds,
        )

    def load_views(self, item: VideoItem) -> Tensor:
        """Return all views of a video and their crops, float32 (V, T, C, H, W), as the model reads them.

        Raises:
            VideoError: the video cannot be decoded.
        """
        frames = self._source.frames(item, self._sampler)
        views = frames.reshape(self.config.clip.views, self.config.clip.length, *frames.shape[1:])
        places = np.linspace(0, 1, self.config.clip.crops) if self.config.clip.crops > 1 else [0.5]
        views_VTCHW = torch.stack(
            [self._transform(view_THWC, place=float(place)) for view_THWC in views for place in places]
        )
        if self._shuffle_seed is None:
            return views_VTCHW
        return views_VTCHW[:, shuffled_order(item.path.name, self.config.clip.length, self._shuffle_seed)]

    def _try_views(self, item: VideoItem) -> Tensor | VideoError:
        try:
            return self.load_views(item)
        except VideoError as error:
            return error
