"""Subjects of videos: who is in the picture when, and the window that is cut out around each.

boxes     aaaaaaaaaa..aaaaaa..........aaaaa      a short gap is filled, in a long one nobody is there
present   |----------------|          |---|      nothing is learnt or answered outside of this

Shape suffix: N boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from vidcli.arrays import Float64
from vidcli.config import ClipConfig, SubjectConfig
from vidcli.data.background import Stretches, common, is_recording
from vidcli.data.boxes.box_files import BoxPlace, find_boxes, require_one_video, tracks_of
from vidcli.data.boxes.tracked import Track
from vidcli.data.items import Seen, VideoItem, name_few, name_some
from vidcli.data.video_table import VideoTable
from vidcli.errors import DataError, VideoError
from vidcli.transforms import ClipTransform
from vidcli.transforms.subject_window import SubjectWindow
from vidcli.video import probe

ONLY = "subject"
"""The name of the subject of a video, where its boxes have none."""
_LEAST_SECONDS = 0.1
"""The shortest span that is left of a row."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject of one video.

    Attributes:
        times_N: of its boxes, in seconds from the first frame, ascending.
        boxes_N4: left, top, width and height in pixels, inside of the picture.
        present: when it is in the picture.
        num_cut: boxes that reached beyond the picture.
    """

    times_N: Float64
    boxes_N4: Float64
    present: Stretches
    num_cut: int


def subjects_of(video: Path, settings: SubjectConfig) -> dict[str, Subject]:
    """Return the subjects of a video by their names; boxes without one are of `ONLY`.

    Args:
        video: path of the video.
        settings: where the boxes are, and which gaps are filled.

    Raises:
        DataError: the boxes cannot be read.
        VideoError: the video cannot be opened.
    """
    if settings.boxes is None:
        return {}
    return _subjects_of(find_boxes(settings.boxes), video, settings.gap_seconds)


@lru_cache(maxsize=1024)
def _subjects_of(place: BoxPlace, video: Path, gap_seconds: float) -> dict[str, Subject]:
    file, tracks = tracks_of(place, video)
    if not tracks:
        return {}
    info = probe(video)
    if info.fps is None and any(track.in_frames for track in tracks):
        raise DataError(
            f"{file}: counts frames, and {video} states no frame rate; expected boxes with a column time"
        )
    height, width = info.upright_size
    return {
        track.name or ONLY: _subject(track, info.fps or 1.0, height, width, gap_seconds) for track in tracks
    }


def _subject(track: Track, fps: float, height: int, width: int, gap_seconds: float) -> Subject:
    times_N = track.places_N / fps if track.in_frames else track.places_N
    ends_N4 = np.concatenate([track.boxes_N4[:, :2], track.boxes_N4[:, :2] + track.boxes_N4[:, 2:]], axis=1)
    inside_N4 = np.clip(ends_N4, 0, [width, height, width, height])
    boxes_N4 = np.concatenate([inside_N4[:, :2], inside_N4[:, 2:] - inside_N4[:, :2]], axis=1)
    usual = float(np.median(np.diff(times_N))) if len(times_N) > 1 else 1 / fps
    breaks = np.flatnonzero(np.diff(times_N) > gap_seconds + usual) + 1
    lasts = min(usual, gap_seconds or usual)
    present = [(float(part[0]), float(part[-1]) + lasts) for part in np.split(times_N, breaks)]
    return Subject(times_N, boxes_N4, present, int((inside_N4 != ends_N4).any(axis=1).sum()))


def find_subject(item: VideoItem, settings: SubjectConfig) -> Subject | None:
    """Return the subject that an item is about; None where it is about a whole picture or a fixed part of it.

    Raises:
        DataError: boxes are named, and have none of this name.
        VideoError: the video cannot be opened.
    """
    if item.track is None or item.box is not None or settings.boxes is None:
        return None
    found = subjects_of(item.path, settings)
    if item.track in found:
        return found[item.track]
    if set(found) == {ONLY}:  # a tracker of one animal gives it no name
        return found[ONLY]
    there = f"there is {', '.join(sorted(found))}" if found else "there are none of this video"
    raise DataError(f"{settings.boxes}: no boxes of {item.track!r} in {item.path}; {there}")


def present_of(item: VideoItem, settings: SubjectConfig) -> Stretches | None:
    """Return when the subject of an item is in the picture; None for always."""
    found = find_subject(item, settings)
    return None if found is None else found.present


def window_of(item: VideoItem, settings: SubjectConfig, clip: ClipConfig) -> SubjectWindow | None:
    """Return the window that is cut out of the frames of an item; None for none.

    Args:
        item: a video, or a span of one.
        settings: of subjects.
        clip: proportions and size of frames.

    Raises:
        DataError: the boxes of its subject are not there.
        VideoError: the video cannot be opened.
    """
    if item.box is not None:
        return SubjectWindow(np.zeros(1), np.array([item.box]), ClipTransform(clip), 1.0, 0.0)
    found = find_subject(item, settings)
    return None if found is None else _window_of(found, settings, clip)


@lru_cache(maxsize=256)
def _window_of(subject: Subject, settings: SubjectConfig, clip: ClipConfig) -> SubjectWindow:
    transform = ClipTransform(clip)
    return SubjectWindow(
        subject.times_N, subject.boxes_N4, transform, settings.margin, settings.smooth_seconds
    )


def settle_subjects(
    items: Sequence[VideoItem], settings: SubjectConfig, tell: Callable[[str], None]
) -> Sequence[VideoItem]:
    """Return rows that each are about one subject, cut to when it is in the picture.

    Args:
        items: rows of a data set.
        settings: of subjects.
        tell: takes a sentence on what was changed.

    Raises:
        DataError: a row does not say which of several subjects it is about, or there are no boxes of it.
    """
    if settings.boxes is None:
        return _without_tracks(items, tell)
    require_one_video(find_boxes(settings.boxes), (item.path for item in items))
    settled: list[VideoItem] = []
    faults: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    known: dict[Seen, tuple[str | None, Subject | None] | DataError] = {}
    for item in items:
        if item.seen not in known:
            known[item.seen] = _subject_of_row(item, settings)
        found = known[item.seen]
        if isinstance(found, DataError):
            faults[str(found)] += 1
            continue
        track, subject = found
        named = item if track == item.track else replace(item, track=track)
        rows = [named] if subject is None else _while_present(named, subject.present)
        counts["lost"] += not rows
        counts["cut"] += bool(rows) and rows != [named]
        settled += rows
    if faults:
        raise DataError(name_some([f"{text} ({count} rows)" for text, count in faults.items()]))
    subjects = {
        (seen[0], found[0]): found[1] for seen, found in known.items() if not isinstance(found, DataError)
    }
    for text in _tell(subjects, counts, settings):
        tell(text)
    if not settled:
        raise DataError(f"{settings.boxes}: in no labelled row is its subject in the picture")
    return settled


def _without_tracks(items: Sequence[VideoItem], tell: Callable[[str], None]) -> Sequence[VideoItem]:
    if isinstance(items, VideoTable) and items.tracks is None:
        return items
    tracked = [item.track for item in items if item.track is not None and item.box is None]
    if not tracked:
        return items
    tell(
        f"{len(tracked)} rows name a track ({name_few(sorted(set(map(str, tracked))))}) and have no box, so "
        "that whole pictures are seen; --boxes FILE cuts a window around each subject"
    )
    return [item if item.box is not None else replace(item, track=None) for item in items]


def _subject_of_row(
    item: VideoItem, settings: SubjectConfig
) -> tuple[str | None, Subject | None] | DataError:
    """Return the track that a row is about and the subject, or what is wrong."""
    try:
        named = _named(item, settings)
        return named.track, find_subject(named, settings)
    except DataError as error:
        return error
    except VideoError:  # named where it is decoded
        return item.track, None


def _named(item: VideoItem, settings: SubjectConfig) -> VideoItem:
    """Return an item with the only subject of its video where it names none.

    Raises:
        DataError: there is no subject, or several.
    """
    if item.track is not None or item.box is not None:
        return item
    found = sorted(subjects_of(item.path, settings))
    if len(found) == 1:
        return replace(item, track=found[0])
    if not found:
        raise DataError(f"{settings.boxes}: there are no boxes of {item.path}")
    raise DataError(
        f"{item.path}: a row does not say which of {len(found)} subjects it is about "
        f"({', '.join(found[:8])}); name it in the column track"
    )


def _while_present(item: VideoItem, present: Stretches) -> list[VideoItem]:
    """Return the parts of a span at which its subject is there; a whole video stays whole."""
    if not is_recording([item]):
        return [item]
    end = float("inf") if item.end_seconds is None else item.end_seconds
    parts = common([(item.start_seconds, end)], present)
    if parts == [(item.start_seconds, end)]:
        return [item]
    return [
        replace(item, start_seconds=round(start, 6), end_seconds=round(until, 6))
        for start, until in parts
        if until - start >= min(_LEAST_SECONDS, end - item.start_seconds)
    ]


def _tell(
    subjects: dict[tuple[Path, str | None], Subject | None], counts: Counter[str], settings: SubjectConfig
) -> list[str]:
    known = [subject for subject in subjects.values() if subject is not None]
    gaps = [
        later[0] - former[1]
        for subject in known
        for former, later in zip(subject.present, subject.present[1:], strict=False)
    ]
    told = [f"windows are cut around {len(known)} subjects of {len({path for path, _ in subjects})} videos"]
    if gaps:
        told[0] += (
            f"; in {len(gaps)} gaps of {sum(gaps):.0f} s in all, longer than subject.gap_seconds="
            f"{settings.gap_seconds:g}, they are taken to be away"
        )
    if num_cut := sum(subject.num_cut for subject in known):
        told.append(f"{num_cut} boxes reach beyond the picture and are cut at its border")
    if counts["lost"] or counts["cut"]:
        told.append(
            f"{counts['lost']} labelled spans are left out and {counts['cut']} shortened: their subject has "
            "no box then"
        )
    return told


def expand_subjects(
    items: Sequence[VideoItem], settings: SubjectConfig, only: str | None = None
) -> list[VideoItem]:
    """Return an item for each subject of each video that names none.

    Args:
        items: videos, as a command line names them.
        settings: of subjects; boxes are named.
        only: take this subject and no other.

    Raises:
        DataError: there are no boxes of a video, or none of that subject.
    """
    assert settings.boxes is not None
    require_one_video(find_boxes(settings.boxes), (item.path for item in items))
    expanded: list[VideoItem] = []
    seen: set[str] = set()
    for item in items:
        if item.track is not None or item.box is not None:
            expanded.append(item)
            continue
        try:
            names = sorted(subjects_of(item.path, settings))
        except VideoError:  # named where it is decoded
            expanded.append(item)
            continue
        if not names:
            raise DataError(f"{settings.boxes}: there are no boxes of {item.path}")
        seen.update(names)
        expanded += [replace(item, track=name) for name in names if only in (None, name)]
    if only is not None and only not in seen:
        raise DataError(f"{settings.boxes}: no boxes of {only!r}; there is {', '.join(sorted(seen)[:8])}")
    return expanded
