"""Kinetics-400, -600 and -700 (Kay et al. 2017, arXiv:1705.06950): a CSV a split.

    label,youtube_id,time_start,time_end,split
    testifying,---QUuC4vJs,84,94,validate            ---QUuC4vJs_000084_000094.mp4

The set is published as links: some of its videos are always gone, for everybody others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vidcli.data.items import SPLIT_ALIASES, SPLITS
from vidcli.data.layouts.listed import ListedVideo, Listing, refuse_faults
from vidcli.errors import DataError
from vidcli.names import is_placeholder
from vidcli.sheets import Sheet, decode_text, read_sheet

_COLUMNS = ("youtube_id", "time_start", "time_end", "split")


def is_kinetics_list(path: Path) -> bool:
    """Tell whether a file is a Kinetics list, by the columns of its header."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with open(path, "rb") as file:
            text = decode_text(file.read(2000))[0]
    except (OSError, ValueError):
        return False  # no text: whoever wants to read it says so
    header = next((line for line in text.splitlines() if line.strip()), "")
    return set(_COLUMNS) <= {name.strip().strip('"').casefold() for name in re.split("[,;\t]", header)}


def read_lists(lists: list[Path], fold: int) -> Listing | None:
    """Read all lists; None if there is none of Kinetics, which has one division only.

    Raises:
        DataError: rows that are not as published.
    """
    own = [path for path in lists if is_kinetics_list(path)]
    if not own:
        return None
    videos: list[ListedVideo] = []
    notes: list[str] = []
    for path in own:
        sheet = read_sheet(path, _COLUMNS)
        notes += sheet.notes
        without_label = _read_list(path, sheet, videos)
        if without_label:
            notes.append(f"{without_label} rows of {path.name} have no label and are not used")
    if not videos:
        raise DataError(f"{own[0]}: no row has a label; the lists to train and test on have them")
    return Listing("Kinetics", own[0], videos, notes, are_links=True)


def _read_list(path: Path, sheet: Sheet, videos: list[ListedVideo]) -> int:
    """Add the videos of one list; return how many rows have no label."""
    faults = []
    without_label = 0
    for line, row in sheet.rows:
        label = row.get("label", "").strip()
        if not label or is_placeholder(label):
            without_label += 1
            continue
        try:
            videos.append(ListedVideo(_file_name(row), label, _split_of(row)))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    refuse_faults(path, faults)
    return without_label


def _file_name(row: Mapping[str | None, str]) -> str:
    name = row.get("youtube_id", "").strip()
    if not name:
        raise ValueError("no youtube_id")
    for column in ("time_start", "time_end"):
        text = row.get(column, "").strip()
        try:
            seconds = round(float(text))
        except (ValueError, OverflowError):
            raise ValueError(f"{column} {text!r}; expected seconds") from None
        name += f"_{seconds:06d}"
    return f"{name}.mp4"


def _split_of(row: Mapping[str | None, str]) -> str:
    given = row.get("split", "").strip().lower()
    split = SPLIT_ALIASES.get(given, given)
    if split not in SPLITS:
        raise ValueError(f"split {given!r}; expected train, validate or test")
    return split
