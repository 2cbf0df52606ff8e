"""Describe the training videos of closed-form training: a first part, then as many as time and memory allow.

    c1 c2 c3 c1 c2 c3 c1 c2 c1 c1 ...   any beginning of the order holds each class as often as it can
    └── first model ──┘
    └──────── as far as it goes ──────┘

Shape suffixes: M videos, R rows a video, D descriptors.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vidcli.config import Config
from vidcli.data.items import VideoItem
from vidcli.errors import DataError, VideoError
from vidcli.features.descriptors import Descriptors
from vidcli.models.stream_descriptors import NUM_PACES
from vidcli.runtime.memory import MEMORY_SHARE, free_memory
from vidcli.train.events import Event, FeatureProgress, Notice

MOST_ROWS = 3000
"""Rows of all videos: the kernel of many rows takes long to solve, and many videos need no copies."""
_LEAST_VIDEOS, _LEAST_OF_CLASS = 64, 4
_FIRST_SHARE = 0.5
"""Of all videos: a model of more would not stand much earlier than that of all."""
_BYTES_OF_PAIR = 32
"""A pair of rows is a float64 in a kernel, of which solving holds four."""
_BYTES_OF_DESCRIPTOR = 2

Described: TypeAlias = Tensor | VideoError | None
"""Descriptors of a video, why there are none, or None where it was not described."""


class TrainingVideos:
    """The training videos of one run, and what describes them.

    Attributes:
        items: the videos in the order in which they are described.
    """

    def __init__(
        self,
        items: Sequence[VideoItem],
        config: Config,
        describer: Descriptors,
        num_descriptors: int,
        mirrors: bool,
        on_event: Callable[[Event], None],
    ) -> None:
        """Bring the videos in order; the time of `train.minutes` starts to run.

        Args:
            items: the training videos.
            config: all settings.
            describer: describes them.
            num_descriptors: of one video, D.
            mirrors: whether mirrored videos are to be learnt from as well.
            on_event: called with progress and with what was left out.
        """
        self.items = in_fair_order(items, config.train.seed)
        self._config, self._describer, self._on_event = config, describer, on_event
        self._mirrors, self._started = mirrors, time.monotonic()
        self._is_cut = config.data.clips_per_span > 1
        self._num_paces = num_paces(config, len(items), mirrors)
        self._most = most_videos(self._num_paces, num_descriptors, free_memory())
        self._least = num_wanted(self.items)
        self._first: list[Described] = []

    def describe_first(self) -> list[Described]:
        """Describe the videos that a first model learns from, at the beginning of `items`; perhaps none."""
        leaves_out = self._is_cut or self._least > _FIRST_SHARE * len(self.items)
        count = 0 if leaves_out else min(self._least, self._most)
        self._first = self._describe(self.items[:count], lambda done: True)
        return self._first

    def describe(self, in_time: bool) -> list[Described]:
        """Describe all videos, or as many as time and memory allow; then say what is left.

        Args:
            in_time: whether to keep to `train.minutes`.
        """
        total, minutes = len(self.items), self._config.train.minutes

        def goes_on(done: int) -> bool:
            is_late = in_time and minutes and self._minutes_spent > minutes
            return done < self._most and (done < self._least or not is_late)

        num_known, found = len(self._first), [*self._first]
        if goes_on(num_known) or not found:
            found += self._describe(self.items[num_known:], goes_on)
        found += [None] * (total - len(found))
        num_done = sum(one is not None for one in found)
        if num_done < total:
            why = (
                "more do not fit in memory"
                if num_done >= self._most
                else f"more would take longer than train.minutes={minutes:g}; a run with `--minutes 0` takes "
                "all, and finds those that were described on disk"
            )
            self._on_event(
                Notice(
                    f"the model knows {num_done} of {total} training videos, as many of each class as "
                    f"possible: {why}"
                )
            )
        return found

    def takes_mirrored(self, num_videos: int) -> bool:
        """Tell whether to describe mirrored videos too; say so where time or memory do not allow it.

        Args:
            num_videos: that were described as they are, M.
        """
        if not self._mirrors or self._config.train.epochs < 2 or num_videos >= self._most:
            return False
        minutes, spent = self._config.train.minutes, self._minutes_spent
        obstacle = ""
        if minutes and 2 * spent > minutes:
            obstacle = f"they would take {spent:.0f} more minutes, and train.minutes={minutes:g}"
        elif 2 * num_videos > self._most:
            obstacle = f"twice as many as {num_videos} do not fit in memory"
        if obstacle:
            self._on_event(Notice(f"mirrored videos are left out: {obstacle}"))
        return not obstacle

    def describe_mirrored(self, items: Sequence[VideoItem], describer: Descriptors) -> Tensor:
        """Return the descriptors (M, R, D) of mirrored videos that could be decoded before.

        Args:
            items: the videos.
            describer: describes them.

        Raises:
            DataError: one of them no longer can.
        """

        def tell(done: int) -> bool:
            self._on_event(FeatureProgress(done, len(items)))
            return True

        found = describer.of(items, True, self._num_paces, tell)
        for one in found:
            if isinstance(one, VideoError):
                raise DataError(f"a video could be decoded and no longer can: {one}")
        return torch.stack([one for one in found if isinstance(one, Tensor)])

    @property
    def _minutes_spent(self) -> float:
        return (time.monotonic() - self._started) / 60

    def _describe(self, items: Sequence[VideoItem], goes_on: Callable[[int], bool]) -> list[Described]:
        num_known, total = len(self._first), len(self.items)

        def count(done: int) -> bool:
            self._on_event(FeatureProgress(num_known + done, total))
            return goes_on(num_known + done)

        return self._describer.of(items, False, self._num_paces, count)


def num_paces(config: Config, num_videos: int, mirrors: bool) -> int:
    """Return as how many rows a video is described, R: as it is, and perhaps cut short.

    Args:
        config: all settings.
        num_videos: all training videos.
        mirrors: whether mirrored videos are learnt from as well.
    """
    # A clip that is cut from a recording, without its end, has another middle and thus another class.
    is_cut = config.data.clips_per_span > 1
    num_rows = NUM_PACES * (2 if mirrors else 1) * num_videos
    return NUM_PACES if not is_cut and num_rows <= MOST_ROWS else 1


def in_fair_order(items: Sequence[VideoItem], seed: int) -> list[VideoItem]:
    """Return videos so that any beginning holds each class about as often, drawn at random.

    Args:
        items: the videos.
        seed: of the order within each class.
    """
    rng = np.random.default_rng(seed)
    num_before: dict[str, int] = defaultdict(int)
    turns: list[tuple[int, str, int]] = []
    for place in rng.permutation(len(items)).tolist():
        label = items[place].label
        turns.append((num_before[label], label, place))
        num_before[label] += 1
    return [items[place] for *_, place in sorted(turns)]


def num_wanted(items: Sequence[VideoItem]) -> int:
    """Return how many videos a model learns from at least, where there are so many.

    Args:
        items: all training videos.
    """
    return max(_LEAST_VIDEOS, _LEAST_OF_CLASS * len({item.label for item in items}))


def most_videos(num_rows: int, num_descriptors: int, free_bytes: int) -> int:
    """Return of how many videos the descriptors and their kernel fit in memory.

    Args:
        num_rows: of one video, R.
        num_descriptors: of one row, D.
        free_bytes: of memory.
    """
    room = MEMORY_SHARE * free_bytes
    of_video = _BYTES_OF_DESCRIPTOR * num_rows * num_descriptors
    return max(1, int(min(room / of_video, math.sqrt(room / _BYTES_OF_PAIR) / num_rows)))
