"""Embeddings: what the head of a model sees of a video, as one vector.

Shape suffixes: V views, T frames, E numbers of an embedding, H W pixels, C channels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from vidcli.arrays import Float32, Frames
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, VideoError
from vidcli.predict.prediction import Prediction
from vidcli.predict.predictor import Predictor
from vidcli.predict.side_by_side import Views, compute_all
from vidcli.transforms import to_pixels

_THUMBNAIL_PIXELS = 96


@dataclass(frozen=True)
class Embedding:
    """What a model sees of one video.

    Attributes:
        item: the video.
        vector_E: float32; None if the video failed.
        prediction: the model's answer, or why the video failed.
        thumbnail_HWC: the middle frame of the first view as the model sees it, small; None if not asked for.
    """

    item: VideoItem
    vector_E: Float32 | None
    prediction: Prediction
    thumbnail_HWC: Frames | None


class Embedder:
    """A model that tells what its head sees.

    What goes into the head is averaged over the frames of a clip and over all clips of a video. It comes from
    the same forward pass as the answer of `predict`.
    """

    def __init__(self, predictor: Predictor, model_name: object) -> None:
        """Listen at the head of a model.

        Args:
            predictor: the model.
            model_name: what a person calls it, for error messages.

        Raises:
            ConfigError: the model has no head that can be listened at, as exported models have not.
        """
        head = getattr(predictor.network, "head", None)
        if not isinstance(head, nn.Module):
            raise ConfigError(
                f"--model {model_name}: is an exported network, which does not tell what its head sees; "
                "name the run that it was exported from"
            )
        self._predictor, self._head = predictor, head

    def embed_many(
        self, items: Sequence[VideoItem], thumbnails: bool = False
    ) -> Generator[Embedding, None, None]:
        """Yield the embedding of each video in order.

        Args:
            items: the videos.
            thumbnails: keep a small picture of each.
        """
        heard = threading.local()  # the head hears the videos of several threads at once

        def listen(head: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen = inputs[0].detach().float()
            heard.vectors.append(seen.flatten(1, -2).mean(1) if seen.dim() > 2 else seen)

        def embed(item: VideoItem, views: Views, num_side_by_side: int) -> Embedding:
            heard.vectors = []
            prediction = self._predictor.begin(item, views, num_side_by_side)()
            if prediction.error is not None or isinstance(views, VideoError):
                return Embedding(item, None, prediction, None)
            thumbnail = (
                _thumbnail(self._predictor.views.finished(views[:1])[0], self._predictor)
                if thumbnails
                else None
            )
            return Embedding(item, torch.cat(heard.vectors).mean(0).cpu().numpy(), prediction, thumbnail)

        handle = self._head.register_forward_pre_hook(listen)
        try:
            with closing(compute_all(self._predictor, items, embed)) as embeddings:
                yield from embeddings
        finally:
            handle.remove()


def embed_all(
    embedder: Embedder,
    items: Sequence[VideoItem],
    thumbnails: bool,
    progress: Callable[[int, int], None],
) -> tuple[list[Embedding], list[Embedding]]:
    """Return the embeddings of all videos, and apart from them those of videos that failed.

    Args:
        embedder: the model.
        items: the videos.
        thumbnails: keep a small picture of each.
        progress: called with the number of videos done and of all.
    """
    done: list[Embedding] = []
    failed: list[Embedding] = []
    for embedding in embedder.embed_many(items, thumbnails):
        (failed if embedding.vector_E is None else done).append(embedding)
        progress(len(done) + len(failed), len(items))
    return done, failed


def stack_vectors(embeddings: Sequence[Embedding]) -> Float32:
    """Return the vectors of embeddings, none of which failed, as rows (N, E)."""
    return np.stack([embedding.vector_E for embedding in embeddings if embedding.vector_E is not None])


def _thumbnail(clip_TCHW: Float32, predictor: Predictor) -> Frames:
    """Return the middle frame of a clip, its longer side at most `_THUMBNAIL_PIXELS`."""
    frame_CHW = clip_TCHW[len(clip_TCHW) // 2]
    scale = _THUMBNAIL_PIXELS / max(frame_CHW.shape[1:])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in frame_CHW.shape[1:]]
        frame_1CHW = torch.from_numpy(frame_CHW[None])
        frame_CHW = F.interpolate(frame_1CHW, size, mode="bilinear", antialias=True)[0].numpy()
    picture_HWC: Frames = to_pixels(frame_CHW[None], predictor.config.clip)[0]
    return picture_HWC
