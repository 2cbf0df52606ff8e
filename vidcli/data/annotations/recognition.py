"""Which format an annotation file has: by its content, for suffixes are shared or wrong.

first bytes      ZIP             a workbook, or an export of CVAT
                 { or [          JSON, by its keys
                 <               XML, by its root
otherwise        a table, by its columns
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from vidcli.data.annotations.activitynet import read_activitynet
from vidcli.data.annotations.boris_project import read_boris_project
from vidcli.data.annotations.boris_tables import AGGREGATED_HEADER, HEADERS, is_boris_table, read_boris_table
from vidcli.data.annotations.cvat import is_cvat_json, read_cvat_json, read_cvat_xml
from vidcli.data.annotations.documents import BLANK, MAX_BYTES, faults_named, parse_json, parse_xml, text_in
from vidcli.data.annotations.elan import read_elan
from vidcli.data.annotations.event_table import is_event_table, read_event_table
from vidcli.data.annotations.feral import read_feral
from vidcli.data.annotations.frame_table import read_frame_table
from vidcli.data.annotations.label_studio import is_label_studio, read_label_studio
from vidcli.data.annotations.spans import Annotations
from vidcli.data.annotations.timeline_results import is_timeline_results, read_timeline_results
from vidcli.data.annotations.via import read_via
from vidcli.data.annotations.workbook import read_workbook, zip_names, zip_text
from vidcli.data.column_names import END_NAMES, LABEL_NAMES, PATH_NAMES, START_NAMES
from vidcli.names import visible
from vidcli.runtime.files import read_regular
from vidcli.sheets import OpenTable, name_columns, open_rows, open_table

KNOWN = (
    "BORIS (.boris, tabular and aggregated events), ELAN (.eaf), Label Studio, CVAT, VIA 3, ActivityNet, "
    "FERAL, DeepEthogram, SimBA, timelines of vidcli, or a table with the columns label, start and end"
)
_HEADERS = (*HEADERS, AGGREGATED_HEADER)
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK\x03\x04"
_UNNAMED = ("annotations", "annotation", "default", "export", "result", "results", "project")
"""Stems that programs give any export, so that the folder says more."""


def read_annotations(path: Path) -> Annotations:
    """Read an annotation file of any of the formats that are known.

    Raises:
        DataError: it cannot be read, is of no known format, or is damaged; says which.
    """
    with faults_named(path):
        annotations = _read(read_regular(path, MAX_BYTES), _name_of(path))
        if not any(recording.spans for recording in annotations.recordings):
            raise ValueError(f"was read as {annotations.form}, and holds no labelled span")
        return annotations


def _name_of(path: Path) -> str:
    """Return the stem of a file; of a file whose name says nothing, that of its folder."""
    stem = path.name.partition(".")[0] if path.name.lower().endswith(".boris") else path.stem
    return path.absolute().parent.name if stem.casefold() in _UNNAMED else stem


def _read(content: bytes, name: str) -> Annotations:
    if content.startswith(_OLD_WORKBOOK):
        raise ValueError("is a workbook of the old format (.xls); save it as XLSX or CSV")
    if content.startswith(_ZIP):
        names = zip_names(content)
        if "annotations.xml" in names:
            return _read_xml(parse_xml(zip_text(content, "annotations.xml")), name)
        if "xl/workbook.xml" not in names:
            raise ValueError(f"is a ZIP without annotations.xml or a workbook; expected {KNOWN}")
        rows, notes = read_workbook(content)
        return _read_table(open_rows(rows, _HEADERS), notes, name)
    text, encoding = text_in(content, KNOWN)
    begin = text.lstrip(BLANK)
    if begin[0] in "{[":
        return _read_json(parse_json(begin), name)
    if begin[0] == "<":
        return _read_xml(parse_xml(begin), name)
    guessed = "is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names are wrong"
    known = (*PATH_NAMES, *LABEL_NAMES, *START_NAMES, *END_NAMES)
    notes = [guessed] if encoding == "cp1252" else []
    return _read_table(open_table(text, known, _HEADERS), notes, name)


def _read_json(value: Any, name: str) -> Annotations:
    if is_timeline_results(value):
        return read_timeline_results(value)
    if is_label_studio(value):
        return read_label_studio(value)
    if is_cvat_json(value):
        return read_cvat_json(value, name)
    if isinstance(value, dict):
        readers = (
            ({"observations", "behaviors_conf"}, read_boris_project),
            ({"metadata", "file"}, read_via),
            ({"labels", "class_names"}, read_feral),
            ({"database"}, read_activitynet),
            ({"results"}, read_activitynet),
        )
        for keys, read in readers:
            if keys <= value.keys():
                return read(value)
        if "_via_img_metadata" in value:
            raise ValueError(
                "is a project of VIA 2, which marks pictures and not time; expected one of VIA 3"
            )
        found = f"an object with {name_columns(list(value)) or 'nothing'}"
    else:
        found = f"a list of {len(value)}"
    raise ValueError(f"is JSON of no known annotation format ({found}); expected {KNOWN}")


def _read_xml(root: Element, name: str) -> Annotations:
    if root.tag == "ANNOTATION_DOCUMENT":
        return read_elan(root, name)
    if root.tag == "annotations":
        return read_cvat_xml(root, name)
    raise ValueError(f"is XML of no known annotation format (<{visible(root.tag)[:40]}>); expected {KNOWN}")


def _read_table(table: OpenTable, notes: list[str], name: str) -> Annotations:
    columns = table.columns
    if is_boris_table(columns):
        return read_boris_table(table.to_sheet(notes))
    if is_event_table(columns):
        return read_event_table(table.to_sheet(notes), name)
    read = read_frame_table(table, notes, name)
    if read is None:
        raise ValueError(
            f"is a table of no known format, with the columns {name_columns(columns)}; expected {KNOWN}"
        )
    return read
