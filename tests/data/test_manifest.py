from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidcli.data.folders import list_videos
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import fingerprint, load_items, manifest_text, read_data
from vidcli.errors import DataError


def touch(folder: Path, *names: str) -> None:
    """Make files that look like videos by name; reading a layout opens none of them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def write_table(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def refusal_of(data: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_items(data)
    assert str(caught.value).startswith(f"{data}: ")
    return str(caught.value)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with a.mp4, b.mp4 and c.mp4."""
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    return tmp_path


# --- folders --------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "run/2.mp4", "run/1.MKV", "jump/session/deep/1.avi")
    assert load_items(tmp_path) == [
        VideoItem(tmp_path / "jump/session/deep/1.avi", "jump"),
        VideoItem(tmp_path / "run/1.MKV", "run"),
        VideoItem(tmp_path / "run/2.mp4", "run"),
    ]


def test_split_folders(motion_data: Path) -> None:
    items = load_items(motion_data)
    assert len(items) == 8 * (4 + 2 + 2)
    assert len(class_names_of(items)) == 8
    for item in items:
        assert item.path.relative_to(motion_data).parts[:2] == (item.split, item.label)


@pytest.mark.parametrize(
    ("name", "split"),
    [("valid", "val"), ("Validation", "val"), ("dev", "val"), ("TEST", "test"), ("testing", "test")],
)
def test_aliases_of_split_folders(name: str, split: str, tmp_path: Path) -> None:
    touch(tmp_path, "Training/run/1.mp4", f"{name}/run/2.mp4")
    assert {item.split for item in load_items(tmp_path)} == {"train", split}


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/1.mp4", "val/run/2.mp4", "valid/run/3.mp4")
    assert "val and valid both mean val" in refusal_of(tmp_path)


def test_a_test_split_alone_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "test/run/1.mp4", "test/jump/1.mp4")
    assert {(item.split, item.label) for item in load_items(tmp_path)} == {("test", "run"), ("test", "jump")}


def test_classes_may_have_the_names_of_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.mp4", "car/1.mp4", "test/sub/1.mp4")
    assert class_names_of(load_items(tmp_path)) == ["car", "test", "train"]


def test_strangers_beside_the_splits_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/1.mp4", "Extra/run/1.mp4")
    assert "Extra beside train" in refusal_of(tmp_path)


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "run/1.mp4", "run/.2.mp4", "run/.trash/3.mp4", ".git/4.mp4", "run/notes.txt", "run/mp4")
    assert [item.path for item in load_items(tmp_path)] == [tmp_path / "run/1.mp4"]
    assert list_videos(tmp_path) == [tmp_path / "run/1.mp4"]


def test_an_empty_folder(tmp_path: Path) -> None:
    assert f"no videos in class folders ({tmp_path.name}/CLASS/video.mp4)" in refusal_of(tmp_path)


def test_a_folder_that_holds_only_a_manifest_names_it(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,label\n")
    assert f"give the manifest itself: {table}" in refusal_of(tmp_path)


def test_a_folder_of_loose_videos_says_what_to_do(videos: Path) -> None:
    assert "put the videos into one folder a class" in refusal_of(videos)


def test_one_video_is_no_data_set(videos: Path) -> None:
    assert "is one video" in refusal_of(videos / "a.mp4")


def test_nothing_there(tmp_path: Path) -> None:
    assert "no such folder or manifest" in refusal_of(tmp_path / "nowhere")


# --- tables ---------------------------------------------------------------------------------------


def test_a_table_with_every_column(videos: Path) -> None:
    rows = f"a.mp4,run,Train,g1,,\n{videos / 'b.mp4'},jump,validation,,0.5,2\n"
    table = write_table(videos, "path,label,split,group,start,end\n" + rows)
    assert load_items(table) == [
        VideoItem(videos / "a.mp4", "run", "train", "g1"),
        VideoItem(videos / "b.mp4", "jump", "val", None, 0.5, 2.0),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.tsv", "path\tlabel\na.mp4\trun, fast\n"),
        ("m.txt", "path\tlabel\na.mp4\trun, fast\n"),
        ("m.csv", 'path,label\na.mp4,"run, fast"\n'),
        ("m.csv", '\ufeffpath,label\r\na.mp4,"run, fast"\r\n'),
        ("m.csv", ' label , path \n"run, fast" , a.mp4 \n\n'),
    ],
    ids=["tsv", "tabs", "quotes", "byte order mark", "spaces"],
)
def test_forms_of_tables(name: str, text: str, videos: Path) -> None:
    assert load_items(write_table(videos, text, name)) == [VideoItem(videos / "a.mp4", "run, fast")]


def test_one_video_may_have_many_spans(videos: Path) -> None:
    table = write_table(videos, "path,label,start,end\na.mp4,run,0,1\na.mp4,run,1,2\na.mp4,jump,2,\n")
    assert [(item.start_seconds, item.end_seconds) for item in load_items(table)] == [
        (0, 1),
        (1, 2),
        (2, None),
    ]


def test_unknown_column_is_refused_with_the_nearest(videos: Path) -> None:
    message = refusal_of(write_table(videos, "path,lable\na.mp4,run\n"))
    assert "unknown column 'lable'. Did you mean 'label'? no column 'label'. Expected path" in message


@pytest.mark.parametrize("text", ["", "a.mp4,run\n", "path,label,label\na.mp4,run,jump\n", "path\na.mp4\n"])
def test_tables_without_a_right_header_are_refused(text: str, videos: Path) -> None:
    assert "Expected path, label and optionally" in refusal_of(write_table(videos, text))


