"""Features of a frozen backbone: where it never learns, those of all clips of a run are computed once.

A head then trains on features in memory. Epochs decode nothing and do not run the backbone:

    drawn       clip 1    clip 2    clip 3    clip 4         train.frozen_clips, of every video
    features      |         |         |         |            before the first epoch
    epoch         1         2         3         4
                  5         6         7         8  ...

Clip v is the clip that epoch v would have without stored features: sampled, cropped, coloured and mirrored
as the settings say. Later epochs repeat these clips. A video that is drawn again in one epoch
(`train.class_balance=sampling`) shows its next clip.

Up to four clips of one video pass through the backbone at once, never with clips of other videos, so that
features are the same bits in whichever order videos are computed. Unless `data.cache=memory`, they are kept
on disk as well, for a run that goes on and for runs with other heads.

Shape suffixes: N videos, C clips a video, V views, B batch. The features of a clip are (T, F) or (D,).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Float32, Float64
from vidcli.config import Config
from vidcli.data.dataset import ClipDataset
from vidcli.data.frames import decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.loader import Batch, Draw, iter_draws
from vidcli.data.store import Store
from vidcli.errors import ConfigError, VideoError
from vidcli.features.computed_once import FeatureJob, FeatureResult, compute_once, digest_of_weights
from vidcli.models import VideoModel
from vidcli.predict import Predictor
from vidcli.predict.core_computer import compute_in_torch
from vidcli.runtime.memory import MEMORY_SHARE, free_memory
from vidcli.runtime.processes import Group
from vidcli.runtime.threads import num_workers
from vidcli.train.freezing import is_frozen
from vidcli.train.optimizer import reduced_precision

_GIB = 2**30

_CLIPS_AT_ONCE = 4

_Job: TypeAlias = tuple[VideoItem, int, range]
"""A video, its row among the training or the validation videos, and the numbers of its clips to train on.

