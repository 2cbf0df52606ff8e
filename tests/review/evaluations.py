"""What two runs answered to the clips of the tests, as `vidcli eval` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidcli.data.items import VideoItem
from vidcli.evaluate import predictions_csv
from vidcli.predict import Prediction

NAMES = ("left", "right", "up")
LABELS = ("left", "left", "left", "right", "right", "up")
ANSWERS_A = ("left", "left", "right", "right", "up", None)
ANSWERS_B = ("left", "right", "right", "left", "right", "up")


def write_answers(
    path: Path, rows: Sequence[tuple[Path, str | None]], labels: Sequence[str] = LABELS
) -> Path:
    """Write the table of a run that answers so; None is a video that failed."""
    items = [VideoItem(video, label) for (video, _), label in zip(rows, labels, strict=True)]
    told = [
        Prediction(str(video), NAMES, None, "is damaged")
        if answer is None
        else Prediction(str(video), NAMES, np.where(np.array(NAMES) == answer, 0.6, 0.2))
        for video, answer in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(predictions_csv(items, told, NAMES), encoding="utf-8")
    return path
