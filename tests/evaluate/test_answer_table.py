"""What `vidcli eval` writes of each video is read back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcli.data.items import VideoItem
from vidcli.errors import DataError
from vidcli.evaluate import predictions_csv
from vidcli.evaluate.answer_table import FIXED_COLUMNS, read_answers
from vidcli.predict import Prediction

NAMES = ("=left", "label", 'é, "quoted"')
HEADER = ",".join((*FIXED_COLUMNS, "a", "b"))


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    items = [
        VideoItem(Path("a b.mp4"), NAMES[0], start_seconds=1.5, end_seconds=2.25, track="=mouse, 1"),
        VideoItem(Path("-c.mp4"), NAMES[2]),
    ]
    shares = np.array([0.125, 0.75, 0.125])
    told = [Prediction("a b.mp4", NAMES, shares), Prediction("-c.mp4", NAMES, None, "is empty, so to say")]
    path = tmp_path / "predictions.csv"
    path.write_text(predictions_csv(items, told, NAMES), encoding="utf-8")
    table = read_answers(path)
    assert tuple(table.class_names) == NAMES
    first, second = table.answers
    assert (first.video, first.span, first.track) == ("a b.mp4", (1.5, 2.25), "=mouse, 1")
    assert (first.label, first.predicted, list(first.probabilities)) == (NAMES[0], "label", shares.tolist())
    assert (second.video, second.end_seconds, second.predicted, second.track) == ("-c.mp4", None, None, None)
    assert second.error == "is empty, so to say"


def test_a_table_of_an_earlier_version_names_no_subjects(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    header = ",".join((*(name for name in FIXED_COLUMNS if name != "track"), "a", "b"))
    path.write_text(f"{header}\na.mp4,0,,a,b,0.75,false,,0.25,0.75\n", encoding="utf-8")
    (answer,) = read_answers(path).answers
    assert (answer.predicted, answer.track, list(answer.probabilities)) == ("b", None, [0.25, 0.75])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no predictions.csv"),
        ("path,label\na,b\n", "is no predictions.csv"),
        (f"{HEADER}\na.mp4,0,,a,a,1,true,,,1\n", "row 2 is damaged"),
        (f"{HEADER}\na.mp4,zero,,a,a,1,true,,,1,0\n", "row 2 is damaged"),
        (f"{HEADER}\na.mp4,0,,a|b,a,1,false,,,1,0\n", "one class a video"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        read_answers(path)
