"""Data sets in the form they were published in: their own lists beside a folder of their videos.

    UCF101 (Soomro et al. 2012, arXiv:1212.0402)      DATA/ucfTrainTestlist/trainlist01.txt ...
    HMDB51 (Kuehne et al. 2011)                       DATA/testTrainMulti_7030_splits/*_test_split1.txt
    Kinetics (Kay et al. 2017, arXiv:1705.06950)      DATA/*.csv with label,youtube_id,time_start,...
    Something-Something v2 (Goyal et al. 2017,        DATA/labels/{train,validation,labels}.json
        arXiv:1706.04261)

The lists lie in DATA or in a folder directly inside of it. The videos are found below DATA by name,
whatever their folders and suffix, since all four sets are often re-coded or re-sorted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vidcli.data.folders import Tree
from vidcli.data.items import SPLIT_ALIASES, SPLITS, VideoItem, name_few
from vidcli.data.listed import (
    ListedVideo,
    Listing,
    find_lists,
    find_videos,
    only_one,
    read_lines,
    read_text,
    refuse_faults,
)
from vidcli.errors import DataError, did_you_mean
from vidcli.names import is_placeholder, normal_name
from vidcli.runtime.plain import parse_json
from vidcli.sheets import Sheet, decode_text, read_sheet

UNUSED_FOLD = "data.fold has no effect: this data set has no published folds"

_UCF101_LIST = re.compile(r"(train|test)list(\d\d)\.txt", re.IGNORECASE)
_UCF101_GROUP = re.compile(r"_(g\d+)_c\d+$")


def _read_ucf101(lists: list[Path], fold: int) -> Listing | None:
    """Read the lists of one fold of UCF101; None if there are none.

        classInd.txt       1 ApplyEyeMakeup                               number and class
        trainlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1  video and number of its class
        testlist01.txt     ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi    video

    The seven or so clips of a group (`g08`) show one person in one place.

    Raises:
        DataError: the fold's lists are not complete, or a line is not as published.
    """
    of_part: dict[tuple[str, int], list[Path]] = {}
    for path in lists:
        if match := _UCF101_LIST.fullmatch(path.name):
            of_part.setdefault((match[1].lower(), int(match[2])), []).append(path)
    if not of_part:
        return None
    for split in ("train", "test"):
        if (split, fold) not in of_part:
            there = ", ".join(sorted(path.name for paths in of_part.values() for path in paths))
            example = next(iter(of_part.values()))[0]
            raise DataError(
                f"{example.parent}: holds lists of UCF101, but no {split}list{fold:02d}.txt (there are "
                f"{there}); set data.fold to a fold whose train and test list are both there"
            )
    class_names = _read_ucf101_class_names([path for path in lists if path.name.lower() == "classind.txt"])
    videos = [
        video
        for split in ("train", "test")
        for video in _read_ucf101_list(only_one(of_part[split, fold]), split, class_names)
    ]
    return Listing("UCF101", of_part["train", fold][0], videos, has_folds=True)


def _read_ucf101_class_names(paths: list[Path]) -> dict[str, str]:
    """Return class names by number; empty without classInd.txt, which only checks the lists."""
    if not paths:
        return {}
    path = only_one(paths)
    names: dict[str, str] = {}
    faults = []
    for line, words in read_lines(path):
        if len(words) == 2 and words[0].isdigit():
            names[words[0]] = normal_name(words[1])
        else:
            faults.append(f"line {line}: {' '.join(words)!r}; expected a number and a class name")
    refuse_faults(path, faults)
    return names


def _read_ucf101_list(path: Path, split: str, class_names: dict[str, str]) -> list[ListedVideo]:
    videos = []
    faults = []
    for line, words in read_lines(path):
        name = PurePosixPath(normal_name(words[0].replace("\\", "/")))
        label = name.parent.name
        if not label or len(words) > 2:
            faults.append(f"line {line}: {' '.join(words)!r}; expected CLASS/VIDEO and the class's number")
        elif class_names and label not in class_names.values():
            faults.append(f"line {line}: class {label!r} is not in classInd.txt")
        elif class_names and len(words) == 2 and class_names.get(words[1]) != label:
            faults.append(
                f"line {line}: number {words[1]} is {class_names.get(words[1], 'no class')} in "
                f"classInd.txt, not {label}"
            )
        else:
            group = _UCF101_GROUP.search(name.stem)
            # Numbers of groups begin anew in every class.
            videos.append(
                ListedVideo(str(name), label, split, f"{label}_{group[1]}" if group is not None else None)
            )
    refuse_faults(path, faults)
    return videos


_HMDB51_LIST = re.compile(r"(.+)_test_split(\d)\.txt")
_HMDB51_SPLIT_OF = {"1": "train", "2": "test", "0": ""}


def _read_hmdb51(lists: list[Path], fold: int) -> Listing | None:
    """Read the lists of one fold of HMDB51; None if there are none.

        brush_hair_test_split1.txt    April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1

    The number is 1 for train, 2 for test and 0 for neither: each fold takes 70 and 30 videos a class,
    chosen so that both parts are alike, and leaves the rest out. The text before the class in a name is
    the film that the clip was cut from.

    Raises:
        DataError: classes lack a list of the fold, or a line is not as published.
    """
    of_class: dict[str, dict[int, list[Path]]] = {}
    for path in lists:
        if match := _HMDB51_LIST.fullmatch(path.name):
            of_class.setdefault(match[1], {}).setdefault(int(match[2]), []).append(path)
    if not of_class:
        return None
    example = next(iter(next(iter(of_class.values())).values()))[0]
    lacking = sorted(label for label, folds in of_class.items() if fold not in folds)
    if lacking:
        raise DataError(
            f"{example.parent}: holds lists of HMDB51, but {len(lacking)} of {len(of_class)} classes have "
            f"no CLASS_test_split{fold}.txt: {name_few(lacking)}; bring the files or set data.fold"
        )
    videos: list[ListedVideo] = []
    unused: list[str] = []
    for label, folds in of_class.items():
        _read_hmdb51_list(only_one(folds[fold]), label, videos, unused)
    notes = (
        [f"{len(unused)} videos are in neither part of fold {fold}, as published: {name_few(unused)}"]
        if unused
        else []
    )
    return Listing("HMDB51", next(iter(of_class.values()))[fold][0], videos, notes, has_folds=True)


def _read_hmdb51_list(path: Path, label: str, videos: list[ListedVideo], unused: list[str]) -> None:
    """Add the videos of one class, and the names of those that are in neither part."""
    faults = []
    for line, words in read_lines(path):
        split = _HMDB51_SPLIT_OF.get(words[-1]) if len(words) == 2 else None
        if split is None:
            faults.append(f"line {line}: {' '.join(words)!r}; expected a video, then 0, 1 or 2")
        elif split:
            film, found, _ = words[0].partition(f"_{label}_")
            # The published parts stay as they are, also where one film is in both.
            group = f"{label}/{film} ({split})" if found else None
            videos.append(ListedVideo(f"{label}/{words[0]}", label, split, group))
        else:
            unused.append(words[0])
    refuse_faults(path, faults)


_KINETICS_COLUMNS = ("youtube_id", "time_start", "time_end", "split")


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
    return set(_KINETICS_COLUMNS) <= {
        name.strip().strip('"').casefold() for name in re.split("[,;\t]", header)
    }


def _read_kinetics(lists: list[Path], fold: int) -> Listing | None:
    """Read all lists of Kinetics, which has no folds; None if there are none.

        label,youtube_id,time_start,time_end,split
        testifying,---QUuC4vJs,84,94,validate            ---QUuC4vJs_000084_000094.mp4

    Raises:
        DataError: rows that are not as published.
    """
    own = [path for path in lists if is_kinetics_list(path)]
    if not own:
        return None
    videos: list[ListedVideo] = []
    notes: list[str] = []
    for path in own:
        sheet = read_sheet(path, _KINETICS_COLUMNS)
        notes += sheet.notes
        without_label = _read_kinetics_list(path, sheet, videos)
        if without_label:
            notes.append(f"{without_label} rows of {path.name} have no label and are not used")
    if not videos:
        raise DataError(f"{own[0]}: no row has a label; the lists to train and test on have them")
    return Listing("Kinetics", own[0], videos, notes, are_links=True)


def _read_kinetics_list(path: Path, sheet: Sheet, videos: list[ListedVideo]) -> int:
    """Add the videos of one list; return how many rows have no label."""
    faults = []
    without_label = 0
    for line, row in sheet.rows:
        label = row.get("label", "").strip()
        if not label or is_placeholder(label):
            without_label += 1
            continue
        try:
            videos.append(ListedVideo(_kinetics_file_name(row), label, _kinetics_split_of(row)))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    refuse_faults(path, faults)
    return without_label


def _kinetics_file_name(row: Mapping[str | None, str]) -> str:
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


def _kinetics_split_of(row: Mapping[str | None, str]) -> str:
    given = row.get("split", "").strip().lower()
    split = SPLIT_ALIASES.get(given, given)
    if split not in SPLITS:
        raise ValueError(f"split {given!r}; expected train, validate or test")
    return split


_SOMETHING_LIST = re.compile(r"(?:something-something-v2-)?(train|validation|test|labels)\.json")


def _read_something(lists: list[Path], fold: int) -> Listing | None:
    """Read all lists of Something-Something, which has no folds; None without train.json and labels.json.

        labels.json        {"Holding something next to something": "52", ...}
        train.json         [{"id": "78687", "template": "Holding [something] next to [something]", ...}, ...]
        validation.json    the same
        test.json          [{"id": "1420"}, ...]: its labels are not published

    The class is the template without its brackets; 78687 is the video 78687.webm.

    Raises:
        DataError: a list is no JSON, or an entry is not as published.
    """
    of_part: dict[str, list[Path]] = {}
    for path in lists:
        if match := _SOMETHING_LIST.fullmatch(path.name):
            of_part.setdefault(match[1], []).append(path)
    if not {"train", "labels"} <= set(of_part):
        return None
    labels_file = only_one(of_part["labels"])
    class_names = _read_something_json(labels_file)
    if not isinstance(class_names, dict):
        raise DataError(f"{labels_file}: expected an object of class names, as published")
    videos: list[ListedVideo] = []
    notes = []
    for part in ("train", "validation", "test"):
        if part in of_part:
            path = only_one(of_part[part])
            split = SPLIT_ALIASES.get(part, part)
            without_label = _read_something_list(path, split, set(map(normal_name, class_names)), videos)
            if without_label:
                notes.append(f"{without_label} videos of {path.name} have no label and are not used")
    return Listing("Something-Something v2", of_part["train"][0], videos, notes)


def _read_something_list(path: Path, split: str, class_names: set[str], videos: list[ListedVideo]) -> int:
    """Add the videos of one list; return how many have no label."""
    entries = _read_something_json(path)
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


def _read_something_json(path: Path) -> Any:
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error


_READERS: tuple[Callable[[list[Path], int], Listing | None], ...] = (
    _read_ucf101,
    _read_hmdb51,
    _read_something,
    _read_kinetics,
)


def read_published(
    folder: Path, fold: int, max_missing: float, missing_ok: bool, tree: Tree
) -> tuple[list[VideoItem], list[str]] | None:
    """Read a folder that holds one of the published lists; None if it holds none.

    Args:
        folder: folder that holds the lists and the videos.
        fold: number of the published train and test split, from 1.
        max_missing: share of the videos that may be missing where a data set is published as links.
        missing_ok: keep videos whose file is missing, under the path where it should be.
        tree: reads the folder.

    Returns:
        The videos, and one sentence for each kind of thing that was passed over.

    Raises:
        DataError: the lists are damaged, or videos are missing; counts and names them.
    """
    lists = find_lists(folder, tree)
    for read in _READERS:
        listing = read(lists, fold)
        if listing is not None:
            return _find(listing, folder, fold, max_missing, missing_ok, tree)
    return None


def read_kinetics_list(
    file: Path, fold: int, max_missing: float, missing_ok: bool
) -> tuple[list[VideoItem], list[str]]:
    """Read one Kinetics list whose videos lie below its folder.

    Args:
        file: list that `is_kinetics_list` accepts.
        fold: as in `read_published`.
        max_missing: as in `read_published`.
        missing_ok: as in `read_published`.

    Returns:
        The videos, and one sentence for each kind of thing that was passed over.

    Raises:
        DataError: as in `read_published`.
    """
    listing = _read_kinetics([file], fold)
    assert listing is not None, "is_kinetics_list comes first"
    return _find(listing, file.parent, fold, max_missing, missing_ok, Tree())


def _find(
    listing: Listing, folder: Path, fold: int, max_missing: float, missing_ok: bool, tree: Tree
) -> tuple[list[VideoItem], list[str]]:
    contents = tree.look_through(folder)
    items, notes = find_videos(listing, folder, max_missing, missing_ok, contents)
    if fold != 1 and not listing.has_folds:
        notes.append(UNUSED_FOLD)
    return items, notes
