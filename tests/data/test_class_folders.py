"""Folders of people, days and cameras are told, and read as what they are where that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidcli.config import DataConfig
from vidcli.data.class_folders import looks_like_entities
from vidcli.data.manifest import read_data


@pytest.mark.parametrize(
    "names",
    [
        ["S1", "S2", "S3"], ["subject_01", "subject_02"], ["2024-05-01", "2024-05-02"], ["cam1", "cam 2"],
        ["Mouse-7", "mouse-8", "rest", "mouse-9"], ["01.05.2024", "02.05.2024"], ["20240501_am", "20240502"],
        ["day1", "day2"], ["P001", "P002"],
    ],
)  # fmt: skip
def test_names_of_people_days_and_cameras(names: list[str]) -> None:
    assert looks_like_entities(names)


@pytest.mark.parametrize(
    "names",
    [
        ["walk", "run"], ["day", "night"], ["box", "ball"], ["view", "hide"], ["person", "dog"], ["S1"],
        ["class1", "class2"], ["0", "1"], ["group", "alone"], ["sit-1", "sit-2", "stand"],
    ],
)  # fmt: skip
def test_names_of_classes(names: list[str]) -> None:
    assert not looks_like_entities(names)


def make(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "a.mp4").touch()
    return root


def test_people_with_folders_of_classes_are_told_and_can_be_read(tmp_path: Path) -> None:
    data = make(tmp_path, "S1/wave", "S1/clap", "S2/wave", "S2/clap", "S3/wave")
    listing = read_data(data)
    assert {item.label for item in listing.items} == {"S1", "S2", "S3"}
    (told,) = [note for note in listing.notes if "data.folders=group/class" in note]
    assert "the outer ones look like people, days or cameras" in told
    items = read_data(data, settings=DataConfig(folders="group/class")).items
    assert {(item.label, item.group) for item in items} == {
        ("wave", "S1"), ("clap", "S1"), ("wave", "S2"), ("clap", "S2"), ("wave", "S3"),
    }  # fmt: skip


def test_classes_with_folders_of_people_are_told_and_can_be_read(tmp_path: Path) -> None:
    data = make(tmp_path, "wave/S1", "wave/S2", "clap/S1", "clap/S2")
    (data / "clap" / "alone.mp4").touch()
    listing = read_data(data)
    assert {item.label for item in listing.items} == {"wave", "clap"}
    assert any("data.folders=class/group keeps each together" in note for note in listing.notes)
    items = read_data(data, settings=DataConfig(folders="class/group")).items
    assert sorted((item.label, item.group or "") for item in items) == [
        ("clap", ""), ("clap", "S1"), ("clap", "S2"), ("wave", "S1"), ("wave", "S2"),
    ]  # fmt: skip


def test_two_levels_of_unknown_meaning_are_told(tmp_path: Path) -> None:
    data = make(tmp_path, "north/open", "north/shut", "south/open", "south/shut")
    assert any("the outer ones are taken for classes" in note for note in read_data(data).notes)


def test_folders_of_cameras_alone_are_told(tmp_path: Path) -> None:
    data = make(tmp_path, "train/cam1", "train/cam2", "test/cam1", "test/cam2")
    assert any("the classes cam1, cam2 look like people, days or cameras" in n for n in read_data(data).notes)


def test_plain_classes_are_not_doubted(tmp_path: Path) -> None:
    assert read_data(make(tmp_path, "walk", "run/fast", "run/slow")).notes == []
