"""Manifests from spreadsheets and other systems: read, or refused with what to do."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest

from vidcli.config import DataConfig
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import load_items, manifest_text, read_data
from vidcli.errors import DataError

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "sub/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "m.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_items(path)
    return str(caught.value)


def test_a_table_from_excel_on_windows(videos: Path) -> None:
    text = "Path;Label;Start;End;;\r\na.mp4;läuft;0,5;2;;\r\nsub\\c.mp4;springt;;;;\r\n;;;;;\r\n"
    listing = read_data(table(videos, text, "cp1252"))
    assert listing.items == [
        VideoItem(videos / "a.mp4", "läuft", start_seconds=0.5, end_seconds=2.0),
        VideoItem(videos / "sub/c.mp4", "springt"),
    ]
    assert len(listing.notes) == 1
    assert "Windows-1252" in listing.notes[0]


def test_a_backslash_in_a_name_stays(videos: Path) -> None:
    (videos / "sub\\c.mp4").touch()
    assert load_items(table(videos, "path,label\nsub\\c.mp4,x\n"))[0].path == videos / "sub\\c.mp4"


@pytest.mark.parametrize("cell", [" a.mp4 ", "'=1.mp4", "'=1.mp4 "])
def test_a_path_that_is_there_as_it_is_written_is_taken_so(cell: str, videos: Path) -> None:
    (videos / cell).touch()
    (videos / "=1.mp4").touch()
    assert load_items(table(videos, f'path,label\n"{cell}",x\n'))[0].path == videos / cell
    (videos / cell).unlink()
    other = "a.mp4" if "a" in cell else "=1.mp4"
    assert load_items(table(videos, f'path,label\n"{cell}",x\n'))[0].path == videos / other


@pytest.mark.parametrize(("there", "named"), [(NFD, NFC), (NFC, NFD)])
def test_a_path_is_found_in_either_spelling(there: str, named: str, videos: Path) -> None:
    (videos / f"{there}.mp4").touch()
    (item,) = load_items(table(videos, f"path,label\n{named}.mp4,{named}\n"))
    assert item == VideoItem(videos / f"{there}.mp4", NFC)


def test_both_spellings_of_a_class_are_one(videos: Path) -> None:
    items = load_items(table(videos, f"path,label\na.mp4,{NFC}\nb.mp4,{NFD}\nsub/c.mp4,x\n"))
    assert class_names_of(items) == [NFC, "x"]


def test_columns_that_are_not_known_are_ignored_with_a_note(videos: Path) -> None:
    (note,) = read_data(table(videos, "path,label,fps,Remark,gruop,\na.mp4,x,25,good,g,\n")).notes
    assert "3 columns are not known and ignored: 'fps', 'remark', 'gruop'" in note
    assert "Did you mean 'group' by 'gruop'?" in note
    assert "'fps'?" not in note


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('video,class\r\na.mp4,"x, y"\r\n', "'video' as path, 'class' as label"),
        ("\ufeffFileName;Behaviour;start_time;end_time\na.mp4;x, y;0:00:01,5;1:02\n", "'filename' as path"),
        (
            "filepath\tbehavior\tonset\tstop\na.mp4\tx, y\t00:00:01.500\t62\n",
            "'onset' as start, 'stop' as end",
        ),
        (
            'path,label,start,end,class\na.mp4,"x, y",1.5,00:01:02,z\n',
            "1 column is not known and ignored: 'class'",
        ),
    ],
)
def test_columns_and_times_of_other_programs(text: str, told: str, videos: Path) -> None:
    listing = read_data(table(videos, text))
    spans = (1.5, 62.0) if "0" in text else (0.0, None)
    assert listing.items == [VideoItem(videos / "a.mp4", "x, y", None, None, *spans)]
    assert told in listing.notes[0]


def test_two_columns_for_one_are_refused(videos: Path) -> None:
    told = refusal_of(table(videos, "path,class,behavior\na.mp4,x,y\n"))
    assert "columns 'class' and 'behavior' can both be the label; name one of them 'label'" in told
    assert load_items(table(videos, "path,label,behavior\na.mp4,x,y\n"))[0].label == "x"


@pytest.mark.parametrize("time", ["1:60", "1:2:3:4", "61:00:00:00", "1:61:00", "-0:01", "1e400", "noon"])
def test_times_that_are_none(time: str, videos: Path) -> None:
    told = refusal_of(table(videos, f"path,label,start\na.mp4,x,{time}\n"))
    assert f"line 2: start {time!r}; expected seconds, 0 or more, or HH:MM:SS.mmm" in told


def test_a_misspelt_column_that_must_be_there(videos: Path) -> None:
    assert "unknown column 'lable'. Did you mean 'label'?" in refusal_of(
        table(videos, "path,Lable\na.mp4,x\n")
    )


@pytest.mark.parametrize("with_label", [True, False])
def test_a_hundred_thousand_columns(with_label: bool, videos: Path) -> None:
    head = "path," + ("label," if with_label else "") + ",".join(f"c{n}" for n in range(10**5))
    path = table(videos, f"{head}\na.mp4,x\n")
    started = time.monotonic()
    told = read_data(path).notes[0] if with_label else refusal_of(path)
    assert time.monotonic() - started < 30
    assert len(told) < 1000
    assert "c9" in told
    assert "c10'" not in told
    assert "99990 more" in told


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "null", "N/A", "x|nan"])
def test_what_programs_write_for_no_label_is_refused_with_its_row(label: str, videos: Path) -> None:
    told = refusal_of(table(videos, f"path,label\na.mp4,x\nb.mp4,{label}\n"))
    assert f"line 3: label {label!r} is what programs write where there is none" in told
    assert load_items(table(videos, f"path,label\na.mp4,x\nb.mp4,'{label}\n"))[1].label == label


@pytest.mark.parametrize("label", ["", "  ", '""', "\u3000", "\u200b", "\ufeff \u2060"])
def test_a_blank_label_is_refused(label: str, videos: Path) -> None:
    assert "line 3: no label" in refusal_of(table(videos, f"path,label\na.mp4,x\nb.mp4,{label}\n"))


def test_a_group_that_is_none_is_no_group_of_all(videos: Path) -> None:
    told = refusal_of(table(videos, "path,label,group\na.mp4,x,g\nb.mp4,y,NaN\nsub/c.mp4,y,\n"))
    assert "line 3: group 'NaN' is what programs write where there is none; leave it empty" in told
    assert "line 4" not in told


def test_a_label_that_is_no_name(videos: Path) -> None:
    assert "line 2: a label of 5000 characters" in refusal_of(
        table(videos, f"path,label\na.mp4,{'x' * 5000}\n")
    )


def test_a_run_of_an_earlier_version_keeps_its_class(videos: Path) -> None:
    (videos / "config.yaml").touch()
    (videos / "splits.csv").write_text("path,label\na.mp4,none\nb.mp4,x\n")
    assert [item.label for item in load_items(videos / "splits.csv")] == ["none", "x"]


ODD = ["none", "'none", "nan|x", "=1+1", "-x", "-1", "'=x", "'tis", "+a|@b", "a\nb", 'a,"b"', NFC, "\x1b[31m"]


def test_a_manifest_of_ours_comes_back(videos: Path) -> None:
    names = ["=cmd.mp4", "-a.mp4", "'=b.mp4", "@c.mp4", "new\nline.mp4", "carriage\rreturn.mp4", f"{NFD}.mp4",
             "back\\slash.mp4", " blank.mp4", "\x1b[31m.mp4", "'quoted'.mp4", "semi;colon.mp4",
             "tab\t.mp4"]  # fmt: skip
    for name in names:
        (videos / name).touch()
    items = [
        VideoItem(videos / name, label, "train", label, 0.0, 1 / 3)
        for name, label in zip(names, ODD, strict=True)
    ]
    path = videos / "sub" / "m.csv"
    path.write_text(manifest_text(items), encoding="utf-8", newline="")
    assert load_items(path) == items


def test_names_that_look_alike_are_told_with_their_counts(videos: Path) -> None:
    text = "path,label\na.mp4,Walk\nb.mp4,walk\nsub/c.mp4,run\n"
    (note,) = read_data(table(videos, text)).of_names
    assert "'Walk' (1 videos), 'walk' (1 videos)" in note
    several = table(videos, "path,label\na.mp4,Walk|x\nb.mp4,walk|X\nsub/c.mp4,run\n")
    assert len(read_data(several, settings=DataConfig(multi_label=True)).of_names) == 2


def test_forms() -> None:
    assert unicodedata.normalize("NFC", NFD) == NFC
