"""Points as DeepLabCut writes them into CSV: three header lines, four where there are several animals.

scorer,       DLC,   DLC,   DLC
individuals,  mouse, mouse, mouse         only of several animals
bodyparts,    nose,  nose,  nose
coords,       x,     y,     likelihood
0,            10.2,  33.1,  0.99
"""

from __future__ import annotations

import numpy as np

from vidcli.data.boxes.tracked import BoxFile, box_around, make_track, read_numbers
from vidcli.sheets import cells_of

FORM = "DeepLabCut"
_COORDS = ("x", "y", "likelihood")
_MOST_HEADERS = 4


def is_deeplabcut(text: str) -> bool:
    """Tell whether a text begins with the header of DeepLabCut."""
    return text.lstrip("\ufeff").split(",", 1)[0].strip().casefold() == "scorer"


def read_deeplabcut(text: str) -> BoxFile:
    """Return a track for each animal, of the box around its points; the file names no video.

    Raises:
        ValueError: the header is another one, or cells hold no numbers.
    """
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    header: dict[str, list[str]] = {}
    for cells in map(cells_of, lines[:_MOST_HEADERS]):
        header.setdefault(cells[0].strip().casefold(), [cell.strip() for cell in cells[1:]])
        if "coords" in header:
            break
    if not {"bodyparts", "coords"} <= header.keys():
        raise ValueError("has no header lines bodyparts and coords, as DeepLabCut writes them")
    coords = [coord.casefold() for coord in header["coords"]]
    if not coords or coords != list(_COORDS) * (len(coords) // 3):
        raise ValueError("has other coords than x, y and likelihood in turn; give predictions, not labels")
    if any(len(cells) != len(coords) for cells in header.values()):
        raise ValueError("has header lines of different lengths")
    body = lines[len(header) :]
    if not body:
        raise ValueError("holds no frames under its header")
    rows_NC = read_numbers("\n".join(body), ",")
    if rows_NC.shape[1] != len(coords) + 1:
        raise ValueError(f"has {rows_NC.shape[1]} cells a row, and {len(coords) + 1} in its header")
    points_NP3 = rows_NC[:, 1:].reshape(len(rows_NC), -1, 3)
    animals = header.get("individuals", [""] * len(coords))[::3]
    tracks = []
    for name in dict.fromkeys(animals):
        of_P = np.array([animal == name for animal in animals])
        boxes_N4 = box_around(points_NP3[:, of_P, :2], points_NP3[:, of_P, 2])
        tracks.append(make_track("", name, rows_NC[:, 0], boxes_N4, True))
    return BoxFile(FORM, tracks)
