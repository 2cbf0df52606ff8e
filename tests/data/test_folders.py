"""What lies among the videos and is none of the user's data is passed over, with a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidcli.config import load_config
from vidcli.data.folders import list_videos, subfolders
from vidcli.data.items import class_names_of
from vidcli.data.manifest import load_items, read_data
from vidcli.doctor import check_data
from vidcli.errors import DataError
from vidcli.predict.inputs import collect_items

SYSTEM = ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".AppleDouble",
          ".ipynb_checkpoints", "#recycle", ".Trash-1000", "@Recycle"]  # fmt: skip
OWN = {
    "a-run": ("config.yaml", "splits.csv"),
    "eval-test": ("eval.json", "predictions.csv"),
    "explain-x": ("explanation.json", "sheet.png"),
    "export-onnx": ("vidcli.json",),
    "anything": (".vidcli-check.json",),
}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    touch(tmp_path, "data/walk/1.mp4", "data/walk/2.mp4", "data/run/3.mp4")
    return tmp_path / "data"


@pytest.mark.parametrize("place", ["", "walk", "walk/deeper"])
@pytest.mark.parametrize("name", SYSTEM)
def test_folders_of_systems(name: str, place: str, data: Path) -> None:
    touch(data, str(Path(place, name, "walk", "1.mp4")), str(Path(place, name, "2.mp4")))
    listing = read_data(data)
    assert class_names_of(listing.items) == ["run", "walk"]
    assert len(listing.items) == 3
    assert [note for note in listing.notes if str(data / place / name) in note and "passed over" in note]


@pytest.mark.parametrize("place", ["", "walk"])
@pytest.mark.parametrize("name", OWN)
def test_folders_that_this_tool_wrote(name: str, place: str, data: Path) -> None:
    touch(data, *(str(Path(place, name, file)) for file in (*OWN[name], "overlay.mp4", "deep/er.mp4")))
    listing = read_data(data)
    assert len(listing.items) == 3
    (note,) = listing.notes
    assert note == f"1 folders that vidcli wrote are passed over: {data / place / name}"


def test_a_class_may_be_called_like_a_folder_of_ours(data: Path) -> None:
    touch(data, "eval-1/1.mp4", "explain-it/2.mp4", "Output/3.mp4", "none/4.mp4", "nan/5.mp4")
    assert class_names_of(load_items(data)) == [
        "Output", "eval-1", "explain-it", "nan", "none", "run", "walk",
    ]  # fmt: skip


def test_resource_forks_and_files_of_systems(data: Path) -> None:
    touch(data, "walk/._1.mp4", "walk/.DS_Store", "run/Thumbs.db", "desktop.ini", "._run")
    listing = read_data(data)
    assert len(listing.items) == 3
    (note,) = listing.notes
    assert note.startswith("5 files and folders of operating systems and drives are passed over: ")


@pytest.mark.parametrize(
    "junk", ["__MACOSX/walk/1.mp4", "Output/results.csv", "results/config.yaml", ".cache/1.mp4"]
)
def test_junk_beside_splits(junk: str, tmp_path: Path) -> None:
    touch(tmp_path, "train/walk/1.mp4", "test/walk/2.mp4", junk)
    listing = read_data(tmp_path)
    assert [(item.split, item.label) for item in listing.items] == [("test", "walk"), ("train", "walk")]
    assert junk.startswith(".") or str(junk).partition("/")[0] in " ".join(listing.notes)


def test_a_folder_of_videos_beside_splits_is_still_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/walk/1.mp4", "test/walk/2.mp4", "Output/1.mp4")
    with pytest.raises(DataError, match="Output beside train"):
        load_items(tmp_path)


def test_the_folder_that_is_named_always_counts(data: Path) -> None:
    touch(data, "explain-x/explanation.json", "explain-x/sheet.png", "explain-x/overlay.mp4")
    assert list_videos(data / "explain-x") == [data / "explain-x/overlay.mp4"]
    assert [path.name for path in subfolders(data)] == ["run", "walk"]


def test_check_and_predict_pass_over_the_same(data: Path) -> None:
    touch(data, "walk/@eaDir/1.mp4", "eval-test/eval.json", "eval-test/predictions.csv", "eval-test/x.mp4")
    told: list[str] = []
    assert len(collect_items([data], told.append)) == 3
    assert [text.partition(" are passed over")[2] for text in told] == [
        f": {data / 'walk/@eaDir'}",
        f": {data / 'eval-test'}",
    ]
    report = check_data(data, load_config(None, []))
    assert len(report.items) == 3
    assert set(told) <= {found.detail for found in report.findings}


def test_folders_of_one_class_in_two_spellings(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "cafe\u0301/1.mp4",
        "caf\u00e9/2.mp4",
        "caf\u00e9/3.mp4",
        "walk /4.mp4",
        "walk/5.mp4",
        "Walk/6.mp4",
    )
    listing = read_data(tmp_path)
    assert class_names_of(listing.items) == ["Walk", "caf\u00e9", "walk"]
    joined = [note for note in listing.of_names if "and are one class" in note]
    assert len(joined) == 2
    assert any("'cafe\\u0301' (1 videos), 'caf\\xe9' (2 videos)" in note for note in joined)
    assert any("'walk' (1 videos), 'walk ' (1 videos)" in note for note in joined)
    assert any("'Walk' (1 videos), 'walk' (2 videos)" in note for note in listing.of_names)
    kinds = {found.kind for found in check_data(tmp_path, load_config(None, [])).findings}
    assert "class-names" in kinds


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, " /1.mp4", "walk/2.mp4")
    with pytest.raises(DataError, match="has no name but blanks"):
        load_items(tmp_path)


def test_a_published_list_finds_its_videos_in_either_spelling(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Cafe\u0301/v_Cafe\u0301_g01_c01.avi",
        "Cafe\u0301/v_Cafe\u0301_g02_c01.avi",
        "__MACOSX/x.avi",
    )
    for name, group in (("trainlist01.txt", "01"), ("testlist01.txt", "02")):
        line = f"Caf\u00e9/v_Caf\u00e9_g{group}_c01.avi\n"
        (tmp_path / name).write_text(line, encoding="utf-8")
    listing = read_data(tmp_path)
    assert [(item.label, item.path.exists()) for item in listing.items] == [("Caf\u00e9", True)] * 2
    assert any("__MACOSX" in note for note in listing.notes)
