"""Annotation files of other programs: labelled spans of recordings, read and written.

    recognition  which format a file has, by its content     media        the videos that it names
    spans        what all formats hold                       assembly     rows of a manifest
    documents    JSON and XML without entities               workbook     XLSX
    event_table  any table of spans                          frame_table  DeepEthogram, SimBA
    rendering    which format is written how

and one file for each program: boris_project and boris_tables (with boris_events, which both need), elan,
label_studio, cvat, via, activitynet, feral, and timeline_results for our own.

Readers raise a `ValueError` that says what is wrong; `recognition` adds the file and the format.
"""

from vidcli.data.annotations.recognition import read_annotations
from vidcli.data.annotations.spans import Annotations, Recording, Span

__all__ = ["Annotations", "Recording", "Span", "read_annotations"]
