from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from vidcli.data.items import VideoItem
from vidcli.evaluate import bootstrap_interval, evaluate, predictions_csv
from vidcli.predict import Prediction

ABC = ("a", "b", "c")


def prediction(probabilities: list[float] | None, names: tuple[str, ...] = ABC) -> Prediction:
    if probabilities is None:
        return Prediction("x.mp4", names, None, "is broken")
    return Prediction("x.mp4", names, np.array(probabilities))


def guess(name: str) -> Prediction:
    """Return a prediction that is sure of one class."""
    return prediction([0.8 if other == name else 0.1 for other in ABC])


# --- against numbers worked out by hand -----------------------------------------------------------


def test_hand_computed_scores() -> None:
    #        true   a  a  a  a  b  b  c  c
    guesses = [guess(name) for name in "aaabbcc"] + [prediction(None)]
    scores = evaluate(guesses, list("aaaabbcc"), ABC)
    assert scores.top1 == 5 / 8
    assert scores.top5 is None
    assert scores.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    # precision: a 3/3, b 1/2, c 1/2; recall 3/4, 1/2, 1/2
    assert [s.precision for s in scores.per_class] == [1.0, 0.5, 0.5]
    assert [s.recall for s in scores.per_class] == [0.75, 0.5, 0.5]
    assert [s.f1 for s in scores.per_class] == pytest.approx([6 / 7, 1 / 2, 1 / 2])
    assert [s.support for s in scores.per_class] == [4, 2, 2]
    assert scores.macro_f1 == pytest.approx((6 / 7 + 1 / 2 + 1 / 2) / 3)
    assert scores.confusion == ((3, 1, 0), (0, 1, 1), (0, 0, 1))
    assert (scores.num_videos, scores.num_failed) == (8, 1)
    assert scores.loss == pytest.approx(-(5 * math.log(0.8) + 2 * math.log(0.1)) / 7)


def test_failed_videos_count_as_wrong_everywhere() -> None:
    right = [guess("a"), guess("b"), guess("c")]
    perfect = evaluate(right, list("abc"), ABC)
    failed = evaluate([*right, prediction(None)], list("abca"), ABC)
    assert (perfect.top1, perfect.balanced_accuracy, perfect.macro_f1) == (1, 1, 1)
    assert failed.top1 == 3 / 4
    assert failed.balanced_accuracy == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert failed.macro_f1 == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert failed.num_failed == 1
    assert sum(map(sum, failed.confusion)) == 3
    assert failed.loss == perfect.loss


def test_all_failed() -> None:
    scores = evaluate([prediction(None)] * 3, list("abc"), ABC)
    assert (scores.top1, scores.balanced_accuracy, scores.macro_f1) == (0, 0, 0)
    assert scores.top1_interval == (0, pytest.approx(1 - 0.025 ** (1 / 3)))
    assert (scores.num_failed, scores.loss) == (3, None)
    assert np.array(scores.confusion).sum() == 0


def test_failed_videos_are_not_among_the_best_five() -> None:
    names = tuple("abcdef")
    good = prediction([0.1, 0.3, 0.2, 0.2, 0.15, 0.05], names)
    assert evaluate([good, prediction(None, names)], ["a", "a"], names).top5 == 0.5


@pytest.mark.parametrize(("label", "inside"), [("b", 1.0), ("e", 1.0), ("f", 0.0)])
def test_top5(label: str, inside: float) -> None:
    names = tuple("abcdef")
    scores = evaluate([prediction([0.3, 0.2, 0.2, 0.15, 0.1, 0.05], names)], [label], names)
    assert (scores.top1, scores.top5) == (0.0, inside)


def test_ties_go_to_the_first_class_in_every_number() -> None:
    tie = prediction([0.2, 0.4, 0.4])
    assert tie.top(1) == [("b", 0.4)]
    scores = evaluate([tie, tie], ["b", "c"], ABC)
    assert scores.top1 == 0.5
    assert scores.confusion == ((0, 0, 0), (0, 1, 0), (0, 1, 0))
    uniform = prediction([1 / 6] * 6, tuple("abcdef"))
    assert evaluate([uniform] * 6, list("abcdef"), tuple("abcdef")).top5 == pytest.approx(5 / 6)


def test_a_certain_error_has_a_finite_loss() -> None:
    scores = evaluate([prediction([1.0, 0.0, 0.0])], ["b"], ABC)
    assert scores.loss is not None
    assert 100 < scores.loss < math.inf


def test_classes_that_do_not_occur_are_left_out_of_means() -> None:
    scores = evaluate([guess("a"), guess("b")], ["a", "a"], ABC)
    assert scores.per_class[1].recall is None  # predicted, but there is none
    assert scores.per_class[2].precision is None  # neither
    assert scores.balanced_accuracy == 0.5
    assert scores.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


# --- against plain loops --------------------------------------------------------------------------


