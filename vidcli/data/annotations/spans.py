"""What every annotation format holds: spans of recordings, each with a label."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TO_THE_END = math.inf
"""The end of a span that lasts until its recording ends."""


@dataclass(frozen=True)
class Span:
    """One labelled span.

    Attributes:
        label: class name.
        start: seconds or frames, as its recording says.
        end: where it ends, exclusive; equal to the start for a point event, `TO_THE_END` where it
            lasts to the end of the recording, None where an end is missing.
        subject: whom it is about, such as an animal; empty where the format or the person says nothing.
        score: how sure a model is, 0 to 1; None for what a person marked.
    """

    label: str
    start: float
    end: float | None
    subject: str = ""
    score: float | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"{self.label!r} ends at {self.end:g}, before its start at {self.start:g}")


@dataclass(frozen=True)
class Recording:
    """The spans of one video.

    Attributes:
        media: the video as the file names it: a path, an address, or a name without a suffix.
        spans: in no certain order.
        in_frames: starts and ends are numbers of frames, counted from 0.
        split: train, val or test, as the file says it; None where it says nothing.
        num_frames: of the video, where the file has a row for each; None otherwise.
    """

    media: str
    spans: tuple[Span, ...]
    in_frames: bool = False
    split: str | None = None
    num_frames: int | None = None


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file.

    Attributes:
        form: name of the format, for messages.
        recordings: at least one; a video may occur more than once.
        notes: a sentence on each kind of thing that was passed over or guessed.
    """

    form: str
    recordings: tuple[Recording, ...]
    notes: list[str] = field(default_factory=list)


def frame_runs(label: str, frames: Iterable[int]) -> Iterator[Span]:
    """Yield a span for each run of consecutive frames.

    Args:
        label: class name.
        frames: numbers of the frames that have it, ascending.
    """
    start = end = -1
    for frame in frames:
        if frame != end:
            if end > start:
                yield Span(label, start, end)
            start = frame
        end = frame + 1
    if end > start:
        yield Span(label, start, end)


def name_counts(names: Iterable[str], limit: int = 8) -> str:
    """Return names with how often each occurs, the most frequent first, as text."""
    counts = Counter(names).most_common()
    told = ", ".join(f"{name or 'without a name'} {count}" for name, count in counts[:limit])
    return told + (f" and {len(counts) - limit} more" if len(counts) > limit else "")
