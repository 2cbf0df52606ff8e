"""Files of boxes and points: all formats say the same of the same subjects, and bad ones what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from vidcli.data.boxes.box_files import find_boxes, read_boxes, require_one_video, tracks_of
from vidcli.data.boxes.tracked import BoxFile
from vidcli.errors import DataError

FRAMES = np.arange(6.0)
BOXES = {
    "a": np.array([[10.0 + frame, 20, 30, 12] for frame in FRAMES]),
    "b": np.array([[80.0 - frame, 5, 10, 14] for frame in FRAMES]),
}
"""In frame 3 there is no `b`."""
MISSING = ("b", 3)


def _there() -> list[tuple[int, str, np.ndarray]]:
    return [
        (frame, name, BOXES[name][frame]) for frame in range(6) for name in BOXES if (name, frame) != MISSING
    ]


def _table(name: str = "day.mp4", columns: str = "video,frame,track,x,y,w,h") -> str:
    lines = [f"{name},{frame},{track},{','.join(map(str, box))}" for frame, track, box in _there()]
    return "\n".join([columns, *lines]) + "\n"


def _corners() -> str:
    lines = [f"{frame / 10:.1f};{track};{x};{y};{x + w};{y + h}" for frame, track, (x, y, w, h) in _there()]
    return "\n".join(["Time;ID;x1;y1;x2;y2", *lines])


def _point_rows() -> str:
    lines = [
        f"{frame},{track},{part_x},{part_y}"
        for frame, track, (x, y, w, h) in _there()
        for part_x, part_y in ((x, y + h / 2), (x + w, y), (x + w / 3, y + h))
    ]
    return "\n".join(["frame,track,x,y", *lines])


def _mot(separator: str = ",") -> str:
    number = {"a": "1", "b": "2"}
    rows = [[frame + 1, number[name], *box, 1, 1, 1] for frame, name, box in _there()]
    rows.append([2, 7, 1, 1, 5, 5, 0, 1, 1])  # of confidence 0
    return "\n".join(separator.join(map(str, row)) for row in rows)


def _coco(**changes: object) -> str:
    images = [
        {"id": 100 + frame, "video_id": 1, "frame_id": frame, "file_name": f"day/{frame:06}.jpg"}
        for frame in range(6)
    ]
    marks = [
        {"id": n, "image_id": 100 + frame, "track_id": name, "bbox": list(box)}
        for n, (frame, name, box) in enumerate(_there())
    ]
    videos = [{"id": 1, "name": "day"}]
    return json.dumps({"videos": videos, "images": images, "annotations": marks} | changes)


def _deeplabcut() -> str:
    lines = [
        "scorer" + ",DLC" * 12,
        "individuals" + ",a" * 6 + ",b" * 6,
        "bodyparts" + ",nose,nose,nose,tail,tail,tail" * 2,
        "coords" + ",x,y,likelihood" * 4,
    ]
    for frame in range(6):
        cells: list[object] = [frame]
        for name in "ab":
            x, y, w, h = BOXES[name][frame]
            if (name, frame) == MISSING:
                cells += [500, 400, 0.1, "", "", ""]  # not sure, and not found
            else:
                cells += [x, y + h, 0.9, x + w, y, 0.95]
        lines.append(",".join(map(str, cells)))
    return "\n".join(lines)


def _sleap_csv() -> str:
    lines = [f"{name},{frame},0.9,{x},{y + h},0.8,{x + w},{y},0.8" for frame, name, (x, y, w, h) in _there()]
    return "\n".join(
        ["track,frame_idx,instance.score,nose.x,nose.y,nose.score,tail.x,tail.y,tail.score", *lines]
    )


def _sleap_hdf5(path: Path) -> Path:
    points = np.full((2, 2, 2, 6), np.nan)
    for frame, name, (x, y, w, h) in _there():
        points["ab".index(name), :, :, frame] = [[x, x + w], [y + h, y]]
    with h5py.File(path, "w") as file:
        file["tracks"], file["track_names"], file["video_path"] = points, [b"a", b"b"], b"/lab/day.mp4"
    return path


def _read(path: Path) -> BoxFile:
    status = path.stat()
    return read_boxes(str(path), status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("t.csv", _table(), "table of boxes"),
        ("quoted.csv", _table('"day.mp4"'), "table of boxes"),
        ("corners.csv", _corners(), "table of boxes"),
        ("points.csv", _point_rows(), "table of boxes"),
        ("gt.txt", _mot(), "MOT"),
        ("spaces.txt", _mot(" "), "MOT"),
        ("coco.json", _coco(), "COCO"),
        ("named.json", _coco(videos=[]), "COCO"),
        ("dlc.csv", _deeplabcut(), "DeepLabCut"),
        ("sleap.csv", _sleap_csv(), "SLEAP"),
    ],
)
def test_all_formats_say_the_same(name: str, text: str, form: str, tmp_path: Path):
    path = tmp_path / name
    path.write_text(text)
    _check(_read(path), form)


def test_hdf5_says_the_same(tmp_path: Path):
    content = _read(_sleap_hdf5(tmp_path / "a.h5"))
    _check(content, "SLEAP")
    assert {track.video for track in content.tracks} == {"/lab/day.mp4"}


def _check(content: BoxFile, form: str) -> None:
    assert content.form == form
    first, second = sorted(content.tracks, key=lambda track: track.name)
    assert (first.name, second.name) in (("a", "b"), ("1", "2"))
    rate = 1 if first.in_frames else 10
    np.testing.assert_allclose(first.places_N * rate, FRAMES)
    np.testing.assert_allclose(first.boxes_N4, BOXES["a"])
    np.testing.assert_allclose(second.places_N * rate, [0, 1, 2, 4, 5])
    np.testing.assert_allclose(second.boxes_N4, BOXES["b"][[0, 1, 2, 4, 5]])


def test_a_subject_without_a_name_is_one_subject(tmp_path: Path):
    (tmp_path / "det.txt").write_text("1,-1,5,5,10,10,0.9\n2,-1,6,5,10,10,0.8\n")
    (track,) = _read(tmp_path / "det.txt").tracks
    assert (track.name, track.places_N.tolist()) == ("", [0, 1])


def _break_deeplabcut(old: str, new: str) -> str:
    assert old in _deeplabcut()
    return _deeplabcut().replace(old, new)


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": (" \n\n", "is empty"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", "is no text"),
    "other table": ("path,label\na.mp4,x\n", "has the columns"),
    "no time": ("track,x,y,w,h\na,1,2,3,4\n", "expected frame or time"),
    "no height": ("frame,track,x,w\n0,a,1,2\n", "expected frame or time, x, y, w, h"),
    "header alone": ("frame,x,y,w,h\n", "holds no rows"),
    "word for a number": ("frame,x,y,w,h\n0,1,2,3,4\n1,one,2,3,4\n", "line 3: x 'one'"),
    "half a frame": ("frame,x,y,w,h\n0.5,10,2,3,4\n", "the frame 0.5; expected whole numbers"),
    "negative frame": ("frame,x,y,w,h\n-1,10,2,3,4\n", "0 or more"),
    "no frame": ("frame,x,y,w,h\n,10,2,3,4\n", "0 or more"),
    "negative width": ("frame,x,y,w,h\n0,10,2,-3,4\n", "below 0"),
    "corners swapped": ("frame,x1,y1,x2,y2\n0,10,10,5,20\n", "below 0"),
    "two boxes": ("frame,track,x,y,w,h\n0,a,10,2,3,4\n0,a,9,9,3,4\n", "'a' has two boxes at frame 0"),
    "two without names": ("frame,x,y,w,h\n0,10,2,3,4\n0,9,9,3,4\n", "several subjects need names"),
    "shares of the picture": ("frame,x,y,w,h\n0,0.1,0.2,0.3,0.4\n", "expected pixels"),
    "no box at all": ("frame,x,y,w,h\n0,,,,\n", "holds no box"),
    "two columns for one": ("frame,left,bb_left,y,w,h\n0,1,2,3,4,5\n", "can both be the x"),
    "MOT without tracks": ("1,-1,5,5,9,9\n1,-1,50,5,9,9\n", "run a tracker"),
    "MOT from 0": ("0,1,5,5,9,9\n", "count from 1"),
    "MOT with a word": ("1,1,5,5,9,9\n2,1,5,five,9,9\n", "no row of numbers"),
    "MOT cut off": ("1,1,5,5,9,9\n2,1,5\n", "no row of numbers"),
    "MOT without a track": ("1,1,5,5,9,9\n2,,5,5,9,9\n", "without a frame or a track"),
    "JSON cut off": (_coco()[:-40], "no valid JSON"),
    "other JSON": ('{"boxes": []}', "without images and annotations"),
    "list": ("[1, 2]", "a list of 2"),
    "annotations no list": (_coco(annotations={}), "annotations: an object; expected a list"),
    "no annotations": (_coco(annotations=[]), "holds no box"),
    "unknown image": (_coco(annotations=[{"image_id": 1, "bbox": [1, 2, 3, 4]}]), "which no image has"),
    "three sides": (_coco(annotations=[{"image_id": 100, "bbox": [1, 2, 3]}]), "bbox of 3 numbers"),
    "no sides": (_coco(annotations=[{"image_id": 100}]), "expected a list"),
    "word in bbox": (_coco(annotations=[{"image_id": 100, "bbox": [1, 2, 3, "x"]}]), "expected a number"),
    "image without a frame": (_coco(images=[{"id": 1, "file_name": "x.jpg"}]), "no frame_id"),
    "frame of an image": (_coco(images=[{"id": 1, "frame_id": 1.5}]), "expected the number of a frame"),
    "unknown video": (_coco(images=[{"id": 1, "video_id": 9, "frame_id": 1}]), "which no video has"),
    "video without a name": (_coco(videos=[{"id": 1}]), "a video's name"),
    "no body parts": (_break_deeplabcut("bodyparts", "parts"), "no header lines bodyparts"),
    "labels": (_break_deeplabcut(",x,y,likelihood", ",x,y"), "other coords"),
    "no frames": ("\n".join(_deeplabcut().splitlines()[:4]), "no frames under its header"),
    "row cut off": (_deeplabcut()[:-30], "no row of numbers"),
    "uneven header": (_break_deeplabcut("individuals,a", "individuals"), "different lengths"),
    "word for a point": (_break_deeplabcut("0.95", "sure"), "no row of numbers"),
    "SLEAP with a word": (_sleap_csv().replace("a,1,0.9,11.0", "a,1,0.9,eleven"), "line 4: holds"),
    "SLEAP without y": (_sleap_csv().replace("nose.y", "nose.z"), "without .y"),
    "HDF5 cut off": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "cannot be read as HDF5"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_says_what_is_wrong_in_one_message(kind: str, tmp_path: Path):
    content, expected = BAD[kind]
    path = tmp_path / "boxes.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        _read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_hdf5_of_something_else(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["other"] = [1, 2]
    with pytest.raises(DataError, match=r"has no tracks; export it from SLEAP as an analysis file"):
        _read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["tracks"] = np.zeros((2, 3))
    with pytest.raises(DataError, match=r"tracks of the shape \(2, 3\)"):
        _read(tmp_path / "b.h5")


def test_what_is_no_place_for_boxes(tmp_path: Path):
    with pytest.raises(DataError, match="No such file"):
        find_boxes(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected files of boxes"):
        find_boxes(tmp_path / "empty")


@pytest.mark.parametrize(
    "files",
    [
        ["day1.csv", "day2.csv", "day11.csv"],
        ["day1DLC_resnet50.csv", "day10DLC_resnet50.csv"],
        ["day1/gt/gt.txt", "day2/gt/gt.txt"],
        ["day1.analysis.csv", "day12.analysis.csv"],
        ["Day1_boxes.csv", "day1x.csv"],
    ],
)
def test_a_file_is_about_the_video_that_it_is_called_after(files: list[str], tmp_path: Path):
    for number, name in enumerate(files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"1,{number + 1},5,5,10,10\n")
    file, tracks = tracks_of(find_boxes(tmp_path), Path("videos/day1.mp4"))
    assert file == tmp_path / files[0]
    assert [track.name for track in tracks] == ["1"]
    assert tracks_of(find_boxes(tmp_path), Path("videos/night.mp4"))[1] == []


def test_files_that_could_both_be_meant(tmp_path: Path):
    for name in ("day1_a.csv", "day1_b.csv"):
        (tmp_path / name).write_text("1,1,5,5,10,10\n")
    with pytest.raises(DataError, match="keep one of them"):
        tracks_of(find_boxes(tmp_path), Path("day1.mp4"))


def test_videos_called_alike_are_told_apart_by_their_folders(tmp_path: Path):
    (tmp_path / "t.csv").write_text(
        "video,frame,x,y,w,h\ncage1/day.mp4,0,1,1,10,10\ncage2/day.mp4,0,2,2,10,10\n"
    )
    place = find_boxes(tmp_path / "t.csv")
    (track,) = tracks_of(place, tmp_path / "cage2" / "day.avi")[1]
    assert track.boxes_N4[0, 0] == 2
    with pytest.raises(DataError, match="can both be"):
        tracks_of(place, tmp_path / "other" / "day.avi")


def test_one_file_without_names_is_about_one_video(tmp_path: Path):
    (tmp_path / "gt.txt").write_text(_mot())
    place = find_boxes(tmp_path / "gt.txt")
    require_one_video(place, [Path("a.mp4"), Path("a.mp4")])
    with pytest.raises(DataError, match="does not say which of 2 videos"):
        require_one_video(place, [Path("a.mp4"), Path("b.mp4")])


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("frame,x,y,w,h\n0,1,1,10,10\n")
    before = tracks_of(find_boxes(path), Path("a.mp4"))[1]
    path.write_text("frame,x,y,w,h\n0,3,1,10,10\n")
    os.utime(path, ns=(1, 1))
    after = tracks_of(find_boxes(path), Path("a.mp4"))[1]
    assert (before[0].boxes_N4[0, 0], after[0].boxes_N4[0, 0]) == (1, 3)


def test_hdf5_without_h5py_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _sleap_hdf5(tmp_path / "a.h5")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'vidcli\[boxes\]'"):
        _read(path)
