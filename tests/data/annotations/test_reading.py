"""Each format is read, and found by its content alone."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.annotations import samples
from vidcli.data.annotations import Annotations, Recording, Span, read_annotations
from vidcli.data.annotations.media import parts_of
from vidcli.data.annotations.spans import TO_THE_END

THREE = {
    Span("groom", 1.0, 2.5, "ann"),
    Span("sneeze", 3.0, 3.0),
    Span("rest", 2.0, 4.0, "bob"),
}
"""What the files of BORIS hold, each in its way."""
IN_FRAMES = {Span("groom", 8, 20), Span("rest", 16, 32)}


def read(folder: Path, content: str | bytes, name: str = "cage1.dat") -> Annotations:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_annotations(path)


def only(annotations: Annotations) -> Recording:
    (recording,) = annotations.recordings
    assert Path(parts_of(recording.media)[-1]).stem in ("cage1", "1f0a77c2-cage1")
    return recording


def table_rows(text: str) -> list[list[object]]:
    rows = csv.reader(io.StringIO(text), delimiter="\t" if "\t" in text else ",")
    return [[float(cell) if cell.replace(".", "").isdigit() else cell for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (samples.boris(), "BORIS project"),
        (samples.BORIS_TABULAR, "BORIS tabular events"),
        (samples.BORIS_OLD_TABULAR, "BORIS tabular events"),
        (samples.BORIS_OLD_TABULAR.replace("\n", "\r\n").replace(",", "\t"), "BORIS tabular events"),
        (samples.BORIS_AGGREGATED, "BORIS aggregated events"),
        (samples.BORIS_AGGREGATED_NEW, "BORIS aggregated events"),
        ("\ufeff" + samples.BORIS_AGGREGATED_NEW, "BORIS aggregated events"),
        (samples.workbook(table_rows(samples.BORIS_AGGREGATED)), "BORIS aggregated events"),
        (samples.workbook(table_rows(samples.BORIS_OLD_TABULAR)), "BORIS tabular events"),
        (samples.workbook(table_rows(samples.BORIS_AGGREGATED), in_place=True), "BORIS aggregated events"),
    ],
)
def test_files_of_boris(content: str | bytes, form: str, tmp_path: Path) -> None:
    annotations = read(tmp_path, content)
    assert annotations.form == form
    recording = only(annotations)
    assert not recording.in_frames
    assert set(recording.spans) == THREE


def test_an_offset_of_boris_is_taken_off(tmp_path: Path) -> None:
    events = [[11.0, "ann", "groom", "", ""], [12.5, "ann", "groom", "", ""]]
    recording = only(read(tmp_path, samples.boris(**{"time offset": 10.0, "events": events})))
    assert recording.spans == (Span("groom", 1.0, 2.5, "ann"),)
    late = samples.BORIS_TABULAR.replace("\t0.0\t8.000\t", "\t1.0\t8.000\t")
    assert Span("groom", 0.0, 1.5, "ann") in only(read(tmp_path, late)).spans


def test_media_in_a_queue_share_the_events_of_boris(tmp_path: Path) -> None:
    names = ["a.mp4", "b.mp4"]
    events = [[6.0, "", "groom", "", ""], [9.0, "", "groom", "", ""], [9.5, "", "sneeze", "", ""]]
    info = {"length": {"a.mp4": 8.0, "b.mp4": 4.0}}
    text = samples.boris(file={"1": names, "2": ["side.mp4"]}, media_info=info, events=events)
    annotations = read(tmp_path, text)
    first, second = annotations.recordings
    assert (first.media, first.spans) == ("a.mp4", (Span("groom", 6.0, 8.0),))
    assert (second.media, second.spans) == ("b.mp4", (Span("groom", 0.0, 1.0), Span("sneeze", 1.5, 1.5)))
    assert "1 media of further players" in annotations.notes[0]


def test_an_open_state_has_no_end_and_modifiers_are_told(tmp_path: Path) -> None:
    events = [[1.0, "", "groom", "left", ""], [2.0, "", "groom", "right", ""], [3.0, "", "groom", "left", ""]]
    annotations = read(tmp_path, samples.boris(events=events))
    assert set(only(annotations).spans) == {Span("groom", 1.0, 3.0), Span("groom", 2.0, None)}
    assert annotations.notes == ["3 events have modifiers, which are left out: groom 3"]


def test_elan(tmp_path: Path) -> None:
    annotations = read(tmp_path, samples.ELAN.format(origin=0))
    recording = only(annotations)
    assert recording.media == "file:///C:/lab/cage1.mpg"  # not the sound
    # A slot without a time lies between its neighbours; a tier's name stands for a value that is empty.
    assert set(recording.spans) == {Span("groom", 1.0, 2.5, "ann"), Span("rest", 2.5, 4.0)}
    assert "1 annotations depend on others" in annotations.notes[0]
    later = only(read(tmp_path, samples.ELAN.format(origin=500)))
    assert Span("rest", 3.0, 4.5) in later.spans


def test_label_studio(tmp_path: Path) -> None:
    result = [samples.timeline_label("groom", 9, 20), samples.timeline_label("rest", 17, 32)]
    box = {"type": "videorectangle", "value": {"sequence": [], "labels": ["mouse"]}}
    annotations = read(tmp_path, json.dumps([samples.task([*result, box])]))
    recording = only(annotations)
    assert recording.in_frames
    assert set(recording.spans) == IN_FRAMES
    assert annotations.notes == ["1 results mark no span of time and are left out: videorectangle 1"]


def test_label_studio_in_its_other_forms(tmp_path: Path) -> None:
    short = [{"id": 1, "video": "cage1.mp4", "l": [samples.timeline_label("groom", 9, 20)["value"]]}]
    assert only(read(tmp_path, json.dumps(short))).spans == (Span("groom", 8, 20),)
    sound = {"type": "labels", "value": {"start": 1.0, "end": 2.5, "labels": ["groom"]}}
    whole = {"type": "choices", "value": {"choices": ["night"]}}
    recording = only(read(tmp_path, json.dumps(samples.task([sound, whole], "<video src='x/cage1.mp4'/>"))))
    assert recording.spans == (Span("groom", 1.0, 2.5), Span("night", 0.0, TO_THE_END))
    predicted = {
        "data": {"v": "cage1.mp4"},
        "annotations": [],
        "predictions": [{"result": [sound | {"score": 0.5}]}],
    }
    annotations = read(tmp_path, json.dumps([predicted]))
    assert only(annotations).spans == (Span("groom", 1.0, 2.5, score=0.5),)
    assert "their prediction is used" in annotations.notes[0]


def test_cvat(tmp_path: Path) -> None:
    for content in (samples.CVAT, zipped(samples.CVAT)):
        recording = only(read(tmp_path, content))
        assert recording.in_frames
        assert set(recording.spans) == IN_FRAMES
    tagged = only(read(tmp_path, samples.CVAT_IMAGES))
    assert set(tagged.spans) == {Span("groom", 8, 10), Span("groom", 12, 13), Span("rest", 9, 10)}


def zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("annotations.xml", text)
    return buffer.getvalue()


def test_a_backup_of_cvat_has_the_name_of_its_folder(tmp_path: Path) -> None:
    shapes = [{"frame": 8, "outside": False}, {"frame": 20, "outside": True}, {"frame": 40, "outside": False}]
    job = {
        "version": 0,
        "tags": [{"frame": 3, "label": "x"}],
        "shapes": [],
        "tracks": [{"label": "groom", "shapes": shapes}],
    }
    folder = tmp_path / "cage1"
    folder.mkdir()
    recording = only(read(folder, json.dumps([job]), "annotations.json"))
    assert set(recording.spans) == {Span("groom", 8, 20), Span("groom", 40, TO_THE_END), Span("x", 3, 4)}


def test_via(tmp_path: Path) -> None:
    annotations = read(tmp_path, json.dumps(samples.VIA))
    assert set(only(annotations).spans) == {Span("groom", 1.0, 2.5), Span("sneeze", 3.0, 3.0)}
    assert annotations.notes == ["1 regions of pictures mark no span of time and are left out"]


def test_activitynet(tmp_path: Path) -> None:
    recording = only(read(tmp_path, samples.ACTIVITYNET))
    assert recording.split == "train"
    assert set(recording.spans) == {Span("groom", 1.0, 2.5), Span("rest", 2.0, 4.0)}
    detected = {"results": {"cage1": [{"segment": [1, 2], "label": "groom", "score": 0.25}]}}
    assert only(read(tmp_path, json.dumps(detected))).spans == (Span("groom", 1.0, 2.0, score=0.25),)


def test_feral(tmp_path: Path) -> None:
    recording = only(read(tmp_path, json.dumps(samples.FERAL)))
    assert recording.split == "train"
    assert recording.num_frames == 64
    assert set(recording.spans) == {Span("other", 0, 8), Span("groom", 8, 20), Span("other", 20, 64)}
    several = samples.FERAL | {"is_multilabel": True, "labels": {"cage1.mp4": [[1, 0], [1, 1], [0, 0]]}}
    assert set(only(read(tmp_path, json.dumps(several))).spans) == {Span("other", 0, 2), Span("groom", 1, 2)}


def test_tables_with_a_row_for_every_frame(tmp_path: Path) -> None:
    annotations = read(tmp_path, samples.frame_rows(), "cage1_labels.csv")
    recording = only(annotations)
    assert recording.num_frames == 64
    assert set(recording.spans) == IN_FRAMES
    assert "background is what is left" in annotations.notes[1]
    simba = "nose_x,nose_p,groom\n" + "".join(f"{n}.5,0.{n},{n % 2}\n" for n in range(2, 6))
    annotations = read(tmp_path, simba, "cage1.csv")
    assert set(only(annotations).spans) == {Span("groom", 1, 2), Span("groom", 3, 4)}
    assert "2 columns hold other numbers" in annotations.notes[1]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("video,label,start,end\ncage1.mp4,groom,1,2.5\n", {Span("groom", 1.0, 2.5)}),
        ("File;Behaviour;Begin time;Stop\r\ncage1.mp4;groom;0:01,0;0:02,5\r\n", {Span("groom", 1.0, 2.5)}),
        (
            "behavior\tstart_time\tduration\tanimal\ngroom\t00:00:01.000\t1.5\tann\n",
            {Span("groom", 1.0, 2.5, "ann")},
        ),
        (
            '\ufefffilename,class,onset,offset\ncage1.mp4,"groom, long",1,\n',
            {Span("groom, long", 1.0, TO_THE_END)},
        ),
        ("label,start,end,confidence\ngroom,1,2.5,0.5\n,3,4,\n", {Span("groom", 1.0, 2.5, score=0.5)}),
    ],
)
def test_tables_of_spans(text: str, spans: set[Span], tmp_path: Path) -> None:
    recording = only(read(tmp_path, text, "cage1.csv"))
    assert not recording.in_frames
    assert set(recording.spans) == spans


def test_columns_without_a_use_are_told(tmp_path: Path) -> None:
    annotations = read(tmp_path, "path,label,start,end,split,observer\ncage1.mp4,groom,1,2,valid,eve\n")
    assert only(annotations).split == "val"
    assert annotations.notes == ["1 columns are not used: 'observer'"]


def test_a_table_of_frames(tmp_path: Path) -> None:
    recording = only(read(tmp_path, "label,start_frame,end_frame\ngroom,8,19\n"))
    assert (recording.in_frames, recording.spans) == (True, (Span("groom", 8, 20),))


def test_results_of_a_timeline(tmp_path: Path) -> None:
    segment = {"start": 1.0, "end": 2.5, "label": "groom", "confidence": 0.75}
    lines: list[dict[str, Any]] = [
        {"video": "x/cage1.mp4", "duration": 8.0, "covered_seconds": 4.0, "segments": [segment]},
        {"video": "gone.mp4", "error": "no such file"},
    ]
    annotations = read(tmp_path, "\n".join(map(json.dumps, lines)))
    assert only(annotations).spans == (Span("groom", 1.0, 2.5, score=0.75),)
    assert len(annotations.notes) == 2


def test_only_the_first_sheet_of_a_workbook_is_read(tmp_path: Path) -> None:
    rows = [["video", "label", "start", "end"], ["cage1.mp4", "grüße & <x>", 1, 2.5]]
    annotations = read(tmp_path, samples.workbook(rows, ("events", "ethogram")))
    assert only(annotations).spans == (Span("grüße & <x>", 1.0, 2.5),)
    assert annotations.notes == ["only the first sheet 'events' is read; 1 more are not"]
