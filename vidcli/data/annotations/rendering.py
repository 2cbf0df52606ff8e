"""Labelled spans in the formats that other programs open, for a person to correct them there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidcli.data.annotations.boris_project import boris_project_text
from vidcli.data.annotations.boris_tables import boris_events_text
from vidcli.data.annotations.cvat import cvat_text
from vidcli.data.annotations.elan import elan_text
from vidcli.data.annotations.event_table import event_table_text
from vidcli.data.annotations.label_studio import label_studio_text
from vidcli.data.annotations.media import MediaFolder, parts_of
from vidcli.data.annotations.spans import TO_THE_END, Annotations, Recording, Span
from vidcli.data.annotations.via import via_text
from vidcli.data.items import name_few
from vidcli.errors import DataError
from vidcli.video import VideoInfo, probe

SUFFIXES: Mapping[str, str] = {
    "boris": ".boris",
    "boris-events": ".csv",
    "elan": ".eaf",
    "label-studio": ".json",
    "cvat": ".xml",
    "via": ".json",
    "csv": ".csv",
}
"""The suffix of a file of each format."""
ONE_VIDEO_A_FILE = ("elan", "cvat")


@dataclass(frozen=True)
class LabelledVideo:
    """A video with its spans.

    Attributes:
        recording: in seconds, each span with an end; its medium is the path of the video if it was found.
        info: of the video; None where it was not found.
        rate: frames a second; None where they are not known.
    """

    recording: Recording
    info: VideoInfo | None
    rate: float | None

    @property
    def seconds(self) -> float:
        """Length of the video, as far as it is known."""
        ends = [span.end or 0.0 for span in self.recording.spans]
        return self.info.duration_seconds if self.info else max(ends, default=0.0)


def gather_videos(
    contents: Iterable[Annotations], media: MediaFolder | None, fps: float | None
) -> list[LabelledVideo]:
    """Return the videos of annotation files, each once with all its spans, in the order of their names.

    Args:
        contents: of the files.
        media: where the videos are; None takes those that are where the files say.
        fps: frames a second; None is that of each video.

    Raises:
        DataError: a name means several videos, or something is missing that spans need.
        VideoError: a video cannot be opened.
    """
    named: dict[str, list[Recording]] = defaultdict(list)
    for content in contents:
        for recording in content.recordings:
            named[_place(recording.media, media)].append(recording)
    videos = []
    for name, recordings in sorted(named.items()):
        info = probe(name) if Path(name).is_file() else None
        rate = fps or (info.fps if info else None)
        spans = [span for one in recordings for span in _spans_in_seconds(one, info, rate)]
        spans.sort(key=lambda span: (span.start, span.end or 0.0, span.label))
        videos.append(LabelledVideo(Recording(name, tuple(spans)), info, rate))
    return videos


def _place(name: str, media: MediaFolder | None) -> str:
    """Return the path of a video, or its name where it is not found."""
    found = [Path(name)] if media is None and Path(name).is_file() else media.find(name) if media else []
    if len(found) > 1:
        raise DataError(f"{name}: can be {name_few(found)}; keep one in --media")
    return found[0].absolute().as_posix() if found else name


def _spans_in_seconds(recording: Recording, info: VideoInfo | None, rate: float | None) -> list[Span]:
    if recording.in_frames and rate is None:
        raise DataError(
            f"{recording.media}: is labelled by frames, and its rate is not known; give --media or --fps"
        )
    factor = rate if recording.in_frames and rate else 1.0
    spans = []
    for span in recording.spans:
        end = (info.duration_seconds if info else None) if span.end == TO_THE_END else span.end
        if end is None:
            raise DataError(
                f"{recording.media}: {span.label!r} at {span.start:g} has no end; give --media, or correct it"
            )
        end = end if span.end == TO_THE_END else round(end / factor, 6)
        spans.append(Span(span.label, round(span.start / factor, 6), end, span.subject, span.score))
    return spans


def render_labels(form: str, videos: Sequence[LabelledVideo]) -> str:
    """Return the text of one file; `read_annotations` reads it back.

    Times are kept as finely as a format can: milliseconds, or frames in Label Studio and CVAT. Subjects are
    kept in BORIS, ELAN and CSV, scores in BORIS (as a comment), Label Studio and CSV.

    Args:
        form: of `SUFFIXES`.
        videos: one, if the format is of `ONE_VIDEO_A_FILE`.

    Raises:
        DataError: the format cannot hold the spans, or needs to know more of a video.
    """
    recordings = [video.recording for video in videos]
    lengths, rates = [video.seconds for video in videos], [video.rate for video in videos]
    writers: Mapping[str, Callable[[], str]] = {
        "boris": lambda: boris_project_text(recordings, lengths, rates),
        "boris-events": lambda: boris_events_text(recordings, lengths, rates),
        "elan": lambda: elan_text(recordings[0]),
        "label-studio": lambda: label_studio_text(recordings, [_need_rate(video) for video in videos]),
        "cvat": lambda: _cvat(videos[0]),
        "via": lambda: via_text(recordings),
        "csv": lambda: event_table_text(recordings),
    }
    try:
        return writers[form]()
    except ValueError as error:
        named = recordings[0].media if len(recordings) == 1 else f"{len(recordings)} videos"
        raise DataError(f"--format {form}: {named}: {error}") from error


def _need_rate(video: LabelledVideo) -> float:
    if video.rate is None:
        raise ValueError(
            f"{video.recording.media} is not there, whose frames are counted; give --media DIR or --fps"
        )
    return video.rate


def _cvat(video: LabelledVideo) -> str:
    if video.info is None:
        raise ValueError("is not there, and CVAT needs the size of its pictures; give --media DIR")
    rate = _need_rate(video)
    num_frames = video.info.num_frames or round(video.info.duration_seconds * rate)
    return cvat_text(video.recording, rate, num_frames, video.info.upright_size)


def file_name(video: LabelledVideo, form: str) -> str:
    """Return the name of a file about one video, where a folder holds one for each."""
    parts = parts_of(video.recording.media)
    return Path(parts[-1] if parts else "video").stem + SUFFIXES[form]
