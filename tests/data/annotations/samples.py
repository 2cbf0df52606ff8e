"""Small annotation files as other programs write them, and workbooks made without one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

BORIS: dict[str, Any] = {
    "time_format": "hh:mm:ss",
    "project_format_version": "7.0",
    "behaviors_conf": {
        "0": {"type": "State event", "code": "groom"},
        "1": {"type": "Point event", "code": "sneeze"},
        "2": {"type": "State event with coding map", "code": "rest"},
    },
    "subjects_conf": {},
    "observations": {
        "obs1": {
            "type": "MEDIA",
            "file": {"1": ["C:\\lab\\cage1.avi"], "2": []},
            "time offset": 0.0,
            "media_info": {"length": {"C:\\lab\\cage1.avi": 8.0}, "fps": {"C:\\lab\\cage1.avi": 8.0}},
            "events": [
                [2.5, "ann", "groom", "None", "", 20],
                [1.0, "ann", "groom", "None", "", 8],
                [3.0, "", "sneeze", "", ""],
                [2.0, "bob", "rest", "", ""],
                [4.0, "bob", "rest", "", ""],
            ],
        }
    },
}


def boris(**changes: Any) -> str:
    """Return the project with other values in its only observation."""
    observation = BORIS["observations"]["obs1"] | changes
    return json.dumps({**BORIS, "observations": {"obs1": observation}})


_EVENTS = (
    ("ann", "groom", "START", 1.0),
    ("ann", "groom", "STOP", 2.5),
    ("No focal subject", "sneeze", "POINT", 3.0),
    ("bob", "rest", "START", 2.0),
    ("bob", "rest", "STOP", 4.0),
)
_ABOUT = "obs1\t2024-01-01 10:00:00\t\t8.0\tMedia file(s)\tplayer #1:/lab/cage1.avi\t0.0\t8.000\t8.000"
BORIS_TABULAR = (
    "Observation id\tObservation date\tDescription\tObservation duration\tObservation type\tSource\t"
    "Time offset (s)\tMedia duration (s)\tFPS\tSubject\tBehavior\tBehavioral category\tBehavior type\t"
    "Time\tMedia file name\tImage index\tImage file path\tComment\n"
) + "".join(
    f"{_ABOUT}\t{subject}\t{label}\t\t{kind}\t{time:.3f}\t/lab/cage1.avi\t8\tNA\t\n"
    for subject, label, kind, time in _EVENTS
)

BORIS_OLD_TABULAR = """\
Observation id,obs1

Media file(s)
Player #1,/lab/cage1.avi

Observation date,2019-01-01 10:00:00
Description,
Time offset (s),0.0

Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status
1.000,/lab/cage1.avi,8.0,8.0,ann,groom,,,START
2.500,/lab/cage1.avi,8.0,8.0,ann,groom,,,STOP
3.000,/lab/cage1.avi,8.0,8.0,No focal subject,sneeze,,,POINT
2.000,/lab/cage1.avi,8.0,8.0,bob,rest,,,START
4.000,/lab/cage1.avi,8.0,8.0,bob,rest,,,STOP
"""

BORIS_AGGREGATED = """\
Observation id,Observation date,Description,Media file,Total length,FPS,Subject,Behavior,Behavioral category,\
Modifiers,Behavior type,Start (s),Stop (s),Duration (s),Comment start,Comment stop
obs1,2019-01-01,,/lab/cage1.avi,8.0,8.0,ann,groom,,,STATE,1.000,2.500,1.500,,
obs1,2019-01-01,,/lab/cage1.avi,8.0,8.0,No focal subject,sneeze,,,POINT,3.000,3.000,NA,,
obs1,2019-01-01,,/lab/cage1.avi,8.0,8.0,bob,rest,,,STATE,2.000,4.000,2.000,,
"""

BORIS_AGGREGATED_NEW = """\
Observation id,Observation date,Description,Observation type,Source,Time offset (s),Coding duration,\
Media duration (s),FPS (frame/s),Subject,Behavior,Behavioral category,Behavior type,Start (s),Stop (s),\
Duration (s),Media file name,Image index start,Image index stop,Comment start,Comment stop
obs1,2024-01-01,,Media file(s),player #1:/lab/cage1.avi,0.0,8.0,8.000,8.000,ann,groom,,STATE,1.0,2.5,1.5,\
/lab/cage1.avi,8,20,,
obs1,2024-01-01,,Media file(s),player #1:/lab/cage1.avi,0.0,8.0,8.000,8.000,,sneeze,,POINT,3.0,3.0,NA,\
/lab/cage1.avi,24,24,,
obs1,2024-01-01,,Media file(s),player #1:/lab/cage1.avi,0.0,8.0,8.000,8.000,bob,rest,,STATE,2.0,4.0,2.0,\
/lab/cage1.avi,16,32,,
"""

ELAN = """\
<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T10:00:00+00:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/cage1.wav" MIME_TYPE="audio/x-wav"/>
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/cage1.mpg" MIME_TYPE="video/mpeg" TIME_ORIGIN="{origin}"/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="4000"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="t" TIER_ID="behaviour" PARTICIPANT="ann">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>groom</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="t" TIER_ID="rest">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="n" TIER_ID="note" PARENT_REF="behaviour">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>left paw</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


