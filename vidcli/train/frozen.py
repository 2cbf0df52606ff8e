"""A backbone that never learns: what it says of the clips of a run is computed once.

A head then trains on features in memory, without decoding, changing pixels or running the backbone:

    drawn       clip 1    clip 2    clip 3    clip 4         train.frozen_clips, of every video
    features      |         |         |         |            before the first epoch
    epoch         1         2         3         4
                  5         6         7         8  ...

Clip v is the one that epoch v of a run without features would have: sampled, cropped, coloured and
mirrored as the settings say. So there are as many different ones, and no more. A video that is drawn
again in one epoch (`train.class_balance=sampling`) shows its next clip.

Four clips of a video pass through the backbone together, and without those of others, so that their
features are the same bits in whichever order videos are computed. They are also kept on disk, for
going on and for other heads, unless `data.cache=memory`.

Shape suffixes: N videos, C clips a video; what a backbone says of a clip is (T, F) or (D,).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeAlias

import torch
from torch import Tensor

from vidcli.config import Config
from vidcli.data.check import MEMORY_SHARE
from vidcli.data.dataset import ClipDataset
from vidcli.data.features import Features, digest_of_weights
from vidcli.data.frames import decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.loader import Batch, Draw, iter_draws
from vidcli.data.store import Store, StoredArrays
from vidcli.errors import ConfigError, VideoError
from vidcli.models import VideoModel
from vidcli.predict import Predictor
from vidcli.runtime.memory import free_memory
from vidcli.runtime.processes import Group
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.train.schedule import autocast_dtype

_GIB = 2**30

_CLIPS_AT_ONCE = 4

_Job: TypeAlias = tuple[VideoItem, int, range]
"""A video, its row among those to train or to validate on, and which of its clips to train on; none of
them stands for its views to validate on."""


def is_frozen(config: Config) -> bool:
    """Tell whether the backbone never learns."""
    return config.train.freeze_epochs >= config.train.epochs


def obstacle_to_features(config: Config) -> str | None:
    """Return why a frozen backbone has to look at every clip of every epoch; None if it need not."""
    if not config.train.frozen_clips:
        return "train.frozen_clips=0 wants new clips in every epoch"
    if config.augment.mixup or config.augment.cutmix:
        return "augment.mixup and augment.cutmix mix pixels, which the backbone has to see"
    if config.data.cache == "off":
        return "data.cache=off keeps nothing"
    return None


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
        """Keep what features are made of; nothing is computed before `fill`.

        Args:
            model: on `device`; its backbone does not change from `fill` on.
            config: all settings.
            dataset: gives the clips to train on.
            val_items: the videos to validate on.
            predictor: gives their views.
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
            progress: called with how much is done and of how much.
            tell: told what is kept where.

        Raises:
            ConfigError: the features do not fit in memory.
        """
        self._model.eval()
        self._make_room()
        files = self._files()
        num_bytes = self._train.nbytes + self._val.nbytes
        where = f"in memory and in {files.folder}" if files is not None else "in memory"
        tell(
            f"the backbone stays frozen: features of {self.num_clips} clips a video are computed once, and "
            f"epochs take turns with the clips (train.frozen_clips); kept {where}: {num_bytes / _GIB:.2g} GiB"
        )
        jobs = list(self._jobs())
        if files is not None and self._group.size > 1:
            own = jobs[self._group.local_rank :: self._group.local_size]
            for done, _ in enumerate(self._features_of(own, files), start=1):
                progress(done, len(own))
            self._group.gather(None)
        for done, ((_, row, clips), found) in enumerate(
            zip(jobs, self._features_of(jobs, files), strict=True), start=1
        ):
            if isinstance(found, VideoError):
                self._failures[bool(clips), row] = found
            elif clips:
                self._train[row, clips.start : clips.stop] = found
            else:
                self._val[row] = found
            progress(done, len(jobs))
        if files is not None:
            files.prune()

    def batches(
        self,
        orders: Iterable[tuple[int, Sequence[int]]],
        first: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        fewest: int = 1,
    ) -> Generator[Batch, None, None]:
        """Yield batches as `iter_batches` does, of features in place of clips."""
        for draws in iter_draws(orders, self._config.train.batch_size, first, rank, num_ranks, fewest):
            failures = [
                self._failures[True, index] for _, index, _ in draws if (True, index) in self._failures
            ]
            rows = self._rows_of(draws)
            indices, clips = [index for index, _ in rows], [clip for _, clip in rows]
            yield Batch(self._train[indices, clips], self._labels_N[indices], indices, failures, [])

    def first_clips(self, order: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return the clips (B, T, C, H, W) behind a run's first batch, and the indices of their videos."""
        draws = next(iter_draws([(0, order)], self._config.train.batch_size))
        clips = [self._dataset.load(*row) for row in self._rows_of(draws)]
        return torch.stack([clip.clip_TCHW for clip in clips]), [clip.index for clip in clips]

    def of_validation(self, item: VideoItem) -> Tensor | VideoError:
        """Return the features of all views of a video to validate on, or why there are none."""
        row = self._val_row[item]
        return self._failures.get((False, row), self._val[row])

    def _rows_of(self, draws: Sequence[Draw]) -> list[tuple[int, int]]:
        """Return which clip of which video each draw shows, without those that have no features."""
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

    def _features_of(
        self, jobs: Sequence[_Job], files: Store | None
    ) -> Generator[Tensor | VideoError, None, None]:
        """Yield the features of each video, from disk where they are there, else computed and written."""

        def take(stored: StoredArrays) -> Features:
            return stored.take("features")

        def load(job: _Job) -> tuple[bool, Tensor | VideoError]:
            item, row, clips = job
            if files is not None and (kept := files.read(item, take, self._draws_of(job))) is not None:
                return True, torch.from_numpy(kept)
            try:
                if not clips:
                    return False, self._predictor.load_views(item)
                return False, torch.stack([self._dataset.load(row, clip).clip_TCHW for clip in clips])
            except VideoError as error:
                return True, error

        workers = num_workers(self._config.data.workers)
        with closing(map_ahead(load, jobs, workers, ahead=2 * workers)) as loaded:
            for job, (is_done, found) in zip(jobs, loaded, strict=True):
                if is_done or isinstance(found, VideoError):
                    yield found
                    continue
                features = self._encode_clips(found) if job[2] else self._encode(found)
                if files is not None:
                    files.write(job[0], {"features": features.numpy()}, self._draws_of(job))
                yield features

    @torch.inference_mode()
    def _encode(self, clips_BTCHW: Tensor) -> Tensor:
        """Return what the backbone says of clips, computed as the predictor computes."""
        return self._model.encode(clips_BTCHW.to(self._device)).float().cpu()

    def _encode_clips(self, clips_BTCHW: Tensor) -> Tensor:
        """Return what the backbone says of clips to train on, in the precision of training."""
        dtype = autocast_dtype(self._config.train, self._device)
        with torch.autocast(self._device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
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
        needed, free = num_vectors * of_clip.nbytes, free_memory()
        limits = {
            f"half of the {free / _GIB:.2g} GiB of memory that is free": MEMORY_SHARE * free,
            f"data.cache_gib={self._config.data.cache_gib:g}": self._config.data.cache_gib * _GIB,
        }
        for name, limit in limits.items():
            if needed > limit:
                raise ConfigError(
                    f"the features of {self.num_clips} clips a video take {needed / _GIB:.2g} GiB, more than "
                    f"{name}; lower train.frozen_clips, model.grid or clip.length, or let the backbone "
                    "compute anew in every epoch (train.frozen_clips=0)"
                )
        self._train = torch.empty(len(self._dataset), self.num_clips, *of_clip.shape)
        self._val = torch.empty(len(self._val_items), num_views, *of_clip.shape)

    def _files(self) -> Store | None:
        """Return where features are kept between runs; None where they are not."""
        config = self._config
        if config.data.cache == "memory":
            return None
        model = config.model
        return Store(
            "features",
            [
                digest_of_weights(self._model.backbone),
                [model.backbone, model.shift, model.frame_differences, model.grid],
                config.clip.model_dump(mode="json"),
                decoding_settings(config),
                # What may round differently.
                [str(self._device.type), config.train.precision, torch.__version__, torch.get_num_threads()],
            ],
            config.data.cache_gib * _GIB,
        )

    def _draws_of(self, job: _Job) -> list[object]:
        """Return all that features depend on beside the video and the settings of `_files`."""
        _, row, clips = job
        if not clips:
            return ["views"]
        changes = self._config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"})
        drawn_from = [self._config.train.seed, row, list(clips), self._dataset.flip]
        return ["clips", *drawn_from, sorted(changes.items())]


class FeaturePredictor(Predictor):
    """Answers from features: what `Predictor` says of the same videos, without looking at them again."""

    def __init__(self, predictor: Predictor, model: VideoModel, features: FrozenFeatures) -> None:
        """Answer as another predictor would.

        Args:
            predictor: gives settings and calibration.
            model: the same model as that predictor's.
            features: filled before anything is asked.
        """
        super().__init__(
            model,
            predictor.config,
            predictor.class_names,
            predictor.device,
            calibration=predictor.calibration,
        )
        self._after_backbone, self._features = model.after_backbone, features

    def load_many(self, items: Sequence[VideoItem]) -> Generator[Tensor | VideoError, None, None]:
        """Yield the features of each video's views in order, or why there are none."""
        yield from map(self._features.of_validation, items)

    def _compute(self, views_VTCHW: Tensor) -> Tensor:
        logits_VK: Tensor = self._after_backbone(views_VTCHW)
        return logits_VK
