"""Cross-validation: each video is answered by a model that never saw its group, and a stop loses nothing."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from vidcli.config import config_to_dict
from vidcli.data.manifest import load_items
from vidcli.errors import CheckpointError, ConfigError, OutputError, WriteError
from vidcli.predict import Predictor
from vidcli.predict.prediction import align
from vidcli.studies import CrossvalPlan, FoldDone, FoldStarted, Recipe, cross_validate, load_plan
from vidcli.studies.fold_run import FoldAnswers, answers_file, forget_run, load_answers
from vidcli.studies.folds import make_folds
from vidcli.studies.study_folder import open_study
from vidcli.train import EpochDone, Notice

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(small_config):
    return small_config(data__val_fraction=0)


@pytest.fixture(scope="module")
def study(grouped_data, config, tmp_path_factory):
    """The folder, the result and the events of a finished study."""
    out, events = tmp_path_factory.mktemp("study") / "cv", []
    plan = CrossvalPlan(grouped_data, (Recipe("tiny", config),), "group")
    return out, cross_validate(plan, out, CPU, events.append), events


def rows_of(out):
    with open(out / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_video_is_answered_once_by_a_model_of_other_groups(study, grouped_data):
    out, result, events = study
    rows = rows_of(out)
    trained = {str(item.path) for item in load_items(grouped_data) if item.split == "train"}
    assert sorted(row["path"] for row in rows) == sorted(trained)
    for row in rows:
        run = out / "tiny" / "seed-0" / f"fold-{row['fold']}"
        splits = load_items(run / "splits.csv")
        assert row["group"] not in {item.group for item in splits if item.split == "train"}
        # The answer is that of the run's own model.
        predictor = Predictor.load(run, CPU)
        expected = predictor.predict(row["path"]).probabilities
        assert [float(row[name]) for name in predictor.class_names] == pytest.approx(
            list(expected), abs=1e-12
        )
    right = [row["predicted"] == row["label"] for row in rows]
    assert [row["correct"] == "true" for row in rows] == right
    assert result.recipes[0].scores["top1"].value == pytest.approx(sum(right) / len(right))
    assert [e.number for e in events if isinstance(e, FoldStarted)] == [1, 2, 3, 4]
    assert [e.was_there for e in events if isinstance(e, FoldDone)] == [False] * 4


def test_the_scores_are_written_and_complete(study):
    out, result, _ = study
    told = json.loads((out / "crossval.json").read_text())
    assert told == json.loads(json.dumps(result.to_dict()))
    (recipe,) = told["recipes"]
    assert recipe["num_videos"] == 16
    assert recipe["num_groups"] == 4
    assert recipe["num_failed"] == 0
    assert [row["group"] for row in recipe["per_fold"]] == ["g0", "g1", "g2", "g3"]
    low, high = recipe["top1_interval"]
    assert low <= recipe["top1"] <= high
    assert sum(map(sum, recipe["confusion"])) == 16
    assert recipe["baseline_top1"] == 0.5
    weights = [row["num_videos"] for row in recipe["per_fold"]]
    mean = sum(w * row["top1"] for w, row in zip(weights, recipe["per_fold"], strict=True)) / 16
    assert recipe["top1"] == pytest.approx(mean)


def test_what_is_done_is_not_trained_again(study, grouped_data, config):
    out, result, _ = study
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    events = []
    again = cross_validate(load_plan(out), out, CPU, events.append)
    assert again.to_dict() == result.to_dict() | {"data": again.to_dict()["data"]}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert [e.was_there for e in events if isinstance(e, FoldDone)] == [True] * 4
    assert not [e for e in events if isinstance(e, FoldStarted | EpochDone)]


def test_an_interrupted_study_goes_on_and_finds_the_same(study, grouped_data, small_config, tmp_path):
    config = small_config(data__val_fraction=0, train__epochs=2)
    plan = CrossvalPlan(grouped_data, (Recipe("tiny", config),), "2")
    whole = cross_validate(plan, tmp_path / "whole", CPU, lambda event: None)

    def stop(event):
        if (
            isinstance(event, EpochDone)
            and event.row.epoch == 1
            and (tmp_path / "cut/tiny/seed-0/fold-2").exists()
        ):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(plan, tmp_path / "cut", CPU, stop)
    events = []
    resumed = cross_validate(load_plan(tmp_path / "cut"), tmp_path / "cut", CPU, events.append)
    assert [e.was_there for e in events if isinstance(e, FoldDone)] == [True, False]
    assert [e.row.epoch for e in events if isinstance(e, EpochDone)] == [2]  # of the second fold only
    assert not [e for e in events if isinstance(e, Notice) and "train --resume" in e.text]
    assert [a.prediction.probabilities.tolist() for a in resumed.recipes[0].answers] == [
        a.prediction.probabilities.tolist() for a in whole.recipes[0].answers
    ]


def test_recipes_are_compared_on_the_same_folds(grouped_data, config, small_config, tmp_path):
    other = small_config(data__val_fraction=0, train__lr=0.05)
    plan = CrossvalPlan(grouped_data, (Recipe("one", config), Recipe("two", other)), "2", num_seeds=2)
    result = cross_validate(plan, tmp_path / "cv", CPU, lambda event: None)
    (difference,) = result.differences
    assert (difference.recipe, difference.against) == ("two", "one")
    one, two = (recipe.scores["top1"].value for recipe in result.recipes)
    assert difference.differences["top1"].value == pytest.approx(two - one)
    assert difference.videos is None  # of several seeds there is no single answer to a video
    rows = rows_of(tmp_path / "cv")
    assert len(rows) == 2 * 2 * 16
    assert {(row["recipe"], row["seed"]) for row in rows} == {(r, s) for r in ("one", "two") for s in "01"}
    fold_of = {}
    for row in rows:
        assert fold_of.setdefault(row["path"], row["fold"]) == row["fold"]
    assert [seed["seed"] for seed in result.to_dict()["recipes"][0]["per_seed"]] == [0, 1]


def test_another_study_does_not_mix_with_the_first(study, grouped_data, config, small_config):
    out, _, _ = study
    plan = CrossvalPlan(grouped_data, (Recipe("tiny", config),), "3")
    with pytest.raises(
        OutputError, match=r"holds `vidcli crossval` with --folds group, not 3; choose another"
    ):
        cross_validate(plan, out, CPU, lambda event: None)
    changed = CrossvalPlan(grouped_data, (Recipe("tiny", small_config(train__lr=0.3)),), "group")
    with pytest.raises(OutputError, match="of tiny with other settings"):
        cross_validate(changed, out, CPU, lambda event: None)


def test_a_setting_that_is_new_since_is_no_other_setting(config, tmp_path):
    def plan(**changes):
        values = config_to_dict(config)
        values["train"] |= changes
        return {"data": "here", "recipes": {"tiny": values}}

    older = plan()
    del older["recipes"]["tiny"]["train"]["tracker"]  # as an earlier version wrote it
    for told in (older, plan()):
        with open_study(tmp_path / "cv", told, "crossval", ()):
            pass
    other = plan(lr=0.5)
    with (
        pytest.raises(OutputError, match="other settings"),
        open_study(tmp_path / "cv", other, "crossval", ()),
    ):
        pass


def test_one_process_works_on_a_study(config, tmp_path):
    plan = {"data": "here", "recipes": {}}
    with (
        open_study(tmp_path / "cv", plan, "crossval", ()),
        pytest.raises(WriteError, match="another process works on this study"),
        open_study(tmp_path / "cv", plan, "crossval", ()),
    ):
        pass
    assert sorted(path.name for path in (tmp_path / "cv").iterdir()) == [
        ".vidcli-crossval.json",
        "study.json",
    ]


def test_data_that_changed_is_refused(study, grouped_data, config):
    out, _, _ = study
    text = grouped_data.read_text()
    try:
        lines = text.splitlines()
        grouped_data.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
        with pytest.raises(OutputError, match="the data has changed since"):
            cross_validate(load_plan(out), out, CPU, lambda event: None)
    finally:
        grouped_data.write_text(text)


def test_a_folder_of_something_else_is_refused(grouped_data, config, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    plan = CrossvalPlan(grouped_data, (Recipe("tiny", config),), "2")
    with pytest.raises(OutputError, match="holds other files"):
        cross_validate(plan, tmp_path, CPU, lambda event: None)
    with pytest.raises(CheckpointError, match=r"holds no study\.json"):
        load_plan(tmp_path)
    (tmp_path / "study.json").write_text('{"command": "tune"}')
    with pytest.raises(CheckpointError, match="holds a study of `vidcli tune`, not of `vidcli crossval`"):
        load_plan(tmp_path)
    (tmp_path / "study.json").write_text('{"command": "crossval"}')
    with pytest.raises(CheckpointError, match="is damaged"):
        load_plan(tmp_path)


def test_plans_that_do_not_fit_are_refused(grouped_data, config, small_config):
    def check(*configs, **changes):
        recipes = tuple(Recipe(f"r{n}", each) for n, each in enumerate(configs))
        CrossvalPlan(grouped_data, recipes, **{"folds": "2"} | changes).check()

    check(config)
    with pytest.raises(ConfigError, match="r0 and r1 have the same settings"):
        check(config, config)
    with pytest.raises(ConfigError, match=r"data\.split_seed: r0 has 0 and r1 has 7"):
        check(config, small_config(data__split_seed=7))
    with pytest.raises(ConfigError, match="scores one class a video"):
        check(small_config(data__multi_label=True))
    with pytest.raises(ConfigError, match="--folds 1"):
        check(config, folds="1")
    with pytest.raises(ConfigError, match="--seeds 0"):
        check(config, num_seeds=0)


def test_classes_that_a_fold_never_saw_count_as_wrong(grouped_data, config, tmp_path):
    lines = grouped_data.read_text().splitlines()
    rare = [line.replace(",left,", ",rare,") if ",left,g0," in line else line for line in lines]
    data = tmp_path / "rare.csv"
    data.write_text("\n".join(rare) + "\n")
    events = []
    plan = CrossvalPlan(data, (Recipe("tiny", config),), "group")
    result = cross_validate(plan, tmp_path / "cv", CPU, events.append)
    (note,) = [e.text for e in events if isinstance(e, Notice) and "count as wrong" in e.text]
    assert note.startswith("fold-1: no video to train on has the classes rare")
    (recipe,) = result.recipes
    assert recipe.class_names == ("left", "rare", "right")
    scores = {row["label"]: row["recall"] for row in recipe.to_dict()["per_class"]}
    assert scores["rare"] == 0


def test_a_video_that_cannot_be_decoded_counts_as_wrong(grouped_data, small_config, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    data = tmp_path / "with-broken.csv"
    data.write_text(f"{grouped_data.read_text()}{broken},left,g0,train\n")
    config = small_config(data__val_fraction=0, data__max_unusable=0.2)
    plan = CrossvalPlan(data, (Recipe("tiny", config),), "2")
    result = cross_validate(plan, tmp_path / "cv", CPU, lambda event: None)
    (recipe,) = result.recipes
    assert (recipe.num_videos, recipe.num_failed) == (17, 1)
    (row,) = [row for row in rows_of(tmp_path / "cv") if row["error"]]
    assert (row["path"], row["predicted"], row["correct"]) == (str(broken), "", "false")


def test_a_learning_curve_trains_on_parts_of_the_groups(grouped_data, config, tmp_path):
    plan = CrossvalPlan(grouped_data, (Recipe("tiny", config),), "group", learning_curve=True)
    from vidcli.errors import DataError

    with pytest.raises(DataError, match="--learning-curve: fold-1 trains on 3 separate groups"):
        cross_validate(plan, tmp_path / "few", CPU, lambda event: None)
    ungrouped = tmp_path / "ungrouped.csv"
    lines = [
        ",".join(line.split(",")[:2])
        for line in grouped_data.read_text().splitlines()
        if "unseen" not in line
    ]
    ungrouped.write_text("\n".join(lines) + "\n")
    config = config.model_copy(update={"data": config.data.model_copy(update={"test_fraction": 0.0})})
    plan = CrossvalPlan(ungrouped, (Recipe("tiny", config),), "2", learning_curve=True)
    events = []
    result = cross_validate(plan, tmp_path / "curve", CPU, events.append)
    assert [e.total for e in events if isinstance(e, FoldStarted)] == [6] * 6
    (curve,) = result.curves
    assert [(point.share, point.num_videos) for point in curve.points] == [(0.25, 2), (0.5, 4), (1.0, 8)]
    assert curve.points[-1].scores == result.recipes[0].scores
    gain = curve.last_gain["balanced_accuracy"].value
    half, whole = (point.scores["balanced_accuracy"].value for point in curve.points[1:])
    assert gain == pytest.approx(whole - half)
    assert (
        json.loads((tmp_path / "curve/crossval.json").read_text())["learning_curves"][0]["advice"]
        == curve.advice
    )


def test_answers_that_are_damaged_or_of_others_are_refused(study, grouped_data, tmp_path):
    out, _, _ = study
    items = [item for item in load_items(grouped_data) if item.split == "train"]
    fold, other, *_ = make_folds(items, "group", 0)
    place = out / "tiny/seed-0/fold-1"
    assert isinstance(load_answers(place, fold), FoldAnswers)
    with pytest.raises(CheckpointError, match="its videos are not those that this fold holds out"):
        load_answers(place, other)
    answers_file(tmp_path / "fold-1").write_text('{"answers": 3}')
    with pytest.raises(CheckpointError, match="remove it to train that fold again"):
        load_answers(tmp_path / "fold-1", fold)
    assert load_answers(tmp_path / "fold-9", fold) is None


def test_forgetting_a_run_leaves_what_others_put_there(grouped_data, config, tmp_path):
    run = tmp_path / "fold-1"
    run.mkdir()
    (run / "model.safetensors").write_bytes(b"x")
    (run / "mine.txt").write_text("mine")
    forget_run(run)
    assert [path.name for path in run.iterdir()] == ["mine.txt"]
    (run / "mine.txt").unlink()
    forget_run(run)
    forget_run(run)
    assert not run.exists()


def test_aligning_gives_unknown_classes_no_probability():
    import numpy as np

    from vidcli.predict import Prediction

    aligned = align(Prediction("v", ("b", "d"), np.array([0.3, 0.7])), ("a", "b", "c", "d"))
    assert aligned.probabilities.tolist() == [0, 0.3, 0, 0.7]
    assert align(Prediction("v", ("b",), None, error="broken"), ("a", "b")).error == "broken"
