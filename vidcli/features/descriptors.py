"""What a frozen network says of whole videos: one row of descriptors each, computed once and kept on disk.

On a CPU every video is decoded and described by one thread, so that all cores work on different videos. On a
GPU threads decode ahead, and the GPU describes one video after the other.

Shape suffixes: N videos, V views, T frames, C channels, H W pixels, D descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from vidcli.arrays import Float32
from vidcli.config import Config
from vidcli.data.frames import decoding_settings, most_decoded_bytes
from vidcli.data.items import VideoItem
from vidcli.data.store import Store
from vidcli.errors import ConfigError, VideoError
from vidcli.features.computed_once import FeatureJob, compute_once, digest_of_weights
from vidcli.models import MultiStreamClassifier
from vidcli.runtime.memory import MEMORY_SHARE, free_memory
from vidcli.runtime.threads import num_workers

_GIB = 2**30
_ACTIVATIONS = 8
"""Memory that the networks take while they describe clips, at most, as a multiple of that of these clips."""
_VERSION = 6
"""Of the descriptors; another one leaves those on disk alone."""


class OneBlock:
    """Keeps what is said of many videos in one block of memory.

    Small blocks that stay, each between large ones that come and go, would leave holes into which the next
    large one does not fit: some 20 MB a video.
    """

    def __init__(self, num_videos: int) -> None:
        """Nothing is allocated yet.

        Args:
            num_videos: that there is room for.
        """
        self._num_videos, self._block = num_videos, torch.empty(0)

    def keep(self, place: int, features: Tensor | VideoError) -> Tensor | VideoError:
        """Return a copy of features that lies in the block, or an error as it is.

        Args:
            place: number of the video.
            features: of the same shape and type for all videos.
        """
        if isinstance(features, VideoError):
            return features
        if not self._block.numel():
            self._block = features.new_empty(self._num_videos, *features.shape)
        return self._block[place].copy_(features)


class Descriptors:
    """Describes videos by a network that does not change."""

    def __init__(
        self,
        model: MultiStreamClassifier,
        config: Config,
        load: Callable[[VideoItem], Float32],
        device: torch.device,
    ) -> None:
        """Keep what describes.

        Args:
            model: on `device`, in evaluation mode.
            config: all settings.
            load: returns the views (V, T, C, H, W) of a video; called in threads.
            device: where to compute.
        """
        self._config, self._load, self._device = config, load, device
        self._digest, self._model = digest_of_weights(model.without_head), model.folded()
        self._store = None if config.data.cache in ("memory", "off") else self._open_store()

    def of(
        self, items: Sequence[VideoItem], mirrored: bool, paces: int, goes_on: Callable[[int], bool]
    ) -> list[Tensor | VideoError | None]:
        """Return the descriptors (R, D) of each video, float16, averaged over its views, or its error.

        Args:
            items: the videos.
            mirrored: describe each video as a mirror shows it.
            paces: rows a video, R: the whole video, then without its beginning or its end.
            goes_on: called with the number of videos done; where it returns False, those that are left are
                not described, and there is None in their place.

        Raises:
            ConfigError: the descriptors do not fit in memory.
        """
        jobs = [
            FeatureJob(
                item,
                [mirrored, paces],
                partial(self._begin, mirrored, paces, item),
                partial(self._end, paces),
            )
            for item in items
        ]
        described: list[Tensor | VideoError | None] = [None] * len(items)
        workers = min(num_workers(self._config.data.workers), self._most_at_once())
        block = OneBlock(len(items))
        with closing(compute_once(jobs, self._store, workers)) as results:
            for place, result in enumerate(results):
                described[place] = block.keep(place, result.features)
                if place == 0:
                    require_room([result.features], len(items))
                if not goes_on(place + 1):
                    break
        if self._store is not None:
            self._store.prune()
        return described

    def _most_at_once(self) -> int:
        """Return how many videos may be in memory, decoded and described, at the same time."""
        of_video = most_decoded_bytes(self._config) + _ACTIVATIONS * self._config.clip.num_video_bytes
        return max(1, int(MEMORY_SHARE * free_memory() / of_video))

    def _begin(self, mirrored: bool, paces: int, item: VideoItem) -> Tensor:
        views_VTCHW = torch.from_numpy(self._load(item))
        if mirrored:
            views_VTCHW = views_VTCHW.flip(4)
        return views_VTCHW if self._device.type != "cpu" else self._describe(paces, views_VTCHW)

    def _end(self, paces: int, begun: Tensor) -> Tensor:
        return begun if self._device.type == "cpu" else self._describe(paces, begun)

    @torch.inference_mode()
    def _describe(self, paces: int, views_VTCHW: Tensor) -> Tensor:
        described = self._model.encode_paces(views_VTCHW.to(self._device), paces)
        return torch.stack([views_VD.float().mean(dim=0) for views_VD in described]).half().cpu()

    def _open_store(self) -> Store:
        settings = self._config.model
        return Store(
            "features",
            [
                self._digest,
                ["descriptors", _VERSION, settings.backbone, settings.streams, settings.panels],
                self._config.clip.model_dump(mode="json"),
                decoding_settings(self._config),
                [str(self._device.type), torch.__version__],
            ],
            self._config.data.cache_gib * _GIB,
        )


def require_room(found: Sequence[Tensor | VideoError], num_items: int) -> None:
    """Refuse descriptors of so many videos that take more memory than is free.

    Args:
        found: descriptors of some of them.
        num_items: how many videos there are.

    Raises:
        ConfigError: they do.
    """
    num_bytes = num_items * max((one.nbytes for one in found if isinstance(one, Tensor)), default=0)
    free = free_memory()
    if num_bytes > MEMORY_SHARE * free:
        raise ConfigError(
            f"the descriptors of all videos take {num_bytes / _GIB:.2g} GiB, more than half of the "
            f"{free / _GIB:.2g} GiB of memory that is free; train on fewer videos, or train a head with "
            "train.optimizer=adamw and model.streams=off"
        )
