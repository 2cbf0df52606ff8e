"""Several classes a video, from the manifest through training, eval and predict."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import vidcli
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.commands.app import app
from vidcli.config import DataConfig
from vidcli.data.items import VideoItem, class_names_of, labels_of
from vidcli.data.splits import assign_splits
from vidcli.errors import ConfigError, DataError
from vidcli.evaluate.multilabel import average_precision, evaluate_multi_label, targets_of
from vidcli.models.calibration import (
    Calibration,
    best_threshold,
    fit_multi_label,
    sigmoid,
    uncalibrated,
)
from vidcli.predict import Prediction
from vidcli.train import Notice, start_run
from vidcli.train.loss import MultiLabelLoss, count_correct

CPU = torch.device("cpu")
LABELS = {"left": "left|sideways", "right": "right|sideways", "up": "upright", "grow": "|"}
NAMES = ["left", "right", "sideways", "upright"]


def run_command(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def manifest(motion_data, tmp_path_factory):
    """Videos of four kinds: two of two classes, one of one, one of none."""
    path = tmp_path_factory.mktemp("sets") / "data.csv"
    rows = ["path,label,split"]
    for split in ("train", "val", "test"):
        for kind, label in LABELS.items():
            rows += [f"{v},{label},{split}" for v in sorted((motion_data / split / kind).iterdir())]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def run(manifest, small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multi") / "run"
    config = small_config(data__multi_label=True, clip__views=2, train__epochs=3)
    start_run(config, manifest, folder, CPU, lambda event: None)
    return folder


# --- labels and splits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "names"),
    [("a", ("a",)), ("b|a", ("b", "a")), (" a | b|", ("a", "b")), ("|", ()), ("a|a", ("a",))],
)
def test_labels_are_parted_only_where_that_is_asked_for(label, names):
    assert labels_of(label, multi_label=True) == names
    assert labels_of(label, multi_label=False) == (label,)
    assert class_names_of([VideoItem(Path("v"), label)], multi_label=True) == sorted(set(names))


def test_splits_are_balanced_class_by_class_and_videos_of_none_are_a_kind_of_their_own():
    items = [VideoItem(Path(f"{i}.mp4"), ("a|b", "b", "c|a", "|")[i % 4]) for i in range(80)]
    assigned = assign_splits(items, DataConfig(multi_label=True, val_fraction=0.2, test_fraction=0.2))
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        names = [labels_of(item.label, True) or ("none",) for item in assigned if item.split == split]
        for name, total in (("a", 40), ("b", 40), ("c", 20), ("none", 20)):
            assert sum(name in own for own in names) == pytest.approx(share * total, abs=2)


def test_a_class_that_training_lacks_is_named():
    items = [VideoItem(Path("1"), "a|b", "train"), VideoItem(Path("2"), "a|c", "test")]
    with pytest.raises(DataError, match=r"classes in test that train lacks: c\."):
        assign_splits(items, DataConfig(multi_label=True, val_fraction=0))


def test_without_the_setting_a_joined_label_is_one_class_and_that_is_said(manifest, small_config, tmp_path):
    told = []
    start_run(small_config(), manifest, tmp_path / "run", CPU, told.append)
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").class_names == tuple(
        sorted(LABELS.values())
    )
    (text,) = [event.text for event in told if isinstance(event, Notice) and "multi_label" in event.text]
    assert text.startswith("24 labels hold a '|', such as 'left|sideways', and count as one class each")


# --- loss, calibration and scores against plain references ----------------------------------------


def test_the_loss_is_that_of_each_class_by_itself():
    logits_BK, targets_BK = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    for smoothing in (0.0, 0.2):
        total = 0.0
        for z, t in zip(logits_BK[0].tolist(), targets_BK[0].tolist(), strict=True):
            p, soft = 1 / (1 + np.exp(-z)), t * (1 - smoothing) + smoothing / 2
            total -= soft * np.log(p) + (1 - soft) * np.log(1 - p)
        assert float(MultiLabelLoss(smoothing)(logits_BK, targets_BK)) == pytest.approx(total / 3)


def test_a_clip_is_correct_with_all_of_its_classes_and_no_others():
    targets_BK = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    logits_BK = torch.tensor([[3.0, -1.0], [3.0, -1.0], [-1.0, -2.0]])
    assert count_correct(logits_BK, targets_BK) == 2
    assert count_correct(logits_BK, torch.tensor([0, 1, 0])) == 2  # labels that are numbers, as before


def test_probabilities_are_sigmoids_averaged_over_views():
    logits_VK = np.array([[1.0, -800.0], [3.0, 800.0]])
    expected = [(1 / (1 + np.exp(-0.5)) + 1 / (1 + np.exp(-1.5))) / 2, 0.5]
    found = Calibration(2.0, thresholds=(0.5, 0.5)).probabilities(logits_VK)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_known_temperature_is_found_again(factor):
    rng = np.random.default_rng(0)
    logits_NVK = rng.normal(0, 2, (1500, 1, 3))
    targets_NK = rng.random((1500, 3)) < sigmoid(logits_NVK[:, 0])
    fitted = fit_multi_label(list(factor * logits_NVK), targets_NK)
    assert fitted.temperature == pytest.approx(factor, rel=0.1)
    assert fitted.num_videos == 1500


def f1(chosen, there):
    return 2 * sum(c and t for c, t in zip(chosen, there, strict=True)) / (sum(chosen) + sum(there))


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_of_a_fine_grid_has_a_larger_f1(seed):
    rng = np.random.default_rng(seed)
    there = rng.random(40) < 0.3
    probabilities = np.round(sigmoid(rng.normal(size=40) + 1.5 * there - 2), 2)
    found = best_threshold(probabilities, there)
    best = max(f1(probabilities >= t, there) for t in np.linspace(0.0005, 0.9995, 1000))
    assert f1(probabilities >= found, there) == pytest.approx(best)


def test_thresholds_where_the_data_does_not_tell():
    assert best_threshold(np.array([0.1, 0.2]), np.array([False, False])) == 0.5
    assert best_threshold(np.array([0.1, 0.9]), np.array([False, True])) == 0.5
    assert best_threshold(np.array([0.1, 0.2]), np.array([True, True])) < 0.1
    assert fit_multi_label([], np.zeros((0, 2), bool)) == uncalibrated(2, multi_label=True)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    there = rng.random(30) < 0.4
    scores = np.round(rng.random(30) + 0.3 * there, 1)  # rounded: ties happen
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        precision, recall = (chosen & there).sum() / chosen.sum(), (chosen & there).sum() / there.sum()
        total += (recall - recall_before) * precision
        recall_before = recall
    assert average_precision(scores, there) == pytest.approx(total)


def test_scores_by_hand():
    calibration = Calibration(thresholds=(0.5, 0.3), num_videos=7)

    def says(*probabilities):
        return Prediction("v", ("a", "b"), np.array(probabilities), thresholds=(0.5, 0.3))

    predictions = [says(0.9, 0.1), says(0.6, 0.4), says(0.2, 0.35), Prediction("v", ("a", "b"), None, "bad")]
    items = [VideoItem(Path("v"), label) for label in ("a", "a", "b", "|")]
    scores = evaluate_multi_label(predictions, targets_of(items, ("a", "b")), calibration)
    assert scores.exact_match == 2 / 4  # the second has a class too many, the last failed
    a, b = scores.per_class
    assert (a.average_precision, a.precision, a.recall, a.f1, a.support) == (1.0, 1.0, 1.0, 1.0, 2)
    assert (b.average_precision, b.precision, b.recall, b.support) == (0.5, 0.5, 1.0, 1)
    assert scores.mean_average_precision == 0.75
    assert scores.micro_f1 == pytest.approx(2 * 3 / (4 + 3))
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert (scores.num_failed, scores.fitted_on) == (1, 7)
    # Of six (video, class) pairs in five bins, of which 0.35 and 0.4 are one: half of it is there.
    calibrated = scores.calibration
    bins = [(row.confidence, row.num_videos, row.accuracy) for row in calibrated.bins if row.num_videos]
    expected = [(0.1, 1, 0.0), (0.2, 1, 0.0), (0.375, 2, 0.5), (0.6, 1, 1.0), (0.9, 1, 1.0)]
    np.testing.assert_allclose(bins, expected)
    assert calibrated.ece == pytest.approx((0.1 + 0.2 + 2 * 0.125 + 0.4 + 0.1) / 6)
    assert calibrated.ece_uncalibrated is None  # the logits are not known
    logs = np.log([0.9, 0.9, 0.6, 0.6, 0.8, 0.35])
    assert scores.loss == pytest.approx(-logs.mean())


# --- through the commands -------------------------------------------------------------------------


def test_the_model_file_holds_thresholds_and_training_selects_by_map(run):
    checkpoint = load_checkpoint(run / "model.safetensors")
    assert checkpoint.class_names == tuple(NAMES)
    assert len(checkpoint.calibration.thresholds) == 4
    assert checkpoint.calibration.num_videos == 8
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row["val_top1"] is None and 0 < row["val_map"] <= 1 for row in rows)
    best = max(rows, key=lambda row: (row["val_map"], -row["val_loss"]))
    assert checkpoint.metrics["epoch"] == best["epoch"]


def test_eval_on_val_tells_the_map_that_training_told(run, tmp_path):
    result = run_command("eval", "--model", run, "--split", "val", "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    assert scores["mean_average_precision"] == pytest.approx(
        load_checkpoint(run / "model.safetensors").metrics["val_map"]
    )
    assert [row["label"] for row in scores["per_class"]] == NAMES
    assert [row["support"] for row in scores["per_class"]] == [2, 2, 4, 2]
    assert 0 < scores["calibration"]["ece"] < 1
    assert 0 < scores["calibration"]["ece_uncalibrated"] < 1
    assert sum(row["num_videos"] for row in scores["calibration"]["bins"]) == 8 * 4
    assert scores["by_duration"][0]["exact_match"] == pytest.approx(scores["exact_match"])
    assert len(scores["worst"]) == round(8 * (1 - scores["exact_match"]))
    assert {"confusion.png", "reliability.png"} & {path.name for path in tmp_path.iterdir()} == {
        "reliability.png"
    }
    shown = run_command("eval", "--model", run, "--out", tmp_path / "b", "--against", run)
    assert "mAP" in shown.stdout
    assert "McNemar" in shown.stdout
    assert "fitted on 8 validation videos" in shown.stdout


def test_predict_tells_the_labels_that_reach_their_thresholds(run, manifest, tmp_path):
    result = run_command("predict", manifest, "--model", run, "--format", "json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 32
    thresholds = dict(
        zip(NAMES, load_checkpoint(run / "model.safetensors").calibration.thresholds, strict=True)
    )
    for row in rows:
        told = {answer["label"]: answer["probability"] for answer in row["predictions"]}
        assert set(row["labels"]) == {name for name in NAMES if told[name] >= thresholds[name]}
    assert any(row["labels"] for row in rows)
    model = vidcli.load(run)
    assert list(model.predict(rows[0]["video"]).labels) == rows[0]["labels"]
    run_command("eval", "--model", run, "--out", tmp_path)
    with open(tmp_path / "predictions.csv", newline="") as file:
        for row in csv.DictReader(file):
            told = next(other["labels"] for other in rows if other["video"] == row["video"])
            assert row["predicted"] == "|".join(told)
            assert row["correct"] == str(set(told) == set(filter(None, row["label"].split("|")))).lower()


def test_csv_and_table(run, motion_data):
    video = motion_data / "test" / "left" / "left_0001.mp4"
    table = csv.DictReader(
        io.StringIO(run_command("predict", video, "--model", run, "--format", "csv").stdout)
    )
    chosen = [row["label"] for row in table if row["chosen"] == "true"]
    labels = vidcli.load(run).predict(video).labels
    assert sorted(chosen) == sorted(labels)
    assert (", ".join(labels) or "–") in run_command("predict", video, "--model", run).stdout


def test_what_makes_no_sense_for_several_classes_is_refused(run):
    threshold = run_command("predict", "v.mp4", "--model", run, "--threshold", "0.5")
    assert (threshold.exit_code, "thresholds of their own" in threshold.stderr) == (2, True)
    sweep = run_command("eval", "--model", run, "--views-sweep")
    assert (sweep.exit_code, "which a multi-label model has none of" in sweep.stderr) == (2, True)


def test_the_report_shows_what_several_classes_have(run, tmp_path):
    result = run_command("report", run, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "page.html").read_text()
    scores = json.loads((run / "eval-test" / "eval.json").read_text())
    assert f"{scores['mean_average_precision']:.3f}" in page
    for text in ("all classes right", "average precision", "val mAP", "fitted on 8", "<td>sideways</td>"):
        assert text in page
    for text in ("how often a class is there", "calibration error", "Wrong and sure", "Least decided"):
        assert text in page
    assert page.count("taken for") == len(scores["worst"]) + len(scores["most_confused"])
    assert "accuracy by probability" not in page


def test_training_learns_sets_of_classes(manifest, small_config, tmp_path):
    config = small_config(
        {"train.lr": 3e-3, "train.label_smoothing": 0, "model.dropout": 0, "train.warmup_epochs": 1,
         "train.plots": False},
        data__multi_label=True, train__epochs=24, augment__flip="off",
    )  # fmt: skip
    _, rows = start_run(config, manifest, tmp_path / "run", CPU, lambda event: None)
    assert rows[-1].train_loss < 0.6 * rows[0].train_loss
    assert rows[-1].train_accuracy > 0.8 > rows[0].train_accuracy


def test_balancing_classes_and_several_classes_a_video_do_not_go_together(manifest, small_config, tmp_path):
    config = small_config({"train.class_balance": "loss"}, data__multi_label=True)
    with pytest.raises(ConfigError, match="balances classes of one a video"):
        start_run(config, manifest, tmp_path / "run", CPU, lambda event: None)
    assert not (tmp_path / "run").exists()