An empty range stands for the views of a validation video."""


def obstacle_to_features(config: Config) -> str | None:
    """Return why the clips of every epoch have to pass a frozen backbone; None if features can be stored."""
    if not config.train.frozen_clips:
        return "train.frozen_clips=0 wants new clips in every epoch"
    if config.augment.mixup or config.augment.cutmix:
        return "augment.mixup and augment.cutmix mix pixels, which the backbone has to see"
    if config.data.cache == "off":
        return "data.cache=off keeps nothing"
    return None


def uses_features(config: Config) -> bool:
    """Tell whether a run of these settings trains on features that are computed once."""
    return is_frozen(config) and obstacle_to_features(config) is None


class FrozenFeatures:
    """The features of the clips that a run trains on and of the views that it validates on."""

    def __init__(
        self,
        model: VideoModel,
        config: Config,
        dataset: ClipDataset,
        val_items: Sequence[VideoItem],
        predictor: Predictor,
        device: torch.device,
        group: Group,
    ) -> None:
        """Keep what features are computed from; nothing is computed before `fill`.

        Args:
            model: on `device`; its backbone does not change from `fill` on.
            config: all settings.
            dataset: gives the clips to train on.
            val_items: the videos to validate on.
            predictor: gives the views of those videos.
            device: where to compute.
            group: the processes that train together.
        """
        self._model, self._config, self._dataset, self._device = model, config, dataset, device
        self._predictor, self._group = predictor, group
        self._val_items = list(dict.fromkeys(val_items))
        self._val_row = {item: row for row, item in enumerate(self._val_items)}
        self.num_clips = min(config.train.frozen_clips, config.train.epochs)
        self._labels_N = torch.stack([torch.as_tensor(dataset.target(row)) for row in range(len(dataset))])
        self._train = self._val = torch.empty(0)
        self._failures: dict[tuple[bool, int], VideoError] = {}

    def fill(self, progress: Callable[[int, int], None], tell: Callable[[str], None]) -> None:
        """Compute the features of all videos, or read them from disk.

        Processes of one machine that share a disk share the work.

        Args:
            progress: called with the number of parts done and of all.
            tell: called with a sentence on what is kept and where.

        Raises:
            ConfigError: the features do not fit in memory.
        """
        self._model.eval()
        self._make_room()
        store = _store_of(self._config, self._model, self._device)
        num_bytes = self._train.nbytes + self._val.nbytes
        where = f"in memory and in {store.folder}" if store is not None else "in memory"
        tell(
            f"the backbone stays frozen: features of {self.num_clips} clips a video are computed once, and "
            f"epochs take turns with the clips (train.frozen_clips); kept {where}: {num_bytes / _GIB:.2g} GiB"
        )
        jobs = list(self._jobs())
        if store is not None and self._group.size > 1:
            own = jobs[self._group.local_rank :: self._group.local_size]
            for done, _ in enumerate(self._results_of(own, store), start=1):
                progress(done, len(own))
            self._group.gather(None)
        for done, ((_, row, clips), result) in enumerate(
            zip(jobs, self._results_of(jobs, store), strict=True), start=1
        ):
            if isinstance(result.features, VideoError):
                self._failures[bool(clips), row] = result.features
            elif clips:
                self._train[row, clips.start : clips.stop] = result.features
            else:
                self._val[row] = result.features
            progress(done, len(jobs))
        if store is not None:
            store.prune()

    def batches(
        self,
        orders: Iterable[tuple[int, Sequence[int]]],
        first: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        fewest: int = 1,
    ) -> Generator[Batch, None, None]:
        """Yield batches of features in place of clips, in the order of `data.loader.iter_batches`.

        Args:
            orders: number of each epoch, from 0, and the indices of its videos in order.
            first: the first step of the first epoch, from 0.
            rank: of this process.
            num_ranks: number of processes that share a batch.
            fewest: clips that the smallest batch needs.
        """
        for draws in iter_draws(orders, self._config.train.batch_size, first, rank, num_ranks, fewest):
            failures = [
                self._failures[True, index] for _, index, _ in draws if (True, index) in self._failures
            ]
            rows = self._rows_of(draws)
            indices, clips = [index for index, _ in rows], [clip for _, clip in rows]
            yield Batch(self._train[indices, clips], self._labels_N[indices], indices, failures, [])

    def first_clips(self, order: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return the clips (B, T, C, H, W) of a run's first batch, and the indices of their videos.

        Args:
            order: the indices of the videos of the first epoch, in order.
        """
        draws = next(iter_draws([(0, order)], self._config.train.batch_size))
        clips = [self._dataset.load(*row) for row in self._rows_of(draws)]
        return torch.stack([clip.clip_TCHW for clip in clips]), [clip.index for clip in clips]

    def of_validation(self, item: VideoItem) -> Tensor | VideoError:
        """Return the features of all views of a validation video, or the error of a video that failed."""
        row = self._val_row[item]
        return self._failures.get((False, row), self._val[row])

    def _rows_of(self, draws: Sequence[Draw]) -> list[tuple[int, int]]:
        """Return the video and the number of the clip of each draw, without videos that failed."""
        return [
            (index, (epoch + repeat) % self.num_clips)
            for epoch, index, repeat in draws
            if (True, index) not in self._failures
        ]

    def _jobs(self) -> Iterator[_Job]:
        for row, item in enumerate(self._dataset.items):
            for start in range(0, self.num_clips, _CLIPS_AT_ONCE):
                yield item, row, range(start, min(start + _CLIPS_AT_ONCE, self.num_clips))
        for row, item in enumerate(self._val_items):
            yield item, row, range(0)

    def _results_of(self, jobs: Sequence[_Job], store: Store | None) -> Generator[FeatureResult, None, None]:
        """Yield the features of each job: from disk, or else computed and written to disk."""
        feature_jobs = [
            FeatureJob(
                job[0],
                self._draws_of(job),
                partial(self._load, job),
                self._encode_clips if job[2] else self._encode,
            )
            for job in jobs
        ]
        return compute_once(feature_jobs, store, num_workers(self._config.data.workers))

    def _load(self, job: _Job) -> Tensor:
        """Return the clips or the views (B, T, C, H, W) of a job."""
        item, row, clips = job
        if not clips:
            return torch.from_numpy(self._predictor.views.load(item))
        return torch.stack([self._dataset.load(row, clip).clip_TCHW for clip in clips])

    @torch.inference_mode()
    def _encode(self, clips_BTCHW: Tensor) -> Tensor:
        """Return the features of clips, computed as the predictor computes them."""
        return self._model.encode(clips_BTCHW.to(self._device)).float().cpu()

    def _encode_clips(self, clips_BTCHW: Tensor) -> Tensor:
        """Return the features of clips to train on, in the precision of training."""
        with reduced_precision(self._config.train, self._device):
            return self._encode(clips_BTCHW)

    def _make_room(self) -> None:
        """Allocate memory for all features.

        Raises:
            ConfigError: there is not enough.
        """
        clip = self._config.clip
        of_clip = self._encode(torch.zeros(1, clip.length, 3, *clip.size))[0]
        num_views = clip.views * clip.crops
        num_vectors = len(self._dataset) * self.num_clips + len(self._val_items) * num_views
        _require_room(num_vectors * of_clip.nbytes, self.num_clips, self._config.data.cache_gib)
        self._train = torch.empty(len(self._dataset), self.num_clips, *of_clip.shape)
        self._val = torch.empty(len(self._val_items), num_views, *of_clip.shape)

    def _draws_of(self, job: _Job) -> list[object]:
        """Return all that features depend on except the video and the settings of `_store_of`."""
        _, row, clips = job
        if not clips:
            return ["views"]
        changes = self._config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"})
        drawn_from = [self._config.train.seed, row, list(clips), self._dataset.flip]
        return ["clips", *drawn_from, sorted(changes.items())]


