"""HMDB51 (Kuehne et al. 2011): three splits of 51 classes, a file a class and split.

    brush_hair_test_split1.txt    April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1

The number is 1 for train, 2 for test and 0 for neither: each split takes 70 and 30 videos a class,
chosen so that both sides are alike, and leaves the rest out. What stands before the class in a
name is the film that the clip was cut from.
"""

from __future__ import annotations

import re
from pathlib import Path

from vidcli.data.items import name_few
from vidcli.data.layouts.listed import ListedVideo, Listing, only_one, read_lines, refuse_faults
from vidcli.errors import DataError

_LIST = re.compile(r"(.+)_test_split(\d)\.txt")
_SPLIT_OF = {"1": "train", "2": "test", "0": ""}


def read_lists(lists: list[Path], fold: int) -> Listing | None:
    """Read the lists of one fold; None if there are no lists of HMDB51.

    Raises:
        DataError: classes lack a list of the fold, or a line is not as published.
    """
    of_class: dict[str, dict[int, list[Path]]] = {}
    for path in lists:
        if match := _LIST.fullmatch(path.name):
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
        _read_list(only_one(folds[fold]), label, videos, unused)
    notes = (
        [f"{len(unused)} videos are in neither part of fold {fold}, as published: {name_few(unused)}"]
        if unused
        else []
    )
    return Listing("HMDB51", next(iter(of_class.values()))[fold][0], videos, notes, has_folds=True)


def _read_list(path: Path, label: str, videos: list[ListedVideo], unused: list[str]) -> None:
    """Add the videos of one class, and the names of those that are in neither part."""
    faults = []
    for line, words in read_lines(path):
        split = _SPLIT_OF.get(words[-1]) if len(words) == 2 else None
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
