"""CVAT: exports for videos and images (XML 1.1) and backups of tasks (JSON), read; XML for videos, written.

    track    shapes from frame to frame; a shape with outside=1 ends what began before it
    tag      one frame that has a label; consecutive ones are a span

Where objects stand in a picture does not matter here: a track says when something is to be seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from vidcli.data.annotations.documents import as_frame, as_list, as_mapping, as_text, xml_text
from vidcli.data.annotations.spans import TO_THE_END, Annotations, Recording, Span, frame_runs

FORM = "CVAT annotations"
_SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")


def read_cvat_xml(root: Element, name: str) -> Annotations:
    """Return the spans of an XML export of one task.

    Args:
        root: of the document.
        name: of its file, the video where the document names none.

    Raises:
        ValueError: it is damaged, holds several tasks, or skips frames.
    """
    if root.find("meta/project") is not None:
        raise ValueError(
            "is the export of a project; export its tasks one by one, for their frames to be told apart"
        )
    meta = root.find("meta/task")
    meta = meta if meta is not None else root.find("meta/job")
    media = (
        ""
        if meta is None
        else meta.findtext("source") or root.findtext("meta/source") or meta.findtext("name")
    )
    frame_filter = "" if meta is None else meta.findtext("frame_filter") or ""
    if frame_filter.strip() not in ("", "step=1"):
        raise ValueError(f"leaves out frames ({frame_filter}); expected a task of all frames of its video")
    spans: list[Span] = []
    for number, track in enumerate(root.iter("track")):
        what = f"track {track.get('id', number)}"
        shapes = [shape for shape in track if shape.tag in _SHAPES]
        states = [(as_frame(s.get("frame"), f"{what}, frame"), s.get("outside") == "1") for s in shapes]
        spans += _track_spans(track.get("label", ""), states, is_dense=True)
    tagged: dict[str, set[int]] = defaultdict(set)
    num_pictures = 0
    for image in root.iter("image"):
        frame = as_frame(image.get("id"), "image id")
        num_pictures += sum(child.tag in _SHAPES for child in image)
        for child in image:
            if child.tag in ("tag", *_SHAPES):
                tagged[child.get("label", "")].add(frame)
    for tag in root.findall("tag"):
        tagged[tag.get("label", "")].add(as_frame(tag.get("frame"), "tag frame"))
    spans += [span for label, frames in sorted(tagged.items()) for span in frame_runs(label, sorted(frames))]
    return Annotations(FORM, (Recording(media or name, tuple(spans), in_frames=True),))


def _track_spans(label: str, states: Iterable[tuple[int, bool]], is_dense: bool) -> Iterator[Span]:
    """Yield the spans in which a track is to be seen.

    Args:
        label: of the track.
        states: a frame, and whether the track is outside from there on.
        is_dense: every frame is stated, so that the last one ends the track; else it lasts to the end.
    """
    start: int | None = None
    last = 0
    for frame, is_outside in sorted(states):
        if not is_outside:
            start = frame if start is None else start
        elif start is not None:
            yield Span(label, start, frame)
            start = None
        last = frame
    if start is not None:
        yield Span(label, start, last + 1 if is_dense else TO_THE_END)


def is_cvat_json(value: Any) -> bool:
    """Tell whether a JSON value is `annotations.json` of a backup: an object a job, or one."""
    job = value[0] if isinstance(value, list) and value else value
    return isinstance(job, dict) and "tracks" in job and "shapes" in job


def read_cvat_json(value: Any, name: str) -> Annotations:
    """Return the spans of `annotations.json` of the backup of a task.

    Args:
        value: of the file.
        name: of the video, which the file does not name.

    Raises:
        ValueError: it is damaged.
    """
    spans: list[Span] = []
    tagged: dict[str, set[int]] = defaultdict(set)
    for job in value if isinstance(value, list) else [value]:
        for track in as_list(as_mapping(job, "job").get("tracks"), "tracks"):
            shapes = [
                as_mapping(one, "shape")
                for one in as_list(as_mapping(track, "track").get("shapes"), "shapes")
            ]
            states = [(as_frame(one.get("frame"), "frame"), bool(one.get("outside"))) for one in shapes]
            spans += _track_spans(as_text(track.get("label"), "label of a track"), states, is_dense=False)
        for key in ("tags", "shapes"):
            for one in as_list(as_mapping(job, "job").get(key) or [], key):
                mark = as_mapping(one, key)
                tagged[as_text(mark.get("label"), f"label in {key}")].add(
                    as_frame(mark.get("frame"), "frame")
                )
    spans += [span for label, frames in sorted(tagged.items()) for span in frame_runs(label, sorted(frames))]
    told = f"names no video, and is taken to be of {name!r}"
    return Annotations(FORM, (Recording(name, tuple(spans), in_frames=True),), [told])


def cvat_text(recording: Recording, rate: float, num_frames: int, size: tuple[int, int]) -> str:
    """Return a recording as XML 1.1 for videos, with a track a span, which `read_cvat_xml` reads back.

    Each track has a box over the whole picture, for CVAT has no spans without a place.

    Args:
        recording: in seconds.
        rate: frames a second of the video.
        num_frames: of the video.
        size: height and width of the picture.

    Raises:
        ValueError: a span has no end.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = PurePosixPath(recording.media).stem
    SubElement(task, "size").text = str(num_frames)
    SubElement(task, "mode").text = "interpolation"
    labels = SubElement(task, "labels")
    for label in sorted({span.label for span in recording.spans}):
        SubElement(SubElement(labels, "label"), "name").text = label
    SubElement(task, "source").text = recording.media
    place = {"xtl": "0", "ytl": "0", "xbr": str(size[1]), "ybr": str(size[0]), "z_order": "0"}
    for number, span in enumerate(recording.spans):
        if span.end is None or math.isinf(span.end):
            raise ValueError(f"{span.label!r} at {span.start:g} s has no end")
        track = SubElement(root, "track", {"id": str(number), "label": span.label, "source": "auto"})
        start = round(span.start * rate)
        end = max(start + 1, round(span.end * rate))
        states = {start: "0", end - 1: "0"}
        if end < num_frames:  # CVAT refuses frames that its task does not have
            states[end] = "1"
        for frame, outside in states.items():
            state = {"frame": str(frame), "outside": outside, "occluded": "0", "keyframe": "1"}
            SubElement(track, "box", {**state, **place})
    return xml_text(root)
