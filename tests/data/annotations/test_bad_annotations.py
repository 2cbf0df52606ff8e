"""Files that are damaged, foreign or hostile: each is refused with one message that says what to do."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.annotations import samples
from vidcli.data.annotations import read_annotations
from vidcli.errors import DataError

BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>
<ANNOTATION_DOCUMENT>&y;</ANNOTATION_DOCUMENT>"""
FILE_ENTITY = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>"""
ELAN = samples.ELAN.format(origin=0)
EVENTS = "video,label,start,end\n"
TABULAR_HEAD = "Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status\n"


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".xml", text)
    return buffer.getvalue()


def with_metadata(**mark: Any) -> str:
    value = {"vid": "1", "z": [1, 2], "xy": [], "av": {"1": "0"}} | mark
    return json.dumps(samples.VIA | {"metadata": {"1_a": value}})


def activity(**mark: Any) -> str:
    return json.dumps({"database": {"v1": {"annotations": [{"segment": [1, 2], "label": "x"} | mark]}}})


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": (" \n\r\n", "is empty"),
    "bytes": (bytes(range(256)) * 3, "is no text"),
    "prose": ("Dear diary, the mouse slept.\n", "is a table without rows under its header"),
    "unknown table": (
        "colour,size\nred,4\n",
        "is a table of no known format, with the columns 'colour', 'size'",
    ),
    "html": ("<html><body><table/></body></html>", "is XML of no known annotation format (<html>)"),
    "old workbook": (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "old format (.xls); save it as XLSX or CSV"),
    "foreign zip": (zipped(word__document="<w/>"), "is a ZIP without annotations.xml or a workbook"),
    "cut workbook": (samples.workbook([["label", "start", "end"], ["x", 1, 2]])[:-40], "is a damaged ZIP"),
    "workbook without its sheet": (
        zipped(xl__workbook='<workbook><sheets><sheet name="a" r:id="r1"/></sheets></workbook>'),
        "is a workbook without xl/_rels/workbook.xml.rels; save it again",
    ),
    "workbook of entities": (zipped(xl__workbook=BOMB), "declares a document type or entities"),
    "cut JSON": (samples.boris()[:-30], "is no valid JSON"),
    "deep JSON": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "unknown JSON": ('{"a": 1}', "is JSON of no known annotation format (an object with 'a')"),
    "list of numbers": ("[1, 2]", "is JSON of no known annotation format (a list of 2)"),
    "VIA 2": ('{"_via_img_metadata": {}}', "is a project of VIA 2, which marks pictures and not time"),
    "cut XML": (samples.ELAN[:400], "is no valid XML"),
    "XML bomb": (BOMB, "declares a document type or entities"),
    "XML that reads files": (FILE_ENTITY, "declares a document type or entities"),
    "deep XML": ("<annotations>" + "<a>" * 500, "is XML that is nested too deeply"),
    "BORIS, no event": (samples.boris(events=[]), "was read as BORIS project, and holds no labelled span"),
    "BORIS, stranger": (
        samples.boris(events=[[1, "", "hop", "", ""]]),
        "behaviour 'hop' is not in the ethogram",
    ),
    "BORIS, no time": (samples.boris(events=[["soon", "", "groom"]]), "event 1: 'soon'; expected a number"),
    "BORIS, NaN": (samples.boris(events=[[float("nan"), "", "groom"]]), "event 1: nan; expected a number"),
    "BORIS, short event": (
        samples.boris(events=[[1.0, ""]]),
        "event 1: 2 fields; expected a time, a subject",
    ),
    "BORIS, events": (samples.boris(events={}), "observation 'obs1', events: an object; expected a list"),
    "BORIS, live only": (samples.boris(type="LIVE"), "was read as BORIS project, and holds no labelled span"),
    "BORIS, lengths": (
        samples.boris(file={"1": ["a", "b"]}),
        "the length of a is not stated; save it again in BORIS",
    ),
    "BORIS, creation date": (
        samples.boris(media_creation_date_as_offset=True),
        "counts its times from the creation",
    ),
    "BORIS, stop first": (TABULAR_HEAD + "2,a.mp4,8,8,,x,,,STOP\n", "'x' stops at 2 s without a start"),
    "BORIS, status": (
        TABULAR_HEAD + "2,a.mp4,8,8,,x,,,PAUSE\n",
        "line 2: behavior type 'PAUSE'; expected START",
    ),
    "BORIS, no behaviour": (TABULAR_HEAD + "2,a.mp4,8,8,,,,,START\n", "line 2: no behaviour"),
    "BORIS, no media": (TABULAR_HEAD + "2,,8,8,,x,,,START\n", "line 2: names no video"),
    "BORIS, reversed": (
        samples.BORIS_AGGREGATED.replace("1.000,2.500", "3.5,2.5"),
        "line 2: 'groom' ends at 2.5, before its start at 3.5",
    ),
    "ELAN, units": (ELAN.replace('"milliseconds"', '"NTSC-frames"'), "has times in NTSC-frames"),
    "ELAN, slot": (
        ELAN.replace('ID="ts3"', 'ID="ts9"'),
        "tier 'rest' refers to slot 'ts3', which has no time",
    ),
    "ELAN, time": (ELAN.replace('"4000"', '"4 s"'), "slot ts3 is '4 s'; expected milliseconds"),
    "Label Studio, start": (
        json.dumps([samples.task([{"value": {"ranges": [{"end": 4}], "timelinelabels": ["x"]}}])]),
        "task 1: start: nothing; expected a number",
    ),
    "Label Studio, no video": (
        json.dumps([{"data": {}, "annotations": [{"result": []}]}]),
        "task 1: its data names no video",
    ),
    "CVAT, project": ("<annotations><meta><project/></meta></annotations>", "export its tasks one by one"),
    "CVAT, steps": (
        samples.CVAT.replace("</size>", "</size><frame_filter>step=5</frame_filter>"),
        "leaves out frames (step=5)",
    ),
    "CVAT, frame": (
        samples.CVAT.replace('frame="9"', 'frame="nine"'),
        "track 0, frame: 'nine'; expected a number",
    ),
    "VIA, no file": (json.dumps(samples.VIA | {"file": {}}), "file of view 1: nothing; expected an object"),
    "VIA, times": (with_metadata(z=["a", 2]), "metadata '1_a', z: 'a'; expected a number"),
    "VIA, reversed": (with_metadata(z=[4, 2]), "metadata '1_a': 'groom' ends at 2, before its start at 4"),
    "VIA, stranger": (with_metadata(vid="7"), "belongs to view '7', which is not there"),
    "ActivityNet, segment": (
        activity(segment=[1, 2, 3]),
        "v1: segment of 3 numbers; expected a start and an end",
    ),
    "ActivityNet, label": (activity(label=None), "v1: label: nothing; expected text"),
    "FERAL, class": (
        json.dumps(samples.FERAL | {"labels": {"a.mp4": [0, 5]}}),
        "a.mp4, frame 1: class 5 has no name in class_names",
    ),
    "frames, gap": ("frame,groom\n0,1\n2,1\n", "line 3: frame '2'; expected a row for every frame"),
    "spans, time": (
        EVENTS + "a.mp4,x,1,later\n",
        "line 2: end 'later'; expected seconds, 0 or more, or HH:MM:SS.mmm",
    ),
    "spans, reversed": (
        EVENTS + "a.mp4,x,0,1\na.mp4,x,4,2\n",
        "line 3: 'x' ends at 2, before its start at 4",
    ),
    "spans, fields": (EVENTS + "a.mp4,x,y,1,2\n", "line 2: more fields than columns"),
    "spans, no video": (EVENTS + ",x,1,2\n", "line 2: no video"),
    "spans, no end": ("video,label,start\na.mp4,x,1\n", "has no column for the end of a span"),
    "spans, two labels": (
        "class,behavior,start,end\nx,y,1,2\n",
        "columns 'class' and 'behavior' can both be the label",
    ),
    "spans, frame": (
        "label,start_frame,end_frame\nx,1.5,4\n",
        "line 2: start: 1.5; expected the number of a frame",
    ),
    "timeline, failed": (
        '{"video": "a.mp4", "error": "no such file"}',
        "was read as vidcli timeline, and holds no",
    ),
    "timeline, start": (
        '{"video": "a.mp4", "segments": [{"end": 2, "label": "x"}]}',
        "video 1, start: nothing; expected a number",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_gets_one_clear_message(kind: str, tmp_path: Path) -> None:
    content, told = BAD[kind]
    path = tmp_path / "cage1.dat"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert told in message
    assert "\n" not in message
    assert len(message) < 1000


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_annotations(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_annotations(tmp_path)


def test_a_workbook_may_not_unfold_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcli.data.annotations.workbook.MAX_BYTES", 10_000)
    path = tmp_path / "a.xlsx"
    path.write_bytes(zipped(xl__workbook="<workbook>" + " " * 20_000 + "</workbook>"))
    with pytest.raises(DataError, match="holds more than"):
        read_annotations(path)
