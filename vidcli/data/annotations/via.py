"""Projects of the VGG Image Annotator for video and audio, version 3 (JSON), read and written.

metadata   {"vid": "1", "z": [1.5, 2.5], "xy": [], "av": {"1": "0"}}: seconds; attribute 1 has value "0"
attribute  what a value stands for: {"aname": "behaviour", "options": {"0": "run"}}
view, file which file a `vid` is
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vidcli.data.annotations.documents import as_list, as_mapping, as_number, as_text
from vidcli.data.annotations.spans import Annotations, Recording, Span

FORM = "VIA 3 project"


def read_via(project: dict[str, Any]) -> Annotations:
    """Return the spans of a project: a value is a label, or the name of its attribute where it says nothing.

    Args:
        project: the JSON object of the file.

    Raises:
        ValueError: it is damaged.
    """
    attributes = as_mapping(project.get("attribute", {}), "attribute")
    files = as_mapping(project.get("file"), "file")
    views = as_mapping(project.get("view") or {key: {"fid_list": [key]} for key in files}, "view")
    media_of = {}
    for view, value in views.items():
        ids = as_list(as_mapping(value, f"view {view}").get("fid_list"), f"view {view}, fid_list")
        named = as_mapping(files.get(str(ids[0]) if ids else ""), f"file of view {view}")
        media_of[view] = as_text(named.get("fname") or named.get("src"), f"name of the file of view {view}")
    spans_of: dict[str, list[Span]] = defaultdict(list)
    num_spatial = 0
    for key, value in as_mapping(project["metadata"], "metadata").items():
        what = f"metadata {key!r}"
        mark = as_mapping(value, what)
        times = [as_number(time, f"{what}, z") for time in as_list(mark.get("z", []), f"{what}, z")]
        if mark.get("xy") or not times:
            num_spatial += 1
            continue
        view = str(mark.get("vid"))
        if view not in media_of:
            raise ValueError(f"{what}: belongs to view {view!r}, which is not there")
        for attribute, answer in as_mapping(mark.get("av", {}), f"{what}, av").items():
            label = _label(
                as_mapping(attributes.get(attribute, {}), "attribute"), as_text(answer, f"{what}, av")
            )
            try:
                spans_of[view].append(Span(label, times[0], times[-1]))
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from error
    notes = (
        [f"{num_spatial} regions of pictures mark no span of time and are left out"] if num_spatial else []
    )
    recordings = tuple(Recording(media, tuple(spans_of[view])) for view, media in media_of.items())
    return Annotations(FORM, recordings, notes)


def _label(attribute: dict[str, Any], answer: str) -> str:
    options = attribute.get("options")
    named = options.get(answer, answer) if isinstance(options, dict) else answer
    return str(named).strip() or str(attribute.get("aname", ""))


def via_text(recordings: Sequence[Recording]) -> str:
    """Return recordings as a project, which `read_via` reads back.

    Args:
        recordings: in seconds.

    Raises:
        ValueError: a span has no end.
    """
    labels = sorted({span.label for recording in recordings for span in recording.spans})
    key_of = {label: str(number) for number, label in enumerate(labels)}
    metadata = {}
    for vid, recording in enumerate(recordings, 1):
        for number, span in enumerate(recording.spans):
            if span.end is None or math.isinf(span.end):
                raise ValueError(f"{span.label!r} at {span.start:g} s has no end")
            times = [span.start] if span.end == span.start else [span.start, span.end]
            mark = {"vid": str(vid), "flg": 0, "z": times, "xy": [], "av": {"1": key_of[span.label]}}
            metadata[f"{vid}_{number:08}"] = mark
    ids = [str(number) for number in range(1, len(recordings) + 1)]
    project = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "vidcli",
            "creator": "vidcli",
            "created": 0,
            "data_format_version": "3.1.1",
            "vid_list": ids,
        },
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
        "attribute": {
            "1": {
                "aname": "behaviour",
                "anchor_id": "FILE1_Z2_XY0",
                "type": 4,
                "desc": "",
                "options": {key: label for label, key in key_of.items()},
                "default_option_id": "",
            }
        },
        "file": {
            key: {"fid": key, "fname": recording.media, "type": 4, "loc": 3, "src": recording.media}
            for key, recording in zip(ids, recordings, strict=True)
        },
        "metadata": metadata,
        "view": {key: {"fid_list": [key]} for key in ids},
    }
    return json.dumps(project, indent=1, ensure_ascii=False) + "\n"