def _store_of(config: Config, model: VideoModel, device: torch.device) -> Store | None:
    """Return the store that keeps features between runs; None where they stay in memory."""
    if config.data.cache == "memory":
        return None
    settings = config.model
    return Store(
        "features",
        [
            digest_of_weights(model.backbone),
            [settings.backbone, settings.shift, settings.frame_differences, settings.grid],
            config.clip.model_dump(mode="json"),
            decoding_settings(config),
            # These may round differently.
            [str(device.type), config.train.precision, torch.__version__, torch.get_num_threads()],
        ],
        config.data.cache_gib * _GIB,
    )


def _require_room(num_bytes: int, num_clips: int, cache_gib: float) -> None:
    """Refuse features that take more memory than is free, or than the settings allow.

    Raises:
        ConfigError: they do.
    """
    free = free_memory()
    limits = {
        f"half of the {free / _GIB:.2g} GiB of memory that is free": MEMORY_SHARE * free,
        f"data.cache_gib={cache_gib:g}": cache_gib * _GIB,
    }
    for name, limit in limits.items():
        if num_bytes > limit:
            raise ConfigError(
                f"the features of {num_clips} clips a video take {num_bytes / _GIB:.2g} GiB, more than "
                f"{name}; lower train.frozen_clips, model.grid or clip.length, or let the backbone compute "
                "anew in every epoch (train.frozen_clips=0)"
            )


class FeaturePredictor(Predictor):
    """Predicts from stored features what `Predictor` predicts from the frames of the same videos."""

    def __init__(self, predictor: Predictor, model: VideoModel, features: FrozenFeatures) -> None:
        """Take over from another predictor.

        Args:
            predictor: gives settings and calibration.
            model: the model of that predictor.
            features: filled before the first prediction.
        """
        super().__init__(
            model,
            predictor.config,
            predictor.class_names,
            predictor.device,
            calibration=predictor.calibration,
        )
        self._after_backbone, self._features = model.after_backbone, features

    def load_many(self, items: Sequence[VideoItem]) -> Generator[Float32 | VideoError, None, None]:
        """Yield the features of the views of each video, in order, or the error of a video that failed."""
        for features in map(self._features.of_validation, items):
            yield features if isinstance(features, VideoError) else features.numpy()

    def _begin_to_classify(self, views: Float32 | Tensor, num_side_by_side: int) -> Callable[[], Float64]:
        """Return what computes logits (V, K) of features (V, T, E)."""
        assert isinstance(views, np.ndarray)
        return partial(compute_in_torch, self._after_backbone, views, self.device)
