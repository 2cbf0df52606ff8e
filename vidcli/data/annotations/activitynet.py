"""JSON in the form of ActivityNet: annotations of a data set, or results of a detector.

{"database": {"v_1": {"subset": "training", "annotations": [{"segment": [1.5, 2.5], "label": "run"}]}}}
{"results": {"v_1": [{"segment": [1.5, 2.5], "label": "run", "score": 0.9}]}}
"""

from __future__ import annotations

from typing import Any

from vidcli.data.annotations.documents import as_list, as_mapping, as_number, as_text
from vidcli.data.annotations.spans import Annotations, Recording, Span
from vidcli.data.items import SPLIT_ALIASES, SPLITS

FORM = "ActivityNet JSON"


def read_activitynet(value: dict[str, Any]) -> Annotations:
    """Return the spans of a data set or of results.

    Args:
        value: the JSON object of the file.

    Raises:
        ValueError: it is damaged.
    """
    key = "database" if "database" in value else "results"
    recordings = []
    for name, entry in as_mapping(value[key], key).items():
        subset = str(entry.get("subset", "")).casefold() if isinstance(entry, dict) else ""
        subset = SPLIT_ALIASES.get(subset, subset)
        marks = as_mapping(entry, name).get("annotations", []) if key == "database" else entry
        try:
            spans = tuple(
                _read_mark(as_mapping(mark, "annotation")) for mark in as_list(marks, "annotations")
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        recordings.append(Recording(name, spans, split=subset if subset in SPLITS else None))
    return Annotations(FORM, tuple(recordings))


def _read_mark(mark: dict[str, Any]) -> Span:
    segment = as_list(mark.get("segment"), "segment")
    if len(segment) != 2:
        raise ValueError(f"segment of {len(segment)} numbers; expected a start and an end")
    start, end = (as_number(time, "segment") for time in segment)
    score = None if mark.get("score") is None else as_number(mark["score"], "score")
    return Span(as_text(mark.get("label"), "label"), start, end, score=score)
