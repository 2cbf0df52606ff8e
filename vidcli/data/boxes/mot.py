"""Boxes as the MOT Challenge has them: `gt.txt`, `det.txt` and results of trackers, without a header.

frame, track, left, top, width, height[, confidence, class, visibility]      frames count from 1
"""

from __future__ import annotations

import re

import numpy as np

from vidcli.data.boxes.tracked import BoxFile, make_track, read_numbers, rows_of_each

FORM = "MOT"
_NUM_COLUMNS = range(6, 11)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CONFIDENCE = 6


def is_mot(text: str) -> bool:
    """Tell whether the first line is one of MOT: six to ten numbers."""
    cells = re.split(r"[,\s]+", text.lstrip().split("\n", 1)[0].strip().rstrip(","))
    return len(cells) in _NUM_COLUMNS and all(_NUMBER.fullmatch(cell) for cell in cells)


def read_mot(text: str) -> BoxFile:
    """Return the tracks of a file, which names no video.

    Raises:
        ValueError: a row holds no numbers, or several boxes of a frame have no track.
    """
    text = "\n".join(line.strip().rstrip(",") for line in text.splitlines() if line.strip())
    if "," not in text.split("\n", 1)[0]:
        text = re.sub(r"[ \t]+", ",", text)
    rows_RC = read_numbers(text.replace(" ", ""), ",")
    notes = []
    if rows_RC.shape[1] > _CONFIDENCE:
        counts_R = rows_RC[:, _CONFIDENCE] != 0
        if not counts_R.all() and counts_R.any():
            notes.append(f"{np.count_nonzero(~counts_R)} boxes of confidence 0 are left out, as MOT wants it")
            rows_RC = rows_RC[counts_R]
    if (rows_RC[:, 0] < 1).any():
        raise ValueError(f"frame {rows_RC[:, 0].min():g}: frames of MOT count from 1")
    if not np.isfinite(rows_RC[:, :2]).all():
        raise ValueError("holds a row without a frame or a track")
    tracks = []
    for number, rows_M in rows_of_each(rows_RC[:, 1].astype(np.int64)):
        some = rows_RC[rows_M]
        if number < 0 and len(np.unique(some[:, 0])) < len(some):
            raise ValueError(
                "boxes have the track -1, which is none; run a tracker that tells subjects apart"
            )
        tracks.append(make_track("", "" if number < 0 else str(number), some[:, 0] - 1, some[:, 2:6], True))
    return BoxFile(FORM, tracks, notes)
