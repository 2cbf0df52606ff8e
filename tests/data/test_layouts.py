"""Published data sets are read by their own lists; the lists here have the published form, made small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.config import DataConfig, builtin_recipes
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items, read_data
from vidcli.data.splits import assign_splits, of_split
from vidcli.errors import DataError


def touch(folder: Path, *names: str) -> None:
    """Make files that look like videos by name; reading a layout opens none of them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def refusal_of(data: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        load_items(data, settings=DataConfig(**settings))  # type: ignore[arg-type]
    return str(caught.value)


def splits_of(data: Path, **settings: object) -> dict[str, str | None]:
    items = load_items(data, settings=DataConfig(**settings))  # type: ignore[arg-type]
    return {item.path.stem: item.split for item in items}


# --- UCF101 ---------------------------------------------------------------------------------------

UCF_CLASSES = ("Archery", "YoYo")


@pytest.fixture
def ucf101(tmp_path: Path) -> Path:
    """Two classes of four groups with two clips each; fold N tests on group N."""
    folder = tmp_path / "ucf"
    names = {
        (label, group): [f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi" for clip in (1, 2)]
        for label in UCF_CLASSES
        for group in (1, 2, 3, 4)
    }
    for clips in names.values():
        touch(folder / "UCF-101", *clips)
    lists = folder / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 Archery\r\n2 YoYo\r\n")
    for fold in (1, 2, 3):
        train = [
            f"{clip} {UCF_CLASSES.index(label) + 1}"
            for (label, group), clips in names.items()
            if group != fold
            for clip in clips
        ]
        test = [clip for (_, group), clips in names.items() if group == fold for clip in clips]
        write(lists / f"trainlist{fold:02d}.txt", "\r\n".join(train) + "\r\n")
        write(lists / f"testlist{fold:02d}.txt", "\r\n".join(test) + "\r\n")
    return folder


def test_ucf101(ucf101: Path) -> None:
    items = load_items(ucf101)
    assert len(items) == 16
    videos = ucf101 / "UCF-101"
    assert items[0] == VideoItem(videos / "Archery/v_Archery_g02_c01.avi", "Archery", "train", "Archery_g02")
    assert {item.path for item in of_split(items, "test")} == {
        videos / f"{label}/v_{label}_g01_c{clip:02d}.avi" for label in UCF_CLASSES for clip in (1, 2)
    }
    assert read_data(ucf101).notes == [
        f"UCF101: read as published, by {ucf101 / 'ucfTrainTestlist/trainlist01.txt'}"
    ]


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_ucf101_folds(ucf101: Path, fold: int) -> None:
    tested = [stem for stem, split in splits_of(ucf101, fold=fold).items() if split == "test"]
    assert len(tested) == 4
    assert all(f"_g{fold:02d}_" in stem for stem in tested)


def test_groups_stay_whole_when_val_is_drawn(ucf101: Path) -> None:
    items = assign_splits(load_items(ucf101), DataConfig(val_fraction=0.3))
    splits_of_group: dict[str, set[str]] = {}
    for item in items:
        splits_of_group.setdefault(item.group or "", set()).add(item.split or "")
    assert set.union(*splits_of_group.values()) == {"train", "val", "test"}
    assert all(len(splits) == 1 for splits in splits_of_group.values())
    assert {group for group, splits in splits_of_group.items() if splits == {"test"}} == {
        "Archery_g01",
        "YoYo_g01",
    }


@pytest.mark.parametrize("lists", [".", "annotations"])
def test_lists_and_videos_may_lie_anywhere_and_be_coded_anew(ucf101: Path, lists: str) -> None:
    (ucf101 / lists).mkdir(exist_ok=True)
    for path in (ucf101 / "ucfTrainTestlist").iterdir():
        path.rename(ucf101 / lists / path.name)
    for path in (ucf101 / "UCF-101").rglob("*.avi"):
        touch(ucf101, f"flat/{path.stem}.mp4")
    shutil.rmtree(ucf101 / "UCF-101")
    assert {item.path.parent.name for item in load_items(ucf101)} == {"flat"}
    assert len(load_items(ucf101)) == 16


def test_of_two_copies_the_one_listed_is_taken(ucf101: Path) -> None:
    touch(ucf101, "other/v_YoYo_g01_c01.avi", "other/v_YoYo_g02_c01.mp4")
    listing = read_data(ucf101)
    assert {item.path.parent.name for item in listing.items} == set(UCF_CLASSES)
    assert "2 videos are in none of the lists and are not used" in listing.notes[-1]
    touch(ucf101, "again/YoYo/v_YoYo_g01_c01.avi")
    assert "v_YoYo_g01_c01.avi: lies in more than one place" in refusal_of(ucf101)


def test_missing_videos_are_counted_and_named(ucf101: Path) -> None:
    gone = [ucf101 / f"UCF-101/YoYo/v_YoYo_g0{group}_c01.avi" for group in (1, 2)]
    for path in gone:
        path.unlink()
    message = refusal_of(ucf101, max_unusable=1.0)
    assert message.startswith(f"{ucf101}: looks like UCF101 by")
    assert "2 of 16 listed videos are missing" in message
    for path in gone:
        assert f"YoYo/{path.name}" in message
    # check names each of them as a row of its own
    kept = load_items(ucf101, missing_ok=True)
    assert [item.path.name for item in kept if not item.path.exists()] == [gone[1].name, gone[0].name]


def test_no_videos_at_all(ucf101: Path) -> None:
    shutil.rmtree(ucf101 / "UCF-101")
    message = refusal_of(ucf101)
    assert "16 of 16 listed videos are missing" in message
    assert "it holds 0 videos" in message
    assert message.endswith("… and 6 more")


def test_a_fold_without_lists(ucf101: Path) -> None:
    (ucf101 / "ucfTrainTestlist/testlist02.txt").unlink()
    message = refusal_of(ucf101, fold=2)
    assert "no testlist02.txt (there are" in message
    assert "set data.fold" in message


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("v_YoYo_g01_c01.avi 2", "expected CLASS/VIDEO"),
        ("Rowing/v_Rowing_g01_c01.avi 3", "class 'Rowing' is not in classInd.txt"),
        ("YoYo/v_YoYo_g01_c01.avi 1", "number 1 is Archery in classInd.txt, not YoYo"),
        ("YoYo/v_YoYo_g02_c01.avi 2", "listed twice (as YoYo, then YoYo)"),
    ],
)
def test_bad_lines_are_named(ucf101: Path, line: str, fault: str) -> None:
    path = ucf101 / "ucfTrainTestlist/trainlist01.txt"
    write(path, path.read_text() + line + "\n")
    message = refusal_of(ucf101)
    assert message.startswith(f"{path}: ")
    assert fault in message


