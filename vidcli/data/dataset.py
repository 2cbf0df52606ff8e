"""Clips of labelled videos: sampled, decoded or taken from a cache, and transformed.

Every random number of a clip comes from (seed, epoch, index), so that a clip does not depend on the
number of workers, the order of loading, or the epoch in which a run was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Frames
from vidcli.config import Config
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem, labels_of
from vidcli.sampling import Seconds
from vidcli.transforms import ClipTransform, build_sampler
from vidcli.transforms.augment import Changes


@dataclass(frozen=True)
class LabelledClip:
    """A clip with its label.

    Attributes:
        clip_TCHW: clip, float32 (T, C, H, W); or its pixels, uint8, where changes are still to be made.
        label: number of the class; in a multi-label data set float32 (K,), 1 for each class that is there.
        index: index of the video in its data set.
        changes: what `ClipDataset.finish` is to make of the pixels; None for a clip that is finished.
    """

    clip_TCHW: Tensor
    label: int | Tensor
    index: int
    changes: Changes | None = None


class ClipDataset:
    """Training clips: one random view of each video per epoch.

    Attributes:
        items: videos.
        flip: whether clips may be mirrored.
        clip_shape: (T, H, W, C) of every clip.
    """

    def __init__(
        self,
        items: Sequence[VideoItem],
        class_names: Sequence[str],
        config: Config,
        flip: bool,
        source: FrameSource | None = None,
    ) -> None:
        """Prepare to load clips.

        Args:
            items: training videos.
            class_names: class names; the label of a class is its position.
            config: clip, augment and seed settings.
            flip: whether clips may be mirrored.
            source: source of frames; None decodes the videos as the settings say.
        """
        self.items = list(items)
        self._label_of = {name: label for label, name in enumerate(class_names)}
        self._sampler = build_sampler(config.clip.model_copy(update={"views": 1}), config.augment)
        self._transform, self.flip = ClipTransform(config.clip, config.augment, flip), flip
        self._seed, self._multi_label = config.train.seed, config.data.multi_label
        self._source = source or FrameSource(config)
        self.clip_shape = (config.clip.length, *config.clip.size, 3)

    def __len__(self) -> int:
        return len(self.items)

    def label(self, index: int) -> int:
        """Return the label of video `index`, which has one class."""
        return self._label_of[self.items[index].label]

    def targets(self, index: int) -> Tensor:
        """Return float32 (K,) with 1 for each class of video `index`, which may have several."""
        target_K = torch.zeros(len(self._label_of))
        for name in labels_of(self.items[index].label, multi_label=True):
            target_K[self._label_of[name]] = 1
        return target_K

    def load(self, index: int, epoch: int, repeat: int = 0) -> LabelledClip:
        """Return a clip of video `index` in `epoch`.

        Args:
            index: index of the video in `items`.
            epoch: number of the epoch, from 0.
            repeat: number of times that the video was drawn before in this epoch, each with another clip.

        Raises:
            VideoError: the video cannot be decoded.
        """
        cut = self.cut(index, epoch, repeat)
        assert cut.changes is not None
        return replace(cut, clip_TCHW=self.finish(cut.clip_TCHW[None], [cut.changes])[0], changes=None)

    def cut(self, index: int, epoch: int, repeat: int = 0) -> LabelledClip:
        """Return the pixels of the clip that `load` returns, and the changes that make the clip of them.

        Args:
            index: as in `load`.
            epoch: as in `load`.
            repeat: as in `load`.

        Raises:
            VideoError: the video cannot be decoded.
        """
        rng = np.random.default_rng([self._seed, epoch, index, *([repeat] if repeat else [])])
        frames_THWC = self._frames(self.items[index], rng)
        pixels_TCHW, changes = self._transform.cut(frames_THWC, rng)
        return LabelledClip(pixels_TCHW, self.target(index), index, changes)

    def finish(self, pixels_BTCHW: Tensor, changes: Sequence[Changes]) -> Tensor:
        """Return clips, float32 (B, T, C, H, W), of the pixels and changes of `cut`, on their device."""
        return self._transform.finish(pixels_BTCHW, changes)

    def target(self, index: int) -> int | Tensor:
        """Return the target of video `index`: its label, or its `targets` in a multi-label data set."""
        return self.targets(index) if self._multi_label else self.label(index)

    def take_notices(self) -> list[str]:
        """Return the notices of the frame cache since this was last called."""
        return self._source.take_notices()

    def _frames(self, item: VideoItem, rng: np.random.Generator) -> Frames:
        def plan(duration_seconds: float) -> Seconds:
            return self._sampler(duration_seconds, rng)

        return self._source.frames(item, plan)