def test_missing_files_are_all_named(videos: Path) -> None:
    message = refusal_of(write_table(videos, "path,label\nx.mp4,run\na.mp4,run\nsub/y.mp4,run\n"))
    assert f"{videos / 'x.mp4'}: no such file" in message
    assert f"{videos / 'sub/y.mp4'}: no such file" in message
    assert "a.mp4" not in message


def test_a_long_list_of_faults_is_cut_and_counted(videos: Path) -> None:
    rows = "".join(f"x{number}.mp4,run\n" for number in range(25))
    message = refusal_of(write_table(videos, "path,label\n" + rows))
    assert message.count("no such file") == 10
    assert message.endswith("… and 15 more")


def test_duplicate_rows_are_named(videos: Path) -> None:
    message = refusal_of(write_table(videos, "path,label\na.mp4,run\na.mp4,jump\nb.mp4,run\n"))
    assert f"{videos / 'a.mp4'}: listed 2 times" in message


def test_rows_without_a_split_are_counted(videos: Path) -> None:
    message = refusal_of(write_table(videos, "path,label,split\na.mp4,run,train\nb.mp4,run,\nc.mp4,run,\n"))
    assert "2 rows have no split although 1 have one" in message


def test_bad_rows_are_all_told_by_line(videos: Path) -> None:
    rows = (
        "a.mp4,,,,",
        "b.mp4,run,holdout,,",
        "",
        "c.mp4,run,,3,2",
        "c.mp4,run,,-1,",
        "c.mp4,run,,0,nan",
        ",run,,,",
    )
    message = refusal_of(write_table(videos, "path,label,split,start,end\n" + "\n".join(rows)))
    for fault in (
        "line 2: no label",
        "line 3: split 'holdout'",
        "line 5: end 2 is not after start 3",
        "line 6: start '-1'",
        "line 7: end 'nan'",
        "line 8: no path",
    ):
        assert fault in message


def test_fields_that_are_too_many(videos: Path) -> None:
    assert "line 2: more fields than columns" in refusal_of(
        write_table(videos, "path,label\na.mp4,run, fast\n")
    )


def test_a_table_without_rows(videos: Path) -> None:
    assert "holds no rows" in refusal_of(write_table(videos, "path,label\n"))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x81", b"path,label\n" + b"a" * 200_000 + b",run\n"])
def test_files_that_are_no_tables(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    assert "cannot be read as a text table" in refusal_of(path)


# --- writing --------------------------------------------------------------------------------------


def test_round_trip(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(videos, 'odd, "name".mp4')
    items = [
        VideoItem(videos / "a.mp4", "run, fast", "train", "g 1"),
        VideoItem(videos / "a.mp4", "jump", "train", "g 1", 1 / 3, 2 / 3),
        VideoItem(videos / 'odd, "name".mp4', "läuft ☃", "test", None, 0.1),
    ]
    other = videos / "elsewhere"
    other.mkdir()
    assert load_items(write_table(other, manifest_text(items))) == items
    # Relative paths are those of the working directory, and become absolute.
    monkeypatch.chdir(videos)
    assert load_items(write_table(other, manifest_text([VideoItem(Path("b.mp4"), "run")]))) == [
        VideoItem(videos / "b.mp4", "run")
    ]


def test_fingerprint_follows_content_but_not_place_or_order(tmp_path: Path) -> None:
    touch(tmp_path, "here/run/1.mp4", "here/jump/1.mp4", "away/run/1.mp4", "away/jump/1.mp4")
    for path in list_videos(tmp_path):
        path.write_bytes(b"same")
    here, away = load_items(tmp_path / "here"), load_items(tmp_path / "away")
    assert fingerprint(here) == fingerprint(away[::-1])
    (tmp_path / "away/run/1.mp4").write_bytes(b"other size")
    assert fingerprint(here) != fingerprint(away)
    relabelled = [VideoItem(item.path, "walk") for item in here]
    assert fingerprint(here) != fingerprint(relabelled)


def test_what_a_folder_holds_beside_its_videos_is_told(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "b/2.mp4", "loose.mp4", "a/notes.txt", "empty/readme.md", "motion.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    told = read_data(tmp_path).notes
    assert [sentence.partition(" ")[0] for sentence in told] == ["1", "1", "1"]
    assert "loose.mp4" in told[0]
    assert "notes.txt" in told[1]
    assert "empty" in told[2]


def test_a_folder_of_nothing_but_videos_has_nothing_to_tell(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/deeper/3.mp4", "b/2.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert read_data(tmp_path).notes == []


def test_json_lines_are_a_manifest(write_video, tmp_path):
    video = write_video(tmp_path / "a.mp4")
    rows = [
        {"Video": "a.mp4", "label": "sit", "group": "2020-03-22", "start": 0, "end": 0.5},
        {"Video": "a.mp4", "label": "007", "start": 0.5, "end": None},
    ]
    manifest = tmp_path / "data.jsonl"
    manifest.write_text("\n\n".join(map(json.dumps, rows)))
    assert load_items(manifest) == [
        VideoItem(video, "sit", None, "2020-03-22", 0.0, 0.5),
        VideoItem(video, "007", None, None, 0.5, None),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"path": "a.mp4", "label": "x"}\n[1]', "line 2: expected an object"),
        ('{"path": "a.mp4", "label": "x"}\n{"path"', "line 2: "),
        ('{"path": {}, "label": "x"}', "line 1: expected an object"),
        ('{"path": "a.mp4", "label": "x"}\n\n{"path": "a.mp4"}', "line 3: no label"),
    ],
)
def test_bad_json_lines_are_named(text, told, write_video, tmp_path):
    write_video(tmp_path / "a.mp4")
    (tmp_path / "data.jsonl").write_text(text)
    with pytest.raises(DataError, match=told):
        load_items(tmp_path / "data.jsonl")