def test_the_same_list_twice(ucf101: Path) -> None:
    shutil.copytree(ucf101 / "ucfTrainTestlist", ucf101 / "old")
    assert "the same list also lies at" in refusal_of(ucf101)


# --- HMDB51 ---------------------------------------------------------------------------------------


@pytest.fixture
def hmdb51(tmp_path: Path) -> Path:
    """Two classes of four videos; names have the signs that the real ones have."""
    folder = tmp_path / "hmdb"
    numbers = {1: "1120", 2: "2110", 3: "1012"}
    for label in ("brush_hair", "run"):
        names = [f"{film}_{label}_u_nm_np1_ba_goo_0.avi" for film in ("April_09", "#20_Film", "(X)!", "Z")]
        touch(folder / "hmdb51_org", *(f"{label}/{name}" for name in names))
        for fold, digits in numbers.items():
            rows = "".join(f"{name} {digit} \n" for name, digit in zip(names, digits, strict=True))
            write(folder / f"testTrainMulti_7030_splits/{label}_test_split{fold}.txt", rows)
    return folder


@pytest.mark.parametrize(("fold", "splits"), [(1, "train train test"), (2, "test train train")])
def test_hmdb51(hmdb51: Path, fold: int, splits: str) -> None:
    listing = read_data(hmdb51, settings=DataConfig(fold=fold))
    assert [item.label for item in listing.items] == ["brush_hair"] * 3 + ["run"] * 3
    assert " ".join(str(item.split) for item in listing.items[:3]) == splits
    assert listing.items[0].path == hmdb51 / "hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
    assert listing.items[0].group == f"brush_hair/April_09 ({splits.split()[0]})"
    assert f"2 videos are in neither part of fold {fold}, as published: Z_brush_hair" in listing.notes[1]


def test_hmdb51_classes_without_the_fold(hmdb51: Path) -> None:
    (hmdb51 / "testTrainMulti_7030_splits/run_test_split3.txt").unlink()
    assert "1 of 2 classes have no CLASS_test_split3.txt: run" in refusal_of(hmdb51, fold=3)


def test_hmdb51_bad_numbers_are_named(hmdb51: Path) -> None:
    path = hmdb51 / "testTrainMulti_7030_splits/run_test_split1.txt"
    write(path, "a_run_b.avi 3\nb.avi\n")
    message = refusal_of(hmdb51)
    assert "line 1: 'a_run_b.avi 3'; expected a video, then 0, 1 or 2" in message
    assert "line 2: 'b.avi'" in message


