"""Whatever stands in the place of a value, a file is read or refused with one message, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.annotations import samples
from vidcli.data.annotations import read_annotations
from vidcli.errors import DataError

ODD: list[Any] = [None, [], {}, "", "x", -1, 0, 1.5, True, float("inf"), [[]], {"a": None}, [None], "9" * 400]
SEGMENT = {"start": 1.0, "end": 2.5, "label": "groom", "confidence": 0.75}
DOCUMENTS: dict[str, Any] = {
    "BORIS": json.loads(samples.boris()),
    "Label Studio": [samples.task([samples.timeline_label("groom", 9, 20)])],
    "Label Studio, seconds": [
        samples.task([{"value": {"start": 1, "end": 2, "labels": ["x"]}, "score": 0.5}])
    ],
    "CVAT": [
        {
            "tags": [{"frame": 3, "label": "x"}],
            "shapes": [],
            "tracks": [{"label": "g", "shapes": [{"frame": 8}]}],
        }
    ],
    "VIA": samples.VIA,
    "ActivityNet": json.loads(samples.ACTIVITYNET),
    "results": {"results": {"v": [{"segment": [1, 2], "label": "x", "score": 0.5}]}},
    "FERAL": samples.FERAL | {"labels": {"cage1.mp4": [0, 0, 1], "b.mp4": [[0, 1], [1, 1]]}},
    "timeline": [{"video": "cage1.mp4", "segments": [SEGMENT]}],
}
TABLES = {
    "BORIS tabular": samples.BORIS_TABULAR,
    "BORIS old": samples.BORIS_OLD_TABULAR,
    "BORIS aggregated": samples.BORIS_AGGREGATED,
    "spans": "video,label,start,end,split,score,subject\ncage1.mp4,groom,1,2.5,train,0.5,ann\n",
    "frames": samples.frame_rows(8),
}


def changed(value: Any) -> Iterator[Any]:
    """Yield a document for each of its values and each odd one in its place, and without each of its keys."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            for other in [*ODD, *changed(inner)]:
                made = copy.copy(value)
                made[key] = other
                yield made
            made = copy.copy(value)
            del made[key]
            yield made


def read(path: Path, text: str) -> str:
    """Return what a file is read as, or the message that refuses it."""
    path.write_text(text, encoding="utf-8")
    try:
        return read_annotations(path).form
    except DataError as error:
        told = str(error)
    assert told.startswith(f"{path}: ")
    return told


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_odd_values_in_json(kind: str, tmp_path: Path) -> None:
    told = [read(tmp_path / "cage1.json", json.dumps(value)) for value in changed(DOCUMENTS[kind])]
    assert len(told) > 50
    assert len(set(told)) > 5


@pytest.mark.parametrize("kind", ["ELAN", "CVAT", "CVAT images"])
def test_odd_attributes_and_elements_in_xml(kind: str, tmp_path: Path) -> None:
    texts = {"ELAN": samples.ELAN.format(origin=0), "CVAT": samples.CVAT, "CVAT images": samples.CVAT_IMAGES}
    text = texts[kind]
    parts = [found.span() for found in re.finditer(r' \w+="[^"]*"|<(\w+)[^>]*/>|>[^<]+<', text)]
    told = set()
    for start, end in parts:
        name = text[start:end].partition("=")[0]
        for other in ["", *(f'{name}="{value}"' for value in ("", "x", "-1", "1.5", "99999999999")), "><"]:
            told.add(read(tmp_path / "cage1.xml", text[:start] + other + text[end:]))
    assert len(told) > 5


@pytest.mark.parametrize("kind", TABLES)
def test_odd_cells_in_tables(kind: str, tmp_path: Path) -> None:
    text = TABLES[kind]
    told = set()
    for found in re.finditer(r"[^,\t\n]+", text):
        for other in ("", "x", "-1", "1e999", "nan", "NA", '"', "=1+1", "1:99", "0", "1;2"):
            told.add(read(tmp_path / "cage1.csv", text[: found.start()] + other + text[found.end() :]))
    assert len(told) > 3
