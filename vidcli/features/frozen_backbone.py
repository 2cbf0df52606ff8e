"""The features that a frozen backbone computes from every frame of videos, in order and shuffled.

Shape suffixes: V views of a video, T frames a view, F features a frame, O orders of the frames: 2
(in order, shuffled) for a backbone whose frames know of their neighbours, otherwise 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidcli.arrays import Float32
from vidcli.config import Config
from vidcli.data.check import refuse_unusable
from vidcli.data.frames import FrameSource, decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.store import Store
from vidcli.errors import ConfigError, VideoError
from vidcli.features.computed_once import FeatureJob, compute_once, digest_of_weights
from vidcli.models import VideoClassifier
from vidcli.runtime.threads import num_workers
from vidcli.sampling import shuffled_order
from vidcli.transforms import ClipTransform, build_sampler


@dataclass(frozen=True)
class VideoFeatures:
    """The features of one video.

    Attributes:
        item: video.
        ordered_VTF: features of its frames in order, float32 (V, T, F).
        shuffled_VTF: features of its frames in a random order, float32 (V, T, F).
    """

    item: VideoItem
    ordered_VTF: Float32
    shuffled_VTF: Float32


@dataclass(frozen=True)
class FeatureSet:
    """The features of a data set.

    Attributes:
        videos: features of the videos that could be decoded.
        failures: errors of the other videos.
        num_cached: number of videos whose features were on disk.
    """

    videos: list[VideoFeatures]
    failures: list[VideoError]
    num_cached: int


class FrozenBackbone:
    """A backbone that is not trained, with the sampling and preprocessing of its videos."""

    def __init__(self, model: VideoClassifier, config: Config, device: torch.device) -> None:
        """Use the backbone of a model; its projection and head are not used.

        Args:
            model: model on `device`.
            config: sampling and preprocessing; `data.cache=off` keeps no features on disk.
            device: device that computes the features.
        """
        self._model, self._config, self._device = model.eval(), config, device
        self._sampler = build_sampler(config.clip)
        self._transform = ClipTransform(config.clip)
        self._source = FrameSource(config)
        self._num_orders = 2 if model.looks_aside else 1
        self._store = Store("features", self._settings(), config.data.cache_gib * 2**30)

    @property
    def folder(self) -> Path:
        """Folder of the features on disk."""
        return self._store.folder

    def features_of(
        self, items: Sequence[VideoItem], progress: Callable[[int, int], None] | None = None
    ) -> FeatureSet:
        """Return the features of videos, from disk if they are there.

        Args:
            items: videos.
            progress: called with the number of videos that are done and the number of all videos.

        Raises:
            DataError: more than `data.max_unusable` of the videos cannot be decoded; names them.
            ConfigError: the features take more memory than `data.cache_gib`.
        """
        jobs = [
            FeatureJob(item, self._about(item), partial(self._load, item), partial(self._compute, item))
            for item in items
        ]
        store = None if self._config.data.cache == "off" else self._store
        videos: list[VideoFeatures] = []
        failures: list[VideoError] = []
        num_stored = 0
        with closing(compute_once(jobs, store, num_workers(self._config.data.workers))) as results:
            for done, (item, result) in enumerate(zip(items, results, strict=True), start=1):
                if isinstance(result.features, VideoError):
                    failures.append(result.features)
                else:
                    num_stored += result.was_stored
                    features_OVTF: Float32 = result.features.numpy()
                    self._refuse_too_many(features_OVTF.nbytes * len(items))
                    videos.append(self._in_both_orders(item, features_OVTF))
                if progress is not None:
                    progress(done, len(items))
        refuse_unusable(failures, len(items), self._config.data)
        return FeatureSet(videos, failures, num_stored)

    def _load(self, item: VideoItem) -> Tensor:
        """Return the views (V, T, C, H, W) of a video."""
        clip = self._config.clip
        frames = self._source.frames(item, self._sampler)
        views = frames.reshape(clip.views, clip.length, *frames.shape[1:])
        return torch.stack([self._transform(view_THWC) for view_THWC in views])

    @torch.inference_mode()
    def _compute(self, item: VideoItem, views_VTCHW: Tensor) -> Tensor:
        """Return the features (O, V, T, F) of the views of a video."""
        orders = [views_VTCHW, views_VTCHW[:, self._order_of(item)]][: self._num_orders]
        return torch.stack([self._model.encode(views.to(self._device)).float().cpu() for views in orders])

    def _in_both_orders(self, item: VideoItem, features_OVTF: Float32) -> VideoFeatures:
        ordered_VTF = features_OVTF[0]
        if self._num_orders == 2:
            return VideoFeatures(item, ordered_VTF, features_OVTF[1])
        return VideoFeatures(item, ordered_VTF, ordered_VTF[:, self._order_of(item)])

    def _order_of(self, item: VideoItem) -> npt.NDArray[np.int64]:
        return shuffled_order(item.path.name, self._config.clip.length, self._config.train.seed)

    def _refuse_too_many(self, num_bytes: int) -> None:
        if num_bytes > self._config.data.cache_gib * 2**30:
            raise ConfigError(
                f"the features take {num_bytes / 2**30:.1f} GiB, more than data.cache_gib="
                f"{self._config.data.cache_gib:g}; raise it, or lower model.grid, clip.length or clip.views"
            )

    def prune(self) -> None:
        """Delete the features that were not used for the longest time, beyond `data.cache_gib`."""
        self._store.prune()

    def _about(self, item: VideoItem) -> list[object]:
        """Return what features depend on besides the video and the settings: the order of shuffled frames."""
        return [self._order_of(item).tolist() if self._num_orders == 2 else None]

    def _settings(self) -> list[object]:
        config = self._config
        return [
            digest_of_weights(self._model.backbone),
            [config.model.backbone, config.model.frame_differences, config.model.grid],
            self._model.looks_aside,
            config.clip.model_dump(mode="json"),
            decoding_settings(config),
            str(self._device.type),
        ]