# --- Kinetics -------------------------------------------------------------------------------------


def kinetics_rows(split: str, count: int) -> str:
    rows = [f'"riding mule",{split[0]}-_{n:08d},{n},{n + 10},{split}' for n in range(count)]
    rows += [f"abseiling,{split[0]}A_{n:08d},{n},{n + 10},{split}" for n in range(count)]
    return "label,youtube_id,time_start,time_end,split\n" + "\n".join(rows) + "\n"


@pytest.fixture
def kinetics(tmp_path: Path) -> Path:
    """Two classes, ten training and five validation videos each; the test list has no labels."""
    folder = tmp_path / "kinetics"
    for split, part, count in (("train", "train", 10), ("validate", "val", 5)):
        write(folder / f"kinetics-400_{part}.csv", kinetics_rows(split, count))
        for letter, label in (("-", "riding mule"), ("A", "abseiling")):
            touch(
                folder,
                *(
                    f"{part}/{label}/{split[0]}{letter}_{n:08d}_{n:06d}_{n + 10:06d}.mp4"
                    for n in range(count)
                ),
            )
    write(folder / "test.csv", "youtube_id,time_start,time_end,split\nxyz,1,11,test\n")
    return folder


def test_kinetics(kinetics: Path) -> None:
    listing = read_data(kinetics)
    assert len(of_split(listing.items, "train")) == 20
    assert len(of_split(listing.items, "val")) == 10
    assert {item.label for item in listing.items} == {"riding mule", "abseiling"}
    assert listing.items[3] == VideoItem(
        kinetics / "train/riding mule/t-_00000003_000003_000013.mp4", "riding mule", "train"
    )
    assert "1 rows of test.csv have no label and are not used" in listing.notes


def test_one_kinetics_list_is_a_manifest(kinetics: Path) -> None:
    listing = read_data(kinetics / "kinetics-400_val.csv")
    assert {item.split for item in listing.items} == {"val"}
    assert len(listing.items) == 10
    assert "20 videos are in none of the lists and are not used" in listing.notes[-1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_a_kinetics_list_that_a_spreadsheet_saved(encoding: str, kinetics: Path) -> None:
    path = kinetics / "kinetics-400_val.csv"
    items = read_data(path).items
    text = path.read_text(encoding="utf-8").replace(",", ";").replace("\n", "\r\n") + ";;;;\r\n"
    path.write_bytes(text.replace("youtube_id", "Youtube_ID").encode(encoding))
    assert read_data(path).items == items


def test_dead_links_are_counted_up_to_the_share_allowed(kinetics: Path) -> None:
    gone = sorted((kinetics / "train/abseiling").iterdir())[:3]
    for path in gone:
        path.unlink()
    listing = read_data(kinetics, settings=DataConfig(max_unusable=0.1))
    assert len(listing.items) == 27
    (note,) = [note for note in listing.notes if "missing" in note]
    assert note.startswith("3 of 30 listed videos are missing and left out")
    assert all(path.name in note for path in gone)
    message = refusal_of(kinetics, max_unusable=0.09)
    assert "3 of 30 listed videos are missing; data.max_unusable=0.09 allows fewer" in message


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("abseiling,,1,2,train", "no youtube_id"),
        ("abseiling,x,one,2,train", "time_start 'one'; expected seconds"),
        ("abseiling,x,1,nan,train", "time_end 'nan'; expected seconds"),
        ("abseiling,x,1,2,holdout", "split 'holdout'; expected train"),
    ],
)
def test_bad_rows_of_kinetics_are_named(kinetics: Path, row: str, fault: str) -> None:
    path = kinetics / "kinetics-400_train.csv"
    write(path, path.read_text() + row + "\n")
    assert f"line 22: {fault}" in refusal_of(kinetics)


# --- Something-Something v2 -----------------------------------------------------------------------


