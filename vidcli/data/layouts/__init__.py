"""Data sets in the form they were published in: their own lists beside a folder of their videos.

    DATA/ucfTrainTestlist/trainlist01.txt ...         UCF101       videos anywhere below DATA
    DATA/testTrainMulti_7030_splits/*_test_split1.txt HMDB51
    DATA/*.csv with label,youtube_id,time_start,...   Kinetics
    DATA/labels/{train,validation,labels}.json        Something-Something v2

The lists lie in DATA or in a folder directly inside of it; the videos are found below DATA by name,
whatever their folders and suffix, since all four sets are often re-coded or re-sorted.

Reading order: `listed` (what a list says, and finding its videos), then a module a data set.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vidcli.data.items import VideoItem
from vidcli.data.layouts import hmdb51, kinetics, something, ucf101
from vidcli.data.layouts.kinetics import is_kinetics_list
from vidcli.data.layouts.listed import Listing, find_lists, find_videos

__all__ = ["UNUSED_FOLD", "is_kinetics_list", "read_kinetics_list", "read_published"]

_READERS: tuple[Callable[[list[Path], int], Listing | None], ...] = (
    ucf101.read_lists,
    hmdb51.read_lists,
    something.read_lists,
    kinetics.read_lists,
)


UNUSED_FOLD = "data.fold has no effect: this data set has no published folds"


def read_published(
    folder: Path, fold: int, max_missing: float, missing_ok: bool
) -> tuple[list[VideoItem], list[str]] | None:
    """Read a folder that holds one of the published lists; None if it holds none.

    Args:
        folder: of the lists and the videos.
        fold: which of the published train and test splits, from 1.
        max_missing: share of the videos that may be missing where a data set is published as links.
        missing_ok: keep videos whose file is gone, under the name they should have.

    Returns:
        The videos, and a sentence on each kind of thing that was passed over.

    Raises:
        DataError: the lists are damaged, or videos are missing; counts and names them.
    """
    lists = find_lists(folder)
    for read in _READERS:
        listing = read(lists, fold)
        if listing is not None:
            return _find(listing, folder, fold, max_missing, missing_ok)
    return None


def read_kinetics_list(
    file: Path, fold: int, max_missing: float, missing_ok: bool
) -> tuple[list[VideoItem], list[str]]:
    """Read one Kinetics list whose videos lie below its folder; otherwise as `read_published`."""
    listing = kinetics.read_lists([file], fold)
    assert listing is not None, "is_kinetics_list comes first"
    return _find(listing, file.parent, fold, max_missing, missing_ok)


def _find(
    listing: Listing, folder: Path, fold: int, max_missing: float, missing_ok: bool
) -> tuple[list[VideoItem], list[str]]:
    items, notes = find_videos(listing, folder, max_missing, missing_ok)
    if fold != 1 and not listing.has_folds:
        notes.append(UNUSED_FOLD)
    return items, notes
