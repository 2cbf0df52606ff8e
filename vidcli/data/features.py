"""The features that a frozen backbone computes from every frame of videos, in order and shuffled.

Shape suffixes: V views of a video, T frames a view, F features a frame, O orders of the frames: 2
(in order, shuffled) for a backbone whose frames know of their neighbours, otherwise 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vidcli.config import Config
from vidcli.data.check import refuse_unusable
from vidcli.data.frames import FrameSource, decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.store import Store
from vidcli.errors import ConfigError, VideoError
from vidcli.models import VideoClassifier
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import shuffled_order
from vidcli.transforms import ClipTransform, build_sampler

Features: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VideoFeatures:
    """The features of one video.

    Attributes:
        item: video.
        ordered_VTF: features of its frames in order, float32 (V, T, F).
        shuffled_VTF: features of its frames in a random order, float32 (V, T, F).
    """

    item: VideoItem
    ordered_VTF: Features
    shuffled_VTF: Features


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
        videos: list[VideoFeatures] = []
        failures: list[VideoError] = []
        num_cached = 0
        with closing(self._load_all(items)) as loaded:
            for done, (item, found) in enumerate(zip(items, loaded, strict=True), start=1):
                if isinstance(found, VideoError):
                    failures.append(found)
                else:
                    if isinstance(found, Tensor):
                        features_OVTF = self._compute(item, found)
                        self._write(item, features_OVTF)
                    else:
                        features_OVTF = found
                        num_cached += 1
                    self._refuse_too_many(features_OVTF.nbytes * len(items))
                    videos.append(self._in_both_orders(item, features_OVTF))
                if progress is not None:
                    progress(done, len(items))
        refuse_unusable(failures, len(items), self._config.data)
        return FeatureSet(videos, failures, num_cached)

    def _load_all(self, items: Sequence[VideoItem]) -> Generator[Features | Tensor | VideoError, None, None]:
        workers = num_workers(self._config.data.workers)
        return map_ahead(self._load, items, workers, ahead=2 * workers)

    def _load(self, item: VideoItem) -> Features | Tensor | VideoError:
        """Return features from disk, else the views (V, T, C, H, W) of the video, else the error."""
        if (cached := self._read(item)) is not None:
            return cached
        try:
            frames = self._source.frames(item, self._sampler)
        except VideoError as error:
            return error
        clip = self._config.clip
        views = frames.reshape(clip.views, clip.length, *frames.shape[1:])
        return torch.stack([self._transform(view_THWC) for view_THWC in views])

    @torch.inference_mode()
    def _compute(self, item: VideoItem, views_VTCHW: Tensor) -> Features:
        orders = [views_VTCHW, views_VTCHW[:, self._order_of(item)]][: self._num_orders]
        cells = [self._model.encode(views.to(self._device)).float().cpu() for views in orders]
        features_OVTF: Features = torch.stack(cells).numpy()
        return features_OVTF

    def _in_both_orders(self, item: VideoItem, features_OVTF: Features) -> VideoFeatures:
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

    def _on_what(self, item: VideoItem) -> list[object]:
        """Return what features depend on besides the video and the settings: the order of shuffled frames."""
        return [self._order_of(item).tolist() if self._num_orders == 2 else None]

    def _read(self, item: VideoItem) -> Features | None:
        if self._config.data.cache == "off":
            return None
        return self._store.read(item, lambda stored: stored.take("features"), self._on_what(item))

    def _write(self, item: VideoItem, features_OVTF: Features) -> None:
        if self._config.data.cache != "off":
            self._store.write(item, {"features": features_OVTF}, self._on_what(item))

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


def digest_of_weights(module: nn.Module) -> str:
    """Return a digest of the names, types, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
