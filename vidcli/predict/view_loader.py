"""Load the clips of videos that a model classifies.

Shape suffixes: V views, T frames, H W pixels, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float32, Frames
from vidcli.config import Config
from vidcli.data.frames import FrameSource, most_decoded_bytes
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.runtime.memory import MEMORY_SHARE, free_memory
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import shuffled_order
from vidcli.storage.addresses import path_of
from vidcli.transforms import ClipTransform, build_sampler

if TYPE_CHECKING:
    from torch import Tensor

_LOADED_BYTES = 2**30
"""The most memory that loaded clips may take while they wait for the model."""


class ViewLoader:
    """Load the clips of a video that a model classifies.

    Attributes:
        transform: turns decoded frames into a clip as the model reads it.
        framing, present: those of the source of frames.
    """

    def __init__(
        self, config: Config, source: FrameSource | None = None, shuffle_seed: int | None = None
    ) -> None:
        """Prepare sampling and preprocessing.

        Args:
            config: the settings of the model.
            source: where frames come from; None decodes as the settings say.
            shuffle_seed: show the frames of each clip in a random order drawn from this seed and the
                video's name; None keeps their order.
        """
        self._config, self._source = config, source or FrameSource(config)
        self.framing, self.present = self._source.framing, self._source.present
        self._shuffle_seed = shuffle_seed
        self._sampler = build_sampler(config.clip)
        self.transform = ClipTransform(config.clip)

    def with_config(self, config: Config) -> ViewLoader:
        """Return a loader of the same frames with other numbers of views and crops."""
        return ViewLoader(config, self._source, self._shuffle_seed)

    def load(self, item: VideoItem) -> Float32:
        """Return all crops of all views of a video, float32 (V, T, C, H, W), channels last in memory.

        Raises:
            VideoError: the video cannot be decoded.
        """
        clips = [self.transform.array(view_THWC, place=place) for view_THWC, place in self._views(item)]
        # Stacked as they lie in memory: torch chooses how to compute by that.
        views_VTHWC: Float32 = np.stack([clip_TCHW.transpose(0, 2, 3, 1) for clip_TCHW in clips])
        if self._shuffle_seed is not None:
            order_T = shuffled_order(item.path.name, self._config.clip.length, self._shuffle_seed)
            views_VTHWC = views_VTHWC.take(order_T, axis=1)
        views_VTCHW: Float32 = views_VTHWC.transpose(0, 1, 4, 2, 3)
        return views_VTCHW

    def cut(self, item: VideoItem) -> Tensor:
        """Return the pixels of all crops of all views of a video, uint8 (V, T, C, H, W).

        Raises:
            VideoError: the video cannot be decoded.
        """
        import torch

        views_VTCHW = torch.stack(
            [self.transform.cut(view_THWC, place=place)[0] for view_THWC, place in self._views(item)]
        )
        if self._shuffle_seed is None:
            return views_VTCHW
        return views_VTCHW[:, shuffled_order(item.path.name, self._config.clip.length, self._shuffle_seed)]

    def finished(self, views: Float32 | Tensor) -> Float32:
        """Return views as `load` gives them, of pixels that `cut` returned; others as they are."""
        if isinstance(views, np.ndarray):
            return views
        views_VTCHW: Float32 = (
            (views if views.is_floating_point() else self.transform.finish(views)).cpu().numpy()
        )
        return views_VTCHW

    def _views(self, item: VideoItem) -> list[tuple[Frames, float]]:
        """Return the frames of each view, as often as there are crops, with the place of each crop."""
        clip = self._config.clip
        frames = self._source.frames(item, self._sampler)
        views = frames.reshape(clip.views, clip.length, *frames.shape[1:])
        places = np.linspace(0, 1, clip.crops).tolist() if clip.crops > 1 else [0.5]
        return [(view_THWC, place) for view_THWC in views for place in places]

    def load_many(
        self, items: Sequence[VideoItem], gives_way: bool = False, finishes: bool = True
    ) -> Generator[Float32 | Tensor | VideoError, None, None]:
        """Yield the views of each video in order, or why there are none, and load the next ones meanwhile.

        Args:
            items: the videos.
            gives_way: loading has a lower priority than a model that computes on the same cores.
            finishes: finish the views; else they are pixels, in page-locked memory if there is a GPU.
        """
        workers, ahead = self.bounds(len(items))
        load = self.try_load if finishes else self._try_cut
        return map_ahead(load, items, workers, ahead, gives_way)

    def bounds(self, num_videos: int) -> tuple[int, int]:
        """Return how many threads load so many videos, and how many loaded ones may wait meanwhile."""
        most = max(1, _LOADED_BYTES // self._config.clip.num_video_bytes)
        most_decoded = max(1, int(MEMORY_SHARE * free_memory() / most_decoded_bytes(self._config)))
        workers = min(num_workers(self._config.data.workers), max(1, num_videos), most, most_decoded)
        return workers, min(2 * workers, most - 1)

    def try_load(self, item: VideoItem) -> Float32 | VideoError:
        """Return what `load` returns, or why it cannot."""
        try:
            return self.load(item)
        except VideoError as error:
            return error

    def _try_cut(self, item: VideoItem) -> Tensor | VideoError:
        """Return what `cut` returns, or why it cannot."""
        import torch

        try:
            views_VTCHW = self.cut(item)
        except VideoError as error:
            return error
        return views_VTCHW.pin_memory() if torch.cuda.is_available() else views_VTCHW


def item_of(video: str | os.PathLike[str] | VideoItem) -> VideoItem:
    """Return a path or an address of a video as a whole video; a span or a subject of one as it is."""
    return video if isinstance(video, VideoItem) else VideoItem(path_of(video), label="")
