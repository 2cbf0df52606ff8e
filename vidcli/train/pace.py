"""How fast an epoch goes, how much of it is spent waiting for data, and what helps."""

from __future__ import annotations

import time

from vidcli.config import DataConfig
from vidcli.data.frames import FrameSource
from vidcli.runtime.threads import num_workers

_TOLERATED_SHARE = 0.1
# In an epoch of a moment the first batch is most of it, and nobody is held up.
_TOLERATED_SECONDS = 1.0


class Pace:
    """Clips and waiting of one epoch, from its first step in this process on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._num_clips = 0
        self._seconds_waited = 0.0

    def add(self, num_clips: int, seconds_waited: float) -> None:
        """Count a step that is done."""
        self._num_clips += num_clips
        self._seconds_waited += seconds_waited

    @property
    def clips_per_second(self) -> float:
        """Clips trained on a second, waiting included."""
        return self._num_clips / self._seconds

    @property
    def waiting(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        return min(1.0, self._seconds_waited / self._seconds)

    @property
    def is_held_up(self) -> bool:
        """Whether waiting for data costs more than it should."""
        return self._seconds_waited > _TOLERATED_SECONDS and self.waiting > _TOLERATED_SHARE

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)


def waiting_notice(waiting: float, settings: DataConfig, source: FrameSource) -> str:
    """Return a sentence on an epoch that was held up by its data, and what would help.

    Args:
        waiting: share of the epoch's time.
        settings: how videos are decoded and kept.
        source: where frames come from.
    """
    remedies = []
    if source.cache is None and settings.decode != "keyframes":
        kept = "data.cache=disk" if settings.cache == "off" else "a larger data.cache_gib"
        remedies.append(f"{kept} (each video is decoded once)")
    remedies.append(f"more data.workers (now {num_workers(settings.workers)})")
    remedies.append("a smaller clip.size")
    return (
        f"{waiting:.0%} of this epoch was spent waiting for data; what helps: "
        f"{', '.join(remedies[:-1])} or {remedies[-1]}"
    )