def reference(
    probabilities: list[npt.NDArray[np.float64] | None], true: list[int], num_classes: int
) -> dict[str, float]:
    """Compute the metrics from their definitions, a video and a class at a time."""
    guesses = [
        None if p is None else max(range(num_classes), key=lambda k: (p[k], -k)) for p in probabilities
    ]
    pairs = list(zip(true, guesses, strict=True))
    in_five = [
        p is not None and sum((p[k], -k) > (p[t], -t) for k in range(num_classes)) < 5
        for p, t in zip(probabilities, true, strict=True)
    ]
    recalls, f1s = [], []
    for k in range(num_classes):
        hits = sum(t == g == k for t, g in pairs)
        misses = sum(t == k != g for t, g in pairs)
        false_alarms = sum(g == k != t for t, g in pairs)
        if hits + misses:
            recalls.append(hits / (hits + misses))
        if hits + misses + false_alarms:
            f1s.append(2 * hits / (2 * hits + misses + false_alarms))
    return {
        "top1": sum(t == g for t, g in pairs) / len(pairs),
        "top5": sum(in_five) / len(pairs),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "macro_f1": sum(f1s) / len(f1s),
    }


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(6, 12))
    names = tuple(f"c{k:02}" for k in range(num_classes))
    true = rng.integers(0, num_classes - 1, 60).tolist()  # the last class never occurs
    rows: list[npt.NDArray[np.float64] | None] = []
    for label in true:
        logits = np.round(rng.normal(size=num_classes) + 1.5 * (np.arange(num_classes) == label), 1)
        odds = np.exp(logits)
        rows.append(None if rng.random() < 0.1 else odds / odds.sum())  # rounded: ties happen
    predictions = [Prediction("x", names, row, "broken" if row is None else None) for row in rows]
    scores = evaluate(predictions, [names[label] for label in true], names).to_dict()
    for name, expected in reference(rows, true, num_classes).items():
        assert scores[name] == pytest.approx(expected, abs=1e-12), name
    expected_confusion = np.zeros((num_classes, num_classes), int)
    for label, row in zip(true, rows, strict=True):
        if row is not None:
            expected_confusion[label, int(row.argmax())] += 1
    np.testing.assert_array_equal(scores["confusion"], expected_confusion)


# --- interval -------------------------------------------------------------------------------------


def test_the_interval_holds_the_accuracy_and_narrows_with_more_videos() -> None:
    widths = []
    for count in (20, 200, 2000):
        correct = np.arange(count) % 5 != 0
        low, high = bootstrap_interval(correct)
        assert 0 <= low < 0.8 < high <= 1
        widths.append(high - low)
        # The normal approximation of a binomial share.
        assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / count), rel=0.15)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_the_interval_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.random(100) < 0.7)
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_interval_equals_resampling_of_videos() -> None:
    correct = np.arange(60) % 3 != 0
    rng = np.random.default_rng(1)
    means = rng.choice(correct, size=(10_000, 60)).mean(axis=1)
    np.testing.assert_allclose(bootstrap_interval(correct), np.quantile(means, [0.025, 0.975]), atol=0.02)


def test_the_interval_is_the_same_every_time() -> None:
    correct = np.arange(50) % 2 == 0
    assert bootstrap_interval(correct) == bootstrap_interval(correct)


# --- output ---------------------------------------------------------------------------------------


def test_json_is_valid_with_classes_never_predicted_and_failures() -> None:
    scores = evaluate([guess("a"), prediction(None)], ["a", "b"], ABC)
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain.keys() >= {
        "top1", "top1_interval", "top5", "balanced_accuracy", "macro_f1", "num_videos", "num_failed",
        "per_class", "confusion",
    }  # fmt: skip
    assert plain["per_class"][2] == {"label": "c", "precision": None, "recall": None, "f1": 0.0, "support": 0}
    assert plain["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert len(plain["top1_interval"]) == 2


def test_csv_has_a_row_a_video() -> None:
    items = [VideoItem(Path(f"{name}.mp4"), name) for name in "ab"]
    predictions = [prediction([0.25, 0.5, 0.25]), prediction(None)]
    rows = list(csv.DictReader(io.StringIO(predictions_csv(items, predictions, ABC))))
    assert [row["label"] for row in rows] == ["a", "b"]
    assert (rows[0]["predicted"], rows[0]["probability"], rows[0]["correct"]) == ("b", "0.5", "false")
    assert [float(rows[0][name]) for name in ABC] == [0.25, 0.5, 0.25]
    assert (rows[1]["predicted"], rows[1]["correct"], rows[1]["error"]) == ("", "false", "is broken")
    assert rows[1]["a"] == ""


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([], [], "at least one"),
        ([guess("a")], ["a", "b"], "one label a prediction"),
        ([guess("a")], ["z"], "no class names: z"),
    ],
)
def test_misuse(predictions: list[Prediction], labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(predictions, labels, ABC)


def test_the_interval_of_a_perfect_score_is_not_certainty():
    low, high = bootstrap_interval(np.ones(30, dtype=bool))
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 30))
    low, high = bootstrap_interval(np.zeros(30, dtype=bool))
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 30))
