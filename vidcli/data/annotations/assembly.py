"""From annotation files and videos to the rows of a manifest, with a sentence on all that was not plain."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from vidcli.data.annotations.media import MediaFolder
from vidcli.data.annotations.spans import TO_THE_END, Annotations, Recording, Span, name_counts
from vidcli.data.items import LABEL_SEPARATOR, VideoItem, name_few, name_some
from vidcli.errors import DataError
from vidcli.video import VideoInfo, probe

GROUPS = ("recording", "folder", "subject")
_NUM_TOLD = 3
_FRAMES_APART = 2
"""How many frames a table and its video may differ by: programs count the last ones in their own ways."""


class AssemblyOptions(NamedTuple):
    """What a person chose for the rows of a manifest.

    Attributes:
        fps: frames a second by which numbers of frames become seconds; None is that of each video.
        point_seconds: length of the span around a moment; None leaves moments out.
        background: label of what no span covers; None leaves it out.
        subject: take only what is about this one.
        multi_label: cut spans that overlap, so that each row has all labels of its time.
        group: of `GROUPS`, what must not part between splits.
        tracks: each subject has rows of its own, which name it as their track.
    """

    fps: float | None = None
    point_seconds: float | None = None
    background: str | None = None
    subject: str | None = None
    multi_label: bool = False
    group: str = "recording"
    tracks: bool = False


@dataclass
class Assembly:
    """The rows of a manifest.

    Attributes:
        items: in the order of videos and starts.
        notes: a sentence on each kind of thing that was left out, changed or guessed.
        missing: a sentence on each recording whose video was not found.
    """

    items: list[VideoItem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass
class _Video:
    """A video and what is marked in it, in seconds.

    Attributes:
        spans: with a label and a length.
        unknown: from where to where it is not known what happens.
        subjects: whom its spans are about.
        splits: that the files say.
    """

    info: VideoInfo
    spans: list[Span] = field(default_factory=list)
    unknown: list[tuple[float, float]] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)


def assemble(files: Mapping[Path, Annotations], media: MediaFolder, options: AssemblyOptions) -> Assembly:
    """Return the rows of a manifest.

    Args:
        files: what annotation files hold.
        media: the videos.
        options: what a person chose.

    Raises:
        DataError: a name means several videos, or no span is left, or rows would contradict each other.
        VideoError: a video cannot be opened.
    """
    made = Assembly(notes=_tell_files(files))
    videos = _gather(files, media, options, made)
    made.notes += _tell_subjects(videos.values(), options)
    splits = _usable_splits(videos, made.notes)
    groups = _groups(videos, options.group)
    told: dict[str, list[str]] = defaultdict(list)
    for path, video in sorted(videos.items()):
        about = _by_subject(video) if options.tracks else {None: video}
        for track, part in about.items():
            for span in _rows(path, part, options, told):
                end = None if span.end == TO_THE_END else span.end
                made.items.append(
                    VideoItem(
                        path, span.label, splits.get(path), groups[path], span.start, end, track=track or None
                    )
                )
    for texts in told.values():
        rest = f"; and so in {len(texts) - _NUM_TOLD} more videos" if len(texts) > _NUM_TOLD else ""
        *shown, last = texts[:_NUM_TOLD]
        made.notes += [*shown, last + rest]
    if not made.items:
        raise DataError(name_some(["no labelled span of a video is left", *made.missing, *made.notes]))
    return made


def _gather(
    files: Mapping[Path, Annotations], media: MediaFolder, options: AssemblyOptions, made: Assembly
) -> dict[Path, _Video]:
    """Return the videos with their spans; what is missing or was changed is added to `made`.

    Raises:
        DataError: a name means several videos, or a file does not fit its video.
        VideoError: a video cannot be opened.
    """
    faults: list[str] = []
    videos: dict[Path, _Video] = {}
    left_out: dict[str, list[str]] = defaultdict(list)
    rates: set[float] = set()
    for file, content in files.items():
        for recording in content.recordings:
            found = media.find(recording.media)
            if len(found) > 1:
                faults.append(f"{file.name}: {recording.media} can be {name_few(found)}; keep one in --media")
            elif not found:
                num_spans = len(recording.spans)
                made.missing.append(f"{file.name}: no video for {recording.media} ({num_spans} spans)")
            else:
                video = videos[found[0]] = videos.get(found[0]) or _Video(probe(found[0]))
                video.splits |= {recording.split} if recording.split else set()
                rate = _rate(recording, video.info, options.fps) if recording.in_frames else None
                if rate is not None:
                    rates.add(rate)
                    _check_frames(recording, found[0], video.info, rate, faults)
                for span in recording.spans:
                    _add(video, _in_seconds(span, rate or 1.0), options, left_out)
    faults += [
        f"{path}: is in {' and '.join(sorted(video.splits))} at once, and one video cannot part"
        for path, video in videos.items()
        if len(video.splits) > 1
    ]
    if faults:
        raise DataError(name_some(faults))
    if rates:
        read = ", ".join(f"{rate:g}" for rate in sorted(rates))
        made.notes.append(f"numbers of frames were read at {read} frames a second; --fps changes that")
    for text, names in left_out.items():
        made.notes.append(f"{len(names)} spans {text}: {name_counts(names)}")
    return videos


def _tell_files(files: Mapping[Path, Annotations]) -> list[str]:
    """Return each note on a file once, with the names of the files that it is about."""
    names: dict[str, list[str]] = defaultdict(list)
    for file, content in files.items():
        for note in content.notes:
            names[note].append(file.name)
    return [f"{name_few(about)}: {note}" for note, about in names.items()]


def _rate(recording: Recording, info: VideoInfo, wanted: float | None) -> float:
    rate = wanted or info.fps
    if rate is None:
        raise DataError(f"{recording.media}: the video states no frame rate; give it with --fps")
    return rate


def _check_frames(recording: Recording, path: Path, info: VideoInfo, rate: float, faults: list[str]) -> None:
    """Add a fault where a table with a row for every frame does not fit its video."""
    if recording.num_frames is None:
        return
    num_frames = info.num_frames or round(info.duration_seconds * rate)
    if abs(recording.num_frames - num_frames) > max(_FRAMES_APART, 0.001 * num_frames):
        faults.append(
            f"{recording.media}: labels for {recording.num_frames} frames, and {path} has {num_frames}; give "
            "the table of this video"
        )


def _in_seconds(span: Span, rate: float) -> Span:
    end = span.end if span.end is None else round(span.end / rate, 6)
    return Span(span.label, round(span.start / rate, 6), end, span.subject, span.score)


def _add(video: _Video, span: Span, options: AssemblyOptions, left_out: dict[str, list[str]]) -> None:
    """Add a span to what is marked in a video, or count why it is not."""
    if span.subject:
        video.subjects.add(span.subject)
    duration = video.info.duration_seconds
    if options.subject is not None and span.subject != options.subject:
        return
    if span.start >= duration and duration:
        left_out["start behind the end of their video and are left out"].append(span.label)
        return
    if span.end is None:
        left_out["have no end and are left out"].append(span.label)
        video.unknown.append((span.start, duration))
        return
    start, end = span.start, span.end
    if end == start:
        if options.point_seconds is None:
            left_out["are moments and are left out; --point-seconds S makes spans of them"].append(span.label)
            return
        start, end = start - options.point_seconds / 2, start + options.point_seconds / 2
    if end != TO_THE_END and end > duration + _FRAMES_APART * video.info.period_seconds:
        left_out["end behind the end of their video and are cut there"].append(span.label)
    if start < 0 and span.end != span.start:
        left_out["start before their video and are cut there"].append(span.label)
    end = TO_THE_END if end > duration else end
    if end <= 0:
        left_out["end before the start of their video and are left out"].append(span.label)
        return
    video.spans.append(Span(span.label, max(0.0, round(start, 6)), round(end, 6), span.subject))


def _by_subject(video: _Video) -> dict[str | None, _Video]:
    """Return what is marked about each subject of a video; the name of nobody is empty."""
    spans: dict[str | None, list[Span]] = defaultdict(list)
    for span in video.spans:
        spans[span.subject].append(span)
    return {name: replace(video, spans=of, subjects={name or ""}) for name, of in sorted(spans.items())}


def _tell_subjects(videos: Iterable[_Video], options: AssemblyOptions) -> list[str]:
    subject = options.subject
    subjects = sorted({name for video in videos for name in video.subjects})
    if subject is not None and subject not in subjects:
        there = f"there is {', '.join(subjects[:8])}" if subjects else "the files name none"
        raise DataError(f"--subject {subject}: nothing is about this one; {there}")
    if subject is None and len(subjects) > 1 and not options.tracks:
        told = ", ".join(subjects[:8]) + (", …" if len(subjects) > 8 else "")
        way_on = "--subject NAME takes one, --tracks gives each rows of its own"
        return [f"{len(subjects)} subjects ({told}) are taken together; {way_on}"]
    return []


def _usable_splits(videos: Mapping[Path, _Video], notes: list[str]) -> dict[Path, str]:
    """Return the splits that the files say, if they say one for every video."""
    splits = {path: next(iter(video.splits)) for path, video in videos.items() if video.splits}
    if 0 < len(splits) < len(videos):
        num_without = len(videos) - len(splits)
        notes.append(
            f"{num_without} of {len(videos)} videos have no split, so that those of others are left out"
        )
        return {}
    return splits


def _groups(videos: Mapping[Path, _Video], kind: str) -> dict[Path, str]:
    """Return the group of each video."""
    if kind == "folder":
        return {path: path.absolute().parent.name for path in videos}
    if kind == "subject":
        for path, video in videos.items():
            if len(video.subjects) != 1:
                raise DataError(
                    f"--group subject: {path} has {len(video.subjects)} subjects, and one video cannot part; "
                    "choose --group recording"
                )
        return {path: next(iter(video.subjects)) for path, video in videos.items()}
    counts = Counter(path.stem for path in videos)
    return {path: path.stem if counts[path.stem] == 1 else str(path.with_suffix("")) for path in videos}


def _rows(path: Path, video: _Video, options: AssemblyOptions, told: dict[str, list[str]]) -> list[Span]:
    """Return the spans of one video, as the rows of a manifest hold them."""
    spans = sorted({Span(one.label, one.start, one.end) for one in video.spans}, key=_order)
    if len(spans) < len(video.spans):
        num_twice = len(video.spans) - len(spans)
        told["twice"].append(f"{path.name}: {num_twice} spans are there twice, and taken once")
    overlapping = list(_overlaps(spans))
    if options.multi_label:
        spans = _cut_overlaps(spans)
    elif overlapping:
        same = [pair for pair in overlapping if _order(pair[0])[:2] == _order(pair[1])[:2]]
        one, other = (same or overlapping)[0]
        such = f"{one.label} and {other.label} at {other.start:g} s"
        text = f"{path.name}: {len(overlapping)} spans overlap, such as {such}"
        if same:
            raise DataError(f"{text}, which are the same span; --multi-label gives it both labels")
        told["overlap"].append(f"{text}; --multi-label cuts them into rows with all labels of their time")
    # Of a video that is about others it is not known what this subject does in it.
    is_about = options.subject is None or options.subject in video.subjects
    if options.background is not None and is_about:
        spans = sorted([*spans, *_gaps(spans, video, options.background)], key=_order)
    return spans


def _overlaps(spans: Sequence[Span]) -> Iterator[tuple[Span, Span]]:
    """Yield each span that begins before an earlier one ends, after that one."""
    last: Span | None = None
    for span in spans:
        if last is not None and span.start < (last.end or 0.0):
            yield last, span
        if last is None or (span.end or 0.0) > (last.end or 0.0):
            last = span


def _order(span: Span) -> tuple[float, float, str]:
    return span.start, math.inf if span.end is None else span.end, span.label


def _cut_overlaps(spans: Sequence[Span]) -> list[Span]:
    """Return spans that do not overlap, each with all labels of its time; equal neighbours are one."""
    edges = sorted({edge for span in spans for edge in (span.start, span.end or 0.0)})
    cut: list[Span] = []
    opened: list[Span] = []
    waiting = list(reversed(spans))
    for start, end in itertools.pairwise(edges):
        while waiting and waiting[-1].start <= start:
            opened.append(waiting.pop())
        opened = [span for span in opened if span.end is not None and span.end > start]
        label = LABEL_SEPARATOR.join(sorted({span.label for span in opened}))
        if label and cut and cut[-1].label == label and cut[-1].end == start:
            cut[-1] = Span(label, cut[-1].start, end)
        elif label:
            cut.append(Span(label, start, end))
    return cut


def _gaps(spans: Sequence[Span], video: _Video, label: str) -> Iterator[Span]:
    """Yield what no span covers, and of which it is known what happens; slivers below a frame are left."""
    duration, sliver = video.info.duration_seconds, video.info.period_seconds
    covered = sorted([(span.start, min(span.end or 0.0, duration)) for span in spans] + video.unknown)
    last = 0.0
    for start, end in [*covered, (duration, duration)]:
        if start - last >= sliver:
            yield Span(label, last, TO_THE_END if start == duration else start)
        last = max(last, end)
