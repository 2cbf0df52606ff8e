"""Label Studio: JSON exports of tasks, and predictions to import; read and written.

    timelinelabels   {"ranges": [{"start": 1, "end": 50}], "timelinelabels": ["run"]}: frames, counted from 1,
                     both inclusive
    labels           {"start": 1.5, "end": 2.5, "labels": ["run"]}: seconds, as the tools for sound mark them
    choices          {"choices": ["run"]}: of the whole video

Frames are those of the frame rate that the project was set up with, which an export does not say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vidcli.data.annotations.documents import as_frame, as_list, as_mapping, as_number, as_text
from vidcli.data.annotations.spans import TO_THE_END, Annotations, Recording, Span, name_counts
from vidcli.video import VIDEO_SUFFIXES

FORM = "Label Studio tasks"
_SOURCE = re.compile(r"""src=["']([^"']+)["']""")


def is_label_studio(value: Any) -> bool:
    """Tell whether a JSON value is a list of tasks, or one task."""
    task = value[0] if isinstance(value, list) and value else value
    if not isinstance(task, dict):
        return False
    has_results = any(
        isinstance(task.get(key), list) for key in ("annotations", "predictions", "completions")
    )
    return (has_results and "data" in task) or (_short_results(task) != [] and "id" in task)


def read_label_studio(value: Any) -> Annotations:
    """Return the spans of an export, in the full or the short (JSON-MIN) form.

    Raises:
        ValueError: it is damaged.
    """
    recordings: list[Recording] = []
    notes: list[str] = []
    others: list[str] = []
    several: list[str] = []
    num_predicted = 0
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        what = f"task {number}"
        task = as_mapping(item, what)
        media = _media_of(task.get("data", task), what)
        results = _short_results(task)
        if not results:
            answers = as_list(task.get("annotations") or task.get("completions") or [], what)
            made = [one for one in answers if not as_mapping(one, what).get("was_cancelled")]
            num_predicted += not made and bool(task.get("predictions"))
            several += [media] if len(made) > 1 else []
            for answer in made[-1:] or as_list(task.get("predictions") or [], what)[:1]:
                results += as_list(as_mapping(answer, what).get("result", []), f"{what}, result")
        framed: list[Span] = []
        timed: list[Span] = []
        for result in results:
            try:
                spans, is_framed = _read_result(as_mapping(result, what))
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from error
            if not spans:
                others.append(str(result.get("type", "")))
            (framed if is_framed else timed).extend(spans)
        recordings += [Recording(media, tuple(framed), in_frames=True)] if framed else []
        recordings += [Recording(media, tuple(timed))] if timed or not framed else []
    if several:
        notes.append(
            f"{len(several)} tasks have several annotations, and the last is used: {name_counts(several)}"
        )
    if num_predicted:
        notes.append(f"{num_predicted} tasks have no annotation, and their prediction is used")
    if others:
        notes.append(f"{len(others)} results mark no span of time and are left out: {name_counts(others)}")
    return Annotations(FORM, tuple(recordings), notes)


def _media_of(data: Any, what: str) -> str:
    """Return the video of a task: the first of its texts that has the suffix of one, else the first text."""
    texts = [text for text in as_mapping(data, f"{what}, data").values() if isinstance(text, str)]
    for text in texts:
        address = found[1] if (found := _SOURCE.search(text)) else text
        if any(suffix in address.lower() for suffix in VIDEO_SUFFIXES):
            return address
    if not texts:
        raise ValueError(f"{what}: its data names no video")
    return texts[0]


def _short_results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of the short form, which lie in the task itself."""
    lists = [value for value in task.values() if isinstance(value, list) and value]
    kinds = ("timelinelabels", "labels")
    return [
        {"value": one}
        for results in lists
        for one in results
        if isinstance(one, dict)
        and any(kind in one for kind in kinds)
        and ("ranges" in one or "start" in one)
    ]


def _read_result(result: dict[str, Any]) -> tuple[list[Span], bool]:
    """Return the spans of one result, and whether they are in frames."""
    value = as_mapping(result.get("value", {}), "value")
    score = None if result.get("score") is None else as_number(result["score"], "score")
    if "timelinelabels" in value:
        ranges = [as_mapping(one, "ranges") for one in as_list(value.get("ranges"), "ranges")]
        edges = [
            (max(0, as_frame(one.get("start"), "start") - 1), as_frame(one.get("end"), "end"))
            for one in ranges
        ]
        names = as_list(value["timelinelabels"], "timelinelabels")
        return [Span(as_text(name, "label"), *edge, score=score) for edge in edges for name in names], True
    if "labels" in value and "start" in value:
        edge = as_number(value["start"], "start"), as_number(value.get("end"), "end")
        return [
            Span(as_text(name, "label"), *edge, score=score) for name in as_list(value["labels"], "labels")
        ], False
    if "choices" in value:
        return [
            Span(as_text(name, "choice"), 0.0, TO_THE_END) for name in as_list(value["choices"], "choices")
        ], False
    return [], False


def label_studio_text(recordings: Sequence[Recording], rates: Sequence[float]) -> str:
    """Return recordings as tasks with predictions, which Label Studio imports and `read_label_studio` reads.

    The project needs `<Video name="video" value="$video" frameRate="..."/>` with the rate of the videos, and
    `<TimelineLabels name="labels" toName="video">`.

    Args:
        recordings: in seconds.
        rates: frames a second of each video.

    Raises:
        ValueError: a span has no end.
    """
    tasks = []
    for recording, rate in zip(recordings, rates, strict=True):
        scores = [span.score for span in recording.spans if span.score is not None]
        prediction = {
            "model_version": "vidcli",
            **({"score": math.fsum(scores) / len(scores)} if scores else {}),
            "result": list(_results(recording, rate)),
        }
        tasks.append({"data": {"video": recording.media}, "predictions": [prediction]})
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"


def _results(recording: Recording, rate: float) -> Iterator[dict[str, Any]]:
    for number, span in enumerate(recording.spans):
        if span.end is None or math.isinf(span.end):
            raise ValueError(f"{span.label!r} at {span.start:g} s has no end")
        start = round(span.start * rate)
        yield {
            "id": f"span{number}",
            "from_name": "labels",
            "to_name": "video",
            "type": "timelinelabels",
            **({"score": span.score} if span.score is not None else {}),
            "value": {
                "ranges": [{"start": start + 1, "end": max(start + 1, round(span.end * rate))}],
                "timelinelabels": [span.label],
            },
        }
