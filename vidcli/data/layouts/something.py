"""Something-Something v2 (Goyal et al. 2017, arXiv:1706.04261): a JSON a split, and videos by number.

    labels.json        {"Holding something next to something": "52", ...}
    train.json         [{"id": "78687", "template": "Holding [something] next to [something]", ...}, ...]
    validation.json    the same
    test.json          [{"id": "1420"}, ...]: its labels are not published

The class is the template without its brackets; 78687 is the video 78687.webm.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vidcli.data.items import SPLIT_ALIASES
from vidcli.data.layouts.listed import ListedVideo, Listing, only_one, read_text, refuse_faults
from vidcli.errors import DataError, did_you_mean
from vidcli.names import normal_name
from vidcli.runtime.plain import parse_json

_LIST = re.compile(r"(?:something-something-v2-)?(train|validation|test|labels)\.json")


def read_lists(lists: list[Path], fold: int) -> Listing | None:
    """Read all lists; None unless train.json and labels.json are both there. It has one division only.

    Raises:
        DataError: a list is no JSON, or an entry is not as published.
    """
    of_part: dict[str, list[Path]] = {}
    for path in lists:
        if match := _LIST.fullmatch(path.name):
            of_part.setdefault(match[1], []).append(path)
    if not {"train", "labels"} <= set(of_part):
        return None
    labels_file = only_one(of_part["labels"])
    class_names = _read_json(labels_file)
    if not isinstance(class_names, dict):
        raise DataError(f"{labels_file}: expected an object of class names, as published")
    videos: list[ListedVideo] = []
    notes = []
    for part in ("train", "validation", "test"):
        if part in of_part:
            path = only_one(of_part[part])
            split = SPLIT_ALIASES.get(part, part)
            without_label = _read_list(path, split, set(map(normal_name, class_names)), videos)
            if without_label:
                notes.append(f"{without_label} videos of {path.name} have no label and are not used")
    return Listing("Something-Something v2", of_part["train"][0], videos, notes)


def _read_list(path: Path, split: str, class_names: set[str], videos: list[ListedVideo]) -> int:
    """Add the videos of one list; return how many have no label."""
    entries = _read_json(path)
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of videos, as published")
    faults = []
    without_label = 0
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), (str, int)):
            faults.append(f"entry {number}: expected an object with an id")
        elif "template" not in entry:
            without_label += 1
        else:
            label = normal_name(str(entry["template"]).replace("[", "").replace("]", ""))
            if label in class_names:
                videos.append(ListedVideo(f"{entry['id']}.webm", label, split))
            else:
                hint = did_you_mean(label, class_names)
                faults.append(f"entry {number}: class {label!r} is not in labels.json.{hint}")
    refuse_faults(path, faults)
    return without_label


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
