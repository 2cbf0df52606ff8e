"""A video in, class probabilities out: the one path that predict, eval and validation share.

    path -> probe -> sampler -> decode -> transform -> model -> logits -> calibration -> probabilities

Each video goes through the model on its own, with all its views as one batch. The result for a video
therefore never depends on which other videos are classified with it, and eval and predict agree to the
last bit.

Shape suffixes: V views, T frames, H W pixels, C channels, K classes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float32, Float64
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import ExportedNetwork, load_network
from vidcli.artifacts.run_folder import find_model
from vidcli.config import Config, change_clip
from vidcli.data.frames import FrameSource
from vidcli.data.items import CountedVideos, VideoItem
from vidcli.errors import ConfigError, VideoError
from vidcli.models.calibration import UNCALIBRATED, Calibration
from vidcli.models.timeline_rules import TimelineRules
from vidcli.predict.core_computer import CoreComputer
from vidcli.predict.inputs import explain_failure
from vidcli.predict.prediction import Prediction
from vidcli.predict.side_by_side import COMPUTED_BYTES, Views, predict_all
from vidcli.predict.view_loader import ViewLoader, item_of
from vidcli.runtime.devices import CPU, choose_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from vidcli.predict.clip_launcher import Launcher


def _items_of(
    videos: str | os.PathLike[str] | VideoItem | Iterable[str | os.PathLike[str] | VideoItem],
) -> list[VideoItem]:
    """Return paths and spans of videos, or a single one, as spans."""
    return [*map(item_of, [videos] if isinstance(videos, str | os.PathLike | VideoItem) else videos)]


class Predictor:
    """A model with its own sampling and preprocessing.

    Attributes:
        threshold: probability below which the model abstains; None always answers.
        rules: how windows of a timeline become segments, where that was learnt.
        views: loads the clips that the model classifies.
    """

    def __init__(
        self,
        model: nn.Module | ExportedNetwork,
        config: Config,
        class_names: Sequence[str],
        device: torch.device | None,
        source: FrameSource | None = None,
        shuffle_seed: int | None = None,
        calibration: Calibration = UNCALIBRATED,
    ) -> None:
        """Keep a model and what it needs.

        Args:
            model: takes clips (V, T, C, H, W) to logits (V, K); a torch model lies on `device`.
            config: the settings of the model.
            class_names: the names of the K classes; a class's position is its label.
            device: where to compute; None is the CPU, without torch for an exported model.
            source: where frames come from; None decodes as the settings say.
            shuffle_seed: see `ViewLoader`: it shows what a model knows without the order of time.
            calibration: how logits become probabilities.
        """
        self.config, self.class_names, self.calibration = config, tuple(class_names), calibration
        # Exported networks compute on the CPU always.
        self._device = None if isinstance(model, ExportedNetwork) else device
        self.threshold: float | None = None
        self.rules: TimelineRules | None = None
        self.views = ViewLoader(config, source, shuffle_seed)
        self.network = model
        self._computer = _computer_on(self._device)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        device: torch.device | None,
        shuffle_seed: int | None = None,
        network: nn.Module | ExportedNetwork | None = None,
    ) -> Predictor:
        """Build the predictor that a checkpoint describes.

        Args:
            checkpoint: settings, class names, calibration and weights of the model.
            device: where to compute; None is the CPU.
            shuffle_seed: see `ViewLoader`.
            network: the model, if it is built already; None builds it from the checkpoint's weights.
        """
        model = network
        if not isinstance(model, ExportedNetwork):
            from vidcli.models import for_inference

            model = for_inference((checkpoint.build() if model is None else model).to(device))
        names, calibration = checkpoint.class_names, checkpoint.calibration
        made = cls(model, checkpoint.config, names, device, None, shuffle_seed, calibration)
        made.rules = checkpoint.rules
        return made

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None,
        device: torch.device | str,
        shuffle_seed: int | None = None,
    ) -> Predictor:
        """Load a model from disk.

        Args:
            model: a run directory, a model file or an exported model; None takes the newest run.
            device: where to compute, or what `--device` names.
            shuffle_seed: see `ViewLoader`.

        Raises:
            CheckpointError: there is no such model, or it cannot be read.
            DeviceError: the device is unknown or not there.
        """
        network, about = load_network(find_model(model))
        return cls.from_checkpoint(about, _choose_device(device, network), shuffle_seed, network)

    @property
    def device(self) -> torch.device:
        """Where a torch model lies."""
        import torch

        return torch.device(CPU) if self._device is None else self._device

    @property
    def model_seconds(self) -> float:
        """The time that the model has computed so far."""
        return self._computer.seconds

    @property
    def is_on_cpu(self) -> bool:
        """Whether the model computes on the CPU."""
        return isinstance(self._computer, CoreComputer)

    def abstain_below(self, threshold: float | None) -> None:
        """Abstain from now on where no class is at least this probable; None always answers.

        Raises:
            ConfigError: the model is multi-label, so that each class has a threshold of its own.
        """
        if threshold is not None and self.calibration.thresholds is not None:
            raise ConfigError(
                "--threshold: this is a multi-label model, whose classes have thresholds of their own; a "
                "video that reaches none of them has no label"
            )
        self.threshold = threshold

    def predict(self, video: str | os.PathLike[str] | VideoItem) -> Prediction:
        """Classify one video; if it cannot be decoded, the prediction holds the error."""
        return next(self.predict_many([video]))

    def predict_many(
        self,
        videos: str | os.PathLike[str] | VideoItem | Iterable[str | os.PathLike[str] | VideoItem],
        seen: Callable[[VideoItem, Float32], None] | None = None,
    ) -> Generator[Prediction, None, None]:
        """Classify videos in order, and decode the next ones while the model computes.

        On a CPU each core decodes and classifies a video of its own; see `side_by_side`.

        Args:
            videos: paths or spans of videos, or a single one.
            seen: called with each video that could be decoded and its clips (V, T, C, H, W).
        """
        items = videos if isinstance(videos, CountedVideos) else _items_of(videos)
        with closing(predict_all(self, items, keeps_views=seen is not None)) as answers:
            for item, (prediction, views) in zip(items, answers, strict=True):
                if seen is not None and views is not None:
                    seen(item, views)
                yield prediction

    def begin(self, item: VideoItem, views: Views, num_side_by_side: int = 1) -> Callable[[], Prediction]:
        """Begin to classify one video; what is returned waits for its prediction.

        Args:
            item: the video.
            views: its clips (V, T, C, H, W), or why there are none.
            num_side_by_side: as in `classify`.
        """
        if isinstance(views, VideoError):
            return partial(self._answer, item, None, explain_failure(item.path, views.reason))
        wait = self._begin_to_classify(views, num_side_by_side)

        def finish() -> Prediction:
            if np.isfinite(logits_VK := wait()).all():
                return self._answer(item, logits_VK, None)
            return self._answer(
                item, None, "the model's output is not a number; its weights are damaged or diverged"
            )

        return finish

    def load_many(self, items: Sequence[VideoItem]) -> Generator[Views, None, None]:
        """Yield the views of each video in order, or why there are none; for a GPU as pixels."""
        return self.views.load_many(items, self.is_on_cpu, not _takes_pixels(self._device))

    def classify(self, views_VTCHW: Float32 | Tensor, num_side_by_side: int = 1) -> Float64:
        """Return the logits (V, K) of clips.

        Args:
            views_VTCHW: the clips, or their pixels as `load_many` yields them.
            num_side_by_side: number of threads that call this at the same time.
        """
        return self._begin_to_classify(views_VTCHW, num_side_by_side)()

    def _begin_to_classify(self, views: Float32 | Tensor, num_side_by_side: int) -> Callable[[], Float64]:
        most = max(1, COMPUTED_BYTES // self.config.clip.num_bytes)
        return self._computer.begin(self.network, self.views, views, most, num_side_by_side)

    def answer_of(self, name: str, probabilities_K: Float64) -> Prediction:
        """Return the prediction of something that is no file, such as a camera, from its probabilities."""
        thresholds = self.calibration.thresholds
        return Prediction(
            name, self.class_names, probabilities_K, threshold=self.threshold, thresholds=thresholds
        )

    def _answer(self, item: VideoItem, logits_VK: Float64 | None, error: str | None) -> Prediction:
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
            item.track,
        )


def _computer_on(device: torch.device | None) -> CoreComputer | Launcher:
    """Return what computes clips on a device; None is the CPU."""
    if device is None or device.type == CPU:
        return CoreComputer()
    from vidcli.predict.clip_launcher import Launcher

    return Launcher(device)


def _takes_pixels(device: torch.device | None) -> bool:
    """Tell whether clips are finished where the network computes; None is the CPU."""
    if device is None:
        return False
    from vidcli.data.device_batches import finishes_clips

    return finishes_clips(device)


def _choose_device(device: torch.device | str, network: nn.Module | ExportedNetwork) -> torch.device | None:
    """Return where to compute; None is the CPU for an exported network, whose engine needs no torch."""
    if not isinstance(device, str):
        return device
    return None if isinstance(network, ExportedNetwork) and device in ("auto", CPU) else choose_device(device)


def with_boxes(predictor: Predictor, boxes: str | os.PathLike[str] | None) -> Predictor:
    """Return a predictor of the same model with boxes of the subjects of other videos.

    Args:
        predictor: of the model.
        boxes: a file, or a folder of files; None sees whole pictures.
    """
    other = copy.copy(predictor)
    other.config = with_boxes_of(predictor.config, boxes)
    other.views = ViewLoader(other.config)
    return other


def with_boxes_of(config: Config, boxes: str | os.PathLike[str] | None) -> Config:
    """Return the settings of a model with boxes of the subjects of other videos; None sees whole pictures."""
    path = None if boxes is None else os.path.abspath(boxes)
    return config.model_copy(update={"subject": config.subject.model_copy(update={"boxes": path})})


def with_views(predictor: Predictor, views: int | None, crops: int | None) -> Predictor:
    """Return a predictor of the same model with another number of views or crops.

    Args:
        predictor: of the model.
        views: clips a video; None keeps the number.
        crops: windows into the frames of each clip; None keeps the number.

    Raises:
        ConfigError: the frames leave no room for crops, or the clips would take too much memory.
    """
    clip = predictor.config.clip
    clip = change_clip(clip, views=views or clip.views, crops=crops or clip.crops)
    has_room = clip.fit == "crop" or clip.crop_ratio < 1 or clip.resize is not None
    if clip.crops > 1 and not has_room:
        raise ConfigError(
            "--crops: this model reads whole frames (clip.fit=stretch), which leave no room for crops; "
            "leave the option out"
        )
    other = copy.copy(predictor)
    other.config = predictor.config.model_copy(update={"clip": clip})
    other.views = predictor.views.with_config(other.config)
    return other
