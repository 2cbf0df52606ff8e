"""UCF101 (Soomro et al. 2012, arXiv:1212.0402): three splits of 101 classes, in groups of one scene.

    classInd.txt       1 ApplyEyeMakeup                               number and class
    trainlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1  video and number of its class
    testlist01.txt     ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi    video

The seven or so clips of a group (`g08`) show one person in one place.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from vidcli.data.layouts.listed import ListedVideo, Listing, only_one, read_lines, refuse_faults
from vidcli.errors import DataError
from vidcli.names import normal_name

_LIST = re.compile(r"(train|test)list(\d\d)\.txt", re.IGNORECASE)
_GROUP = re.compile(r"_(g\d+)_c\d+$")


def read_lists(lists: list[Path], fold: int) -> Listing | None:
    """Read the lists of one fold; None if there are no lists of UCF101.

    Raises:
        DataError: the fold's lists are not complete, or a line is not as published.
    """
    of_part: dict[tuple[str, int], list[Path]] = {}
    for path in lists:
        if match := _LIST.fullmatch(path.name):
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
    class_names = _read_class_names([path for path in lists if path.name.lower() == "classind.txt"])
    videos = [
        video
        for split in ("train", "test")
        for video in _read_list(only_one(of_part[split, fold]), split, class_names)
    ]
    return Listing("UCF101", of_part["train", fold][0], videos, has_folds=True)


def _read_class_names(paths: list[Path]) -> dict[str, str]:
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


def _read_list(path: Path, split: str, class_names: dict[str, str]) -> list[ListedVideo]:
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
            group = _GROUP.search(name.stem)
            # Numbers of groups begin anew in every class.
            videos.append(
                ListedVideo(str(name), label, split, f"{label}_{group[1]}" if group is not None else None)
            )
    refuse_faults(path, faults)
    return videos