@pytest.fixture
def something(tmp_path: Path) -> Path:
    """Two classes, two training videos and one validation video each, one test video."""
    folder = tmp_path / "something"
    templates = ["Holding [something] next to [something]", "Pretending to put [something] into [something]"]
    labels = {template.replace("[", "").replace("]", ""): str(n) for n, template in enumerate(templates)}
    write(folder / "labels/labels.json", json.dumps(labels))
    number = 0
    for part, count in (("train", 2), ("validation", 1)):
        entries = []
        for template in templates:
            for _ in range(count):
                entry = {"id": str(number), "label": "…", "template": template, "placeholders": ["a", "b"]}
                entries.append(entry)
                touch(folder, f"20bn-something-something-v2/{number}.webm")
                number += 1
        write(folder / f"labels/{part}.json", json.dumps(entries))
    write(folder / "labels/test.json", json.dumps([{"id": "99"}]))
    touch(folder, "20bn-something-something-v2/99.webm")
    return folder


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something(something: Path, prefix: str) -> None:
    for path in (something / "labels").iterdir():
        path.rename(path.with_name(prefix + path.name))
    listing = read_data(something)
    assert len(listing.items) == 6
    assert listing.items[2] == VideoItem(
        something / "20bn-something-something-v2/2.webm",
        "Pretending to put something into something",
        "train",
    )
    assert [item.split for item in listing.items] == ["train"] * 4 + ["val"] * 2
    assert any(note.startswith("1 videos of") and "no label" in note for note in listing.notes)


def test_labels_that_do_not_agree_are_named(something: Path) -> None:
    write(something / "labels/labels.json", json.dumps({"Holding something next to something else": "0"}))
    message = refusal_of(something)
    assert (
        "entry 1: class 'Holding something next to something' is not in labels.json. Did you mean" in message
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "expected a list of videos"),
        ("[3]", "expected an object with an id"),
    ],
)
def test_lists_that_are_not_as_published(something: Path, text: str, fault: str) -> None:
    path = something / "labels/train.json"
    write(path, text)
    message = refusal_of(something)
    assert message.startswith(f"{path}: ")
    assert fault in message


# --- together -------------------------------------------------------------------------------------


def test_a_fold_without_effect_is_told(kinetics: Path, something: Path) -> None:
    for data in (kinetics, something):
        assert not any("data.fold" in note for note in read_data(data).notes)
        assert any(
            "data.fold has no effect" in note for note in read_data(data, settings=DataConfig(fold=2)).notes
        )


def test_class_folders_have_no_folds(tmp_path: Path) -> None:
    touch(tmp_path, "run/1.mp4", "jump/1.mp4")
    assert "data.fold has no effect" in read_data(tmp_path, settings=DataConfig(fold=3)).notes[-1]


def test_a_published_set_trains_and_is_evaluated(
    motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_config: Callable[..., object]
) -> None:
    """From the lists to a score, with real videos under published names."""
    monkeypatch.chdir(tmp_path)
    lists: dict[str, list[str]] = {"trainlist02.txt": [], "testlist02.txt": []}
    for number, label in enumerate(("left", "right"), 1):
        for split, name in (("train", "trainlist02.txt"), ("test", "testlist02.txt")):
            for clip, path in enumerate(sorted((motion_data / split / label).iterdir()), 1):
                group = 1 + clip % 2 if split == "train" else 9
                listed = f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi"
                (tmp_path / "data/UCF-101" / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / "data/UCF-101" / Path(listed).with_suffix(".mp4"))
                lists[name].append(f"{listed} {number}" if split == "train" else listed)
    write(tmp_path / "data/ucfTrainTestlist/classInd.txt", "1 left\n2 right\n")
    for name, rows in lists.items():
        write(tmp_path / "data/ucfTrainTestlist" / name, "\n".join(rows) + "\n")
    settings = ("clip.size=32", "clip.length=4", "model.width=16", "train.epochs=1", "data.fold=2")
    options = [word for setting in settings for word in ("--set", setting)]
    trained = CliRunner().invoke(app, ["train", "data", *options, "--device", "cpu", "--out", "run"])
    assert trained.exit_code == 0, trained.stderr
    assert "UCF101: read as published" in trained.stderr
    # The model remembers its fold: the published lists give the same videos as the run's own.
    scores = [
        CliRunner().invoke(app, ["eval", *data, "--model", "run", "--device", "cpu", "--json"])
        for data in ([], ["data"])
    ]
    assert [result.exit_code for result in scores] == [0, 0], scores[1].stderr
    own, published = (json.loads(result.stdout) for result in scores)
    for name in ("num_videos", "top1", "top1_interval", "loss", "confusion", "per_class"):
        assert own[name] == published[name]
    assert own["num_videos"] == 4


@pytest.mark.parametrize("recipe", [path.stem for path in builtin_recipes()])
def test_every_recipe_dry_runs(motion_data: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clip takes seconds to pass through networks of this size; tests/train/test_batchnorm.py lets some.
    monkeypatch.setattr("vidcli.train.run.fewest_clips", lambda model, config: 1)
    result = CliRunner().invoke(app, ["train", str(motion_data), "--config", recipe, "--dry-run"])
    assert result.exit_code == 0, result.stderr
    assert "parameters" in result.stdout