def task(
    result: Sequence[dict[str, Any]], video: str = "/data/upload/3/1f0a77c2-cage1.mp4"
) -> dict[str, Any]:
    """Return a task of Label Studio with one annotation."""
    return {"id": 1, "data": {"video": video}, "annotations": [{"id": 7, "result": list(result)}]}


def timeline_label(label: str, start: int, end: int) -> dict[str, Any]:
    """Return a result of Label Studio: frames from 1, both inclusive."""
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    return {"id": "a", "type": "timelinelabels", "from_name": "l", "to_name": "video", "value": value}


CVAT = """\
<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><id>1</id><name>my task</name><size>64</size><source>cage1.mp4</source></task></meta>
<track id="0" label="groom">
  <box frame="8" outside="0" occluded="0" keyframe="1" xtl="0" ytl="0" xbr="1" ybr="1"/>
  <box frame="9" outside="0" occluded="0" keyframe="0" xtl="0" ytl="0" xbr="1" ybr="1"/>
  <box frame="20" outside="1" occluded="0" keyframe="1" xtl="0" ytl="0" xbr="1" ybr="1"/>
</track>
<track id="1" label="rest">
  <box frame="16" outside="0" occluded="0" keyframe="1" xtl="0" ytl="0" xbr="1" ybr="1"/>
  <box frame="31" outside="0" occluded="0" keyframe="0" xtl="0" ytl="0" xbr="1" ybr="1"/>
</track>
</annotations>
"""

CVAT_IMAGES = """\
<annotations><version>1.1</version><meta><task><name>cage1</name></task></meta>
<image id="8" name="frame_000008" width="4" height="4"><tag label="groom" source="manual"/></image>
<image id="9" name="frame_000009" width="4" height="4"><tag label="groom"/><tag label="rest"/></image>
<image id="12" name="frame_000012" width="4" height="4"><tag label="groom"/></image>
</annotations>
"""

VIA: dict[str, Any] = {
    "project": {"pname": "p", "data_format_version": "3.1.1", "vid_list": ["1"]},
    "config": {},
    "attribute": {
        "1": {"aname": "behaviour", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"0": "groom"}}
    },
    "file": {"2": {"fid": "2", "fname": "cage1.mp4", "type": 4, "loc": 1, "src": ""}},
    "view": {"1": {"fid_list": ["2"]}},
    "metadata": {
        "1_a": {"vid": "1", "flg": 0, "z": [1.0, 2.5], "xy": [], "av": {"1": "0"}},
        "1_b": {"vid": "1", "flg": 0, "z": [3.0], "xy": [], "av": {"1": "sneeze"}},
        "1_c": {"vid": "1", "flg": 0, "z": [3.0], "xy": [2, 1, 1, 4, 4], "av": {}},
    },
}

ACTIVITYNET = json.dumps(
    {
        "version": "1.3",
        "database": {
            "cage1": {
                "duration": 8.0,
                "subset": "training",
                "annotations": [
                    {"segment": [1.0, 2.5], "label": "groom"},
                    {"segment": [2, 4], "label": "rest"},
                ],
            }
        },
    }
)

FERAL: dict[str, Any] = {
    "is_multilabel": False,
    "class_names": {"0": "other", "1": "groom"},
    "labels": {"cage1.mp4": [0] * 8 + [1] * 12 + [0] * 44},
    "splits": {"train": ["cage1.mp4"], "val": [], "test": [], "inference": []},
}


def frame_rows(num_frames: int = 64) -> str:
    """Return a table of DeepEthogram: groom from frame 8 to 20, rest from 16 to 32."""
    lines = [",background,groom,rest"]
    for frame in range(num_frames):
        groom, rest = int(8 <= frame < 20), int(16 <= frame < 32)
        lines.append(f"{frame},{int(not groom and not rest)},{groom},{rest}")
    return "\n".join(lines) + "\n"


def workbook(
    rows: Sequence[Sequence[object]], sheets: Sequence[str] = ("events",), in_place: bool = False
) -> bytes:
    """Return an XLSX file: texts in a list of their own, as Excel writes them, or in place like openpyxl."""
    strings: list[str] = []
    lines = []
    for number, row in enumerate(rows, 1):
        cells = []
        for column, value in enumerate(row):
            place = f"{chr(ord('A') + column)}{number}"
            if isinstance(value, str):
                if not value:
                    continue
                if in_place:
                    cells.append(f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>')
                    continue
                strings.append(value)
                cells.append(f'<c r="{place}" t="s"><v>{len(strings) - 1}</v></c>')
            else:
                cells.append(f'<c r="{place}"><v>{value}</v></c>')
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relations = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    named = "".join(f'<sheet name="{n}" sheetId="{k}" r:id="rId{k}"/>' for k, n in enumerate(sheets, 1))
    targets = "".join(
        f'<Relationship Id="rId{k}" Target="worksheets/sheet{k}.xml"/>' for k in range(1, len(sheets) + 1)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "xl/workbook.xml", f"<workbook {space} {relations}><sheets>{named}</sheets></workbook>"
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{targets}</Relationships>")
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {space}><sheetData>{''.join(lines)}</sheetData></worksheet>",
        )
        shared = "".join(
            f"<si><r><t>{escape(text[:1])}</t></r><r><t>{escape(text[1:])}</t></r></si>" for text in strings
        )
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{shared}</sst>")
    return buffer.getvalue()
