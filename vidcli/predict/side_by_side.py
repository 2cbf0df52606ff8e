"""Classify many videos: on a CPU a core each, side by side, or all cores at one video after the other.

A GPU is given the next video before the answer for the last one is read, so that it never stands still.
Where all cores share each operation of a small network, they wait for one another at the end of each. So 60
clips took 3.5 times the processor time with the demo's model. A core that decodes and classifies a video of
its own waits for nobody. The bits are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from vidcli.arrays import Float32
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.predict.prediction import Prediction
from vidcli.runtime.memory import MEMORY_SHARE, free_memory
from vidcli.runtime.threads import map_ahead, num_computing_threads

if TYPE_CHECKING:
    from torch import Tensor

    from vidcli.predict.predictor import Predictor

Output = TypeVar("Output")
Views: TypeAlias = "Float32 | Tensor | VideoError"
"""Clips (V, T, C, H, W) of a video, for a GPU their pixels, or why there are none."""

COMPUTED_BYTES = 2**29
"""The most memory that clips may take which the model computes at once."""
_ACTIVATIONS = 32
"""Memory that a network takes while it computes, at most, as a multiple of that of its clips (measured: 3 of
EfficientNet-Lite0, 19 of MobileNet, 21 of ResNet-50)."""
_FEWEST_EXPORTED = 32
"""Videos for which it pays to open an exported model again, for threads that use it at the same time."""

Answer: TypeAlias = tuple[Prediction, Float32 | None]
"""A prediction, and the clips (V, T, C, H, W) that it is of, where they were decoded and are to be kept."""


def predict_all(
    predictor: Predictor, items: Sequence[VideoItem], keeps_views: bool
) -> Generator[Answer, None, None]:
    """Yield the prediction of each video in order, and compute the next ones meanwhile.

    Args:
        predictor: the model.
        items: the videos.
        keeps_views: give the clips too.
    """

    def kept(views: Views) -> Float32 | None:
        if not keeps_views or isinstance(views, VideoError):
            return None
        return predictor.views.finished(views)

    def compute(item: VideoItem, views: Views, count: int) -> Answer:
        return predictor.begin(item, views, count)(), kept(views)

    if not predicts_ahead(predictor):
        yield from compute_all(predictor, items, compute)
        return
    begun: deque[tuple[Callable[[], Prediction], Views]] = deque()
    with closing(predictor.load_many(items)) as loaded:
        for item, views in zip(items, loaded, strict=True):
            begun.append((predictor.begin(item, views), views))
            if len(begun) > 1:
                finish, of_before = begun.popleft()
                yield finish(), kept(of_before)
    for finish, of_last in begun:
        yield finish(), kept(of_last)


def predicts_ahead(predictor: Predictor) -> bool:
    """Tell whether the model computes on while the next video is made ready for it."""
    return not predictor.is_on_cpu


def compute_all(
    predictor: Predictor,
    items: Sequence[VideoItem],
    compute: Callable[[VideoItem, Views, int], Output],
) -> Generator[Output, None, None]:
    """Yield what is computed of each video in order, and compute that of the next ones meanwhile.

    Args:
        predictor: the model.
        items: the videos.
        compute: takes a video, its clips (V, T, C, H, W) as `Predictor.load_many` yields them or why there
            are none, and how many threads call it at the same time.
    """
    clip = predictor.config.clip
    predictor.views.transform.expect(len(items) * clip.views * clip.crops)
    count = share_cores(predictor, len(items))
    if count == 1:
        with closing(predictor.load_many(items)) as loaded:
            for item, views in zip(items, loaded, strict=True):
                yield compute(item, views, count)
        return
    yield from map_ahead(
        lambda item: compute(item, predictor.views.try_load(item), count), items, count, 2 * count
    )


def share_cores(predictor: Predictor, num_videos: int) -> int:
    """Return how many videos to compute at once, as `num_side_by_side` does, with the model ready for it."""
    count = num_side_by_side(predictor, num_videos)
    network = predictor.network
    if not isinstance(network, ExportedNetwork):
        network.eval()
    elif count > 1:
        network.open_for(count)
    return count


def num_side_by_side(predictor: Predictor, num_videos: int) -> int:
    """Return how many videos to compute at once, each on one core; 1 computes each on all cores.

    Args:
        predictor: the model.
        num_videos: number of videos that are to be classified.
    """
    count = num_computing_threads()
    fewest = _FEWEST_EXPORTED if isinstance(predictor.network, ExportedNetwork) else count
    if not predictor.is_on_cpu or num_videos < max(count, fewest):
        return 1
    has_room = count * computing_bytes(predictor) <= MEMORY_SHARE * free_memory()
    return count if has_room else 1


def computing_bytes(predictor: Predictor) -> int:
    """Return the memory in bytes that a model takes at most while it computes one video."""
    return _ACTIVATIONS * min(predictor.config.clip.num_video_bytes, COMPUTED_BYTES)
