"""Labelled spans of recordings, cut into clips of one length to learn from.

    span                  ----aaaaaaaaaaaaaa-----b----      a clip is as long as 6 characters
    across borders       [.....]                            of the class of its middle: `a` from its first
                             [.....]                        moment on, and `b`, however short
                                 [.....] [.....]
    inside                    [....][....]      b           a shorter span is a clip by itself

Of the clips that could be cut, as many of each class are taken as of every other, as far as there are, and of
those of a class as many of each recording. What is taken is spread evenly over all there is.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from vidcli.config import ClipConfig, Config
from vidcli.data.background import rows_by_subject
from vidcli.data.items import LABEL_SEPARATOR, Seen, VideoItem
from vidcli.errors import ConfigError, VideoError
from vidcli.video import probe

Key = TypeVar("Key", bound=Hashable)

_STEPS_A_CLIP = 8
_VAL_SHARE = 4  # validation clips are at most this part of the training clips
_NUM_TOLD = 12


def clip_seconds(clip: ClipConfig) -> float:
    """Return how many seconds a dense clip spans."""
    return clip.length * clip.stride_seconds


def require_dense(config: Config) -> None:
    """Refuse to cut spans into clips that have no length of their own.

    Raises:
        ConfigError: `clip.sampling` takes whole videos.
    """
    if config.data.clips_per_span > 1 and config.clip.sampling != "dense":
        raise ConfigError(
            f"data.clips_per_span={config.data.clips_per_span}: with clip.sampling={config.clip.sampling} a "
            "clip is as long as its span; set clip.sampling=dense, so that clip.length and "
            "clip.stride_seconds say how long it is"
        )


def cut_spans(items: Sequence[VideoItem], config: Config) -> tuple[list[VideoItem], list[str]]:
    """Return the clips to train and validate on, the test spans as they are, and a sentence on the clips.

    Args:
        items: spans, each with its split.
        config: length of a clip, and how many are cut.
    """
    data = config.data
    cut: list[VideoItem] = []
    notes: list[str] = []
    for split, most in (("train", data.max_clips), ("val", max(2, data.max_clips // _VAL_SHARE))):
        spans = [item for item in items if item.split == split]
        if not spans:
            continue
        possible = _all_clips(spans, config)
        chosen = choose_evenly(possible, most, data.background, data.background_share)
        cut += chosen
        notes.append(_describe(split, spans, possible, chosen, config))
    return cut + [item for item in items if item.split not in ("train", "val")], notes


def _all_clips(spans: Sequence[VideoItem], config: Config) -> list[VideoItem]:
    """Return all clips that the spans give, in the order of videos and times, each place once."""
    found: dict[tuple[Seen, float], VideoItem] = {}
    for seen, rows in rows_by_subject(spans).items():
        duration = _duration_of(seen[0], rows)
        for row in sorted(rows, key=lambda row: row.start_seconds):
            for clip in _clips_of(row, duration, config):
                found.setdefault((seen, clip.start_seconds), clip)
    return list(found.values())


def _duration_of(path: Path, rows: Sequence[VideoItem]) -> float:
    try:
        return probe(path).duration_seconds
    except VideoError:  # named where it is decoded
        return max(row.end_seconds or row.start_seconds for row in rows)


def _clips_of(span: VideoItem, duration: float, config: Config) -> list[VideoItem]:
    """Return the clips of one span; they start on the grid of frames, which neighbours share."""
    data, spacing, length = config.data, config.clip.stride_seconds, clip_seconds(config.clip)
    first, last = span.start_seconds, min(span.end_seconds or duration, duration)
    if last <= first or (not data.across_borders and last - first <= length):
        return [span]
    if data.across_borders:  # the middles lie in the span
        first, last = first - length / 2, last - length / 2
    else:
        last -= length
    room = last - first
    step = data.clip_step_seconds or length / _STEPS_A_CLIP
    count = max(1, min(data.clips_per_span, round(room / step)))
    starts = first + (np.arange(count) + 0.5) / count * room
    latest = max(0.0, np.floor((duration - length) / spacing + 1e-6) * spacing)
    # Rounded up from halves: to even numbers, neighbours would be the same.
    snapped = np.clip(np.floor(starts / spacing + 0.5) * spacing, 0, latest)
    if not data.across_borders:
        snapped = np.clip(snapped, first, last)
    return [
        replace(span, start_seconds=round(float(start), 6), end_seconds=round(float(start) + length, 6))
        for start in snapped
    ]


def choose_evenly(
    clips: Sequence[VideoItem], most: int, background: str | None, background_share: float
) -> list[VideoItem]:
    """Return at most so many clips, as many of each class and of each recording of it as there are.

    Args:
        clips: in order.
        most: how many to take.
        background: a class that has a share of its own; None where there is none.
        background_share: of that class.
    """
    places: dict[str, dict[Path, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, clip in enumerate(clips):
        places[clip.label][clip.path].append(place)
    sizes = {label: sum(map(len, of.values())) for label, of in places.items()}
    num_background = sizes.pop(background, 0) if background is not None else 0
    most_of_others = round(most * (1 - background_share)) if num_background else most
    quotas = share_out(sizes, most_of_others)
    if background is not None and num_background:
        wanted = round(sum(quotas.values()) * background_share / (1 - background_share)) or most
        quotas[background] = min(num_background, wanted)
    taken: list[int] = []
    for label, quota in quotas.items():
        of_recordings = places[label]
        for path, number in share_out({path: len(of) for path, of in of_recordings.items()}, quota).items():
            of = of_recordings[path]
            taken += [of[int(k)] for k in (np.arange(number) + 0.5) / max(1, number) * len(of)]
    return [clips[place] for place in sorted(taken)]


def share_out(sizes: Mapping[Key, int], total: int) -> dict[Key, int]:
    """Return how many each gets of a total: the same, except where that is more than its size.

    Args:
        sizes: the most that each can get.
        total: what there is.
    """
    shares: dict[Key, int] = {}
    for number, key in enumerate(sorted(sizes, key=lambda key: sizes[key])):
        shares[key] = min(sizes[key], total // (len(sizes) - number))
        total -= shares[key]
    return shares


def _describe(
    split: str,
    spans: Sequence[VideoItem],
    possible: Sequence[VideoItem],
    chosen: Sequence[VideoItem],
    config: Config,
) -> str:
    data = config.data
    counts = Counter(clip.label for clip in chosen)
    named = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())[:_NUM_TOLD])
    more = ", …" if len(counts) > _NUM_TOLD else ""
    num_videos = len({span.path for span in spans})
    left = f" of {len(possible)} that there could be" if len(chosen) < len(possible) else ""
    step = data.clip_step_seconds or clip_seconds(config.clip) / _STEPS_A_CLIP
    sight = "across borders" if data.across_borders else "inside of spans"
    return (
        f"{split}: {len(chosen)} clips{left}, of {clip_seconds(config.clip):.3g} s, {sight}, from "
        f"{len(spans)} spans of {num_videos} recordings; one every {step:.2g} s, at most "
        f"{data.clips_per_span} a span ({named}{more})"
    )


def group_clips(items: Sequence[VideoItem], most_seconds: float) -> list[list[int]]:
    """Return the places of clips of one subject that lie close together in one recording, by their starts.

    Between neighbours of a group lies no more than they last.

    Args:
        items: clips, all of which have an end.
        most_seconds: from the start of a group's first clip to the end of its last, unless one is longer.
    """
    groups: list[list[int]] = []
    order = sorted(range(len(items)), key=lambda place: (str(items[place].seen), items[place].start_seconds))
    for place in order:
        clip = items[place]
        if groups and items[groups[-1][0]].seen == clip.seen:
            first, last = items[groups[-1][0]], items[groups[-1][-1]]
            is_near = clip.start_seconds - _end(last) <= _end(clip) - clip.start_seconds
            if is_near and _end(clip) - first.start_seconds <= most_seconds:
                groups[-1].append(place)
                continue
        groups.append([place])
    return groups


def overlapping(items: Sequence[VideoItem]) -> tuple[VideoItem, VideoItem] | None:
    """Return two rows of one subject with different labels that overlap; None where there are none."""
    for rows in rows_by_subject(items).values():
        last: VideoItem | None = None
        for row in sorted(rows, key=lambda row: row.start_seconds):
            if last is not None and row.start_seconds < _end(last) and row.label != last.label:
                return last, row
            if last is None or _end(row) > _end(last):
                last = row
    return None


def join_overlaps(items: Sequence[VideoItem]) -> list[VideoItem]:
    """Return rows of which none overlap, each with all labels of its time and `|` between them."""
    joined: list[VideoItem] = []
    for rows in rows_by_subject(items).values():
        edges = sorted({edge for row in rows for edge in (row.start_seconds, _end(row))})
        cut: list[VideoItem] = []
        for start, end in pairwise(edges):
            there = [row for row in rows if row.start_seconds <= start and _end(row) >= end]
            if not there:
                continue
            label = LABEL_SEPARATOR.join(sorted({row.label for row in there}))
            if cut and cut[-1].label == label and cut[-1].end_seconds == start:
                start = cut.pop().start_seconds
            until = None if math.isinf(end) else end
            cut.append(replace(there[0], label=label, start_seconds=start, end_seconds=until))
        joined += cut
    return joined


def _end(row: VideoItem) -> float:
    return math.inf if row.end_seconds is None else row.end_seconds
