"""Features of videos: read from disk, or computed and written there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidcli.data.items import VideoItem
from vidcli.data.store import Store
from vidcli.errors import VideoError
from vidcli.runtime.threads import map_ahead


@dataclass(frozen=True)
class FeatureJob:
    """One array of features of a video.

    Attributes:
        item: video, or span of one.
        about: what the features depend on besides the video and the settings of the store, as JSON values.
        load: loads the input of the backbone; called in a thread.
        compute: computes features, float32 on the CPU, from that input.
    """

    item: VideoItem
    about: Sequence[object]
    load: Callable[[], Tensor]
    compute: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FeatureResult:
    """The outcome of a job.

    Attributes:
        features: features, float32 on the CPU, or the error of a video that cannot be decoded.
        was_stored: whether the features were on disk.
    """

    features: Tensor | VideoError
    was_stored: bool = False


def compute_once(
    jobs: Sequence[FeatureJob], store: Store | None, workers: int
) -> Generator[FeatureResult, None, None]:
    """Yield the outcome of each job in order.

    Args:
        jobs: features to read or to compute.
        store: store of features; None computes all of them and keeps none on disk.
        workers: number of threads that read features and load inputs ahead.
    """

    def load(job: FeatureJob) -> FeatureResult | Tensor:
        if store is not None:
            kept = store.read(job.item, lambda stored: stored.take("features"), job.about)
            if kept is not None:
                return FeatureResult(torch.from_numpy(kept), was_stored=True)
        try:
            return job.load()
        except VideoError as error:
            return FeatureResult(error)

    with closing(map_ahead(load, jobs, workers, ahead=2 * workers)) as loaded:
        for job, found in zip(jobs, loaded, strict=True):
            if isinstance(found, FeatureResult):
                yield found
                continue
            features = job.compute(found)
            if store is not None:
                store.write(job.item, {"features": features.numpy()}, job.about)
            yield FeatureResult(features)


def digest_of_weights(module: nn.Module) -> str:
    """Return a digest of the names, types, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
