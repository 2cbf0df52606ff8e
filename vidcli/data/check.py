"""Decode before training: what cannot be used is found, named and left out while it is cheap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.config import Config
from vidcli.data.choice import choose_source
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.data.loader import map_ahead, num_workers
from vidcli.errors import DataError, VideoError
from vidcli.sampling import Seconds
from vidcli.sheets import csv_text, shown_cell

_NUM_NAMED = 20


@dataclass(frozen=True)
class CheckedVideos:
    """The usable items, the errors of the others, and where frames come from from now on.

    Attributes:
        notices: what was decided about keeping frames, and what went wrong with it.
    """

    usable: list[VideoItem]
    failures: list[VideoError]
    source: FrameSource
    notices: list[str]


def check_videos(
    items: Sequence[VideoItem],
    config: Config,
    progress: Callable[[int, int], None] | None = None,
    share: Callable[[Sequence[VideoItem]], Sequence[VideoItem]] = list,
    merge: Callable[[list[VideoError | None]], list[VideoError | None]] = list,
) -> CheckedVideos:
    """Decode every video to its end once, filling the cache where the settings allow one.

    A video whose frames are on disk since an earlier run is not decoded again.

    Args:
        items: videos of the train and val splits.
        config: clip and data settings.
        progress: called with the number of videos done and of all.
        share: takes this process's part of the videos, where several check them together.
        merge: brings back the outcomes of all of them, in the order of `items`.

    Raises:
        DataError: more than `data.max_unusable` of the videos cannot be decoded; names them.
        ConfigError: `data.cache` is `memory` or `disk` and the frames do not fit `data.cache_gib`.
    """
    workers = num_workers(config.data.workers)
    source, notices = choose_source(items, config, workers)

    def whole(duration_seconds: float) -> Seconds:
        # First and last frame: everything between is decoded on the way.
        return np.array([0.0, duration_seconds])

    def attempt(item: VideoItem) -> VideoError | None:
        try:
            source.frames(item, whole)
        except VideoError as error:
            return error
        return None

    own = share(items)
    outcomes: list[VideoError | None] = []
    for error in map_ahead(attempt, own, workers, ahead=4 * workers):
        outcomes.append(error)
        if progress is not None:
            progress(len(outcomes), len(own))
    outcomes = merge(outcomes)
    usable = [item for item, error in zip(items, outcomes, strict=True) if error is None]
    failures = [error for error in outcomes if error is not None]
    if len(failures) > config.data.max_unusable * len(items):
        named = "\n".join(str(error) for error in failures[:_NUM_NAMED])
        more = f"\n… and {len(failures) - _NUM_NAMED} more" if len(failures) > _NUM_NAMED else ""
        raise DataError(
            f"{len(failures)} of {len(items)} videos cannot be used, more than data.max_unusable="
            f"{config.data.max_unusable:g} allows:\n{named}{more}"
        )
    return CheckedVideos(usable, failures, source, notices + source.take_notices())


def failures_csv(failures: Sequence[VideoError]) -> str:
    """Return the videos that were left out, and why, as CSV."""
    rows = ((shown_cell(failure.path), shown_cell(failure.reason)) for failure in failures)
    return csv_text([("video", "error"), *rows])
