"""Scores over groups: they are those of `evaluate`, and their intervals take whole groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcli.data.items import VideoItem
from vidcli.evaluate import evaluate
from vidcli.evaluate.grouped import METRICS, GroupedAnswers, measure_confusion
from vidcli.predict import Prediction

NAMES = ("a", "b", "c")


def answers(labels, guesses, groups, num_classes=3):
    pairs = enumerate(zip(labels, groups, strict=True))
    items = [VideoItem(Path(f"{n}.mp4"), NAMES[label], group=group) for n, (label, group) in pairs]
    return GroupedAnswers(items, labels, guesses, num_classes)


def random_answers(seed=0, num_groups=12, share_right=0.7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 60)
    guesses = np.where(rng.random(60) < share_right, labels, rng.integers(0, 4, 60))  # 3 is a failed video
    return labels, guesses, [f"g{n % num_groups}" for n in range(60)]


def test_scores_are_those_of_evaluate():
    labels, guesses, groups = random_answers()
    predictions = [
        Prediction("x", NAMES, None, error="broken") if g == 3 else Prediction("x", NAMES, np.eye(3)[g])
        for g in guesses
    ]
    expected = evaluate(predictions, [NAMES[y] for y in labels], NAMES)
    scores = answers(labels, guesses, groups).scores()
    for name in METRICS:
        assert scores[name].value == pytest.approx(getattr(expected, name))
        assert scores[name].low < scores[name].value < scores[name].high


def test_a_class_that_does_not_occur_has_no_recall():
    top1, balanced, macro_f1 = measure_confusion(np.array([[2, 0, 0], [0, 0, 0]]))
    assert (top1, balanced, macro_f1) == (1, 1, 1)
    assert measure_confusion(np.array([[1, 1, 0], [0, 0, 0]]))[2] == pytest.approx((2 / 3 + 0) / 2)


def test_videos_that_are_right_together_widen_the_interval():
    labels = [0] * 40
    guesses = [0] * 20 + [1] * 20
    apart = answers(labels, guesses, [f"g{n}" for n in range(40)]).scores()["top1"]
    together = answers(labels, guesses, [f"g{n // 10}" for n in range(40)]).scores()["top1"]
    assert apart.value == together.value == 0.5
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_files_without_a_group_are_groups_of_their_own():
    assert answers([0, 1, 2], [0, 1, 2], [None, None, "x"]).num_groups == 3
    # A group may be called as a file is.
    items = [VideoItem(Path("a.mp4"), "a"), VideoItem(Path("b.mp4"), "a", group="a.mp4")]
    assert GroupedAnswers(items, [0, 0], [0, 0], 3).num_groups == 2


def test_nothing_is_certain():
    right = answers([0, 1] * 5, [0, 1] * 5, [f"g{n // 2}" for n in range(10)]).scores()["top1"]
    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(0.025 ** (1 / 5))
    wrong = answers([0, 1] * 5, [1, 0] * 5, [f"g{n // 2}" for n in range(10)]).scores()["top1"]
    assert wrong.ends == (0, pytest.approx(1 - 0.025 ** (1 / 5)))


def test_differences_are_paired():
    labels, guesses, groups = random_answers(share_right=0.4)
    better = np.array(guesses)
    better[::6] = labels[::6]  # a little better in many groups
    ours, theirs = answers(labels, better, groups), answers(labels, guesses, groups)
    gain = ours.differences(theirs)["top1"]
    assert gain.value == pytest.approx(ours.scores()["top1"].value - theirs.scores()["top1"].value)
    alone = ours.scores()["top1"]
    assert gain.high - gain.low < 0.7 * (alone.high - alone.low)
    same = ours.differences(ours)
    assert {(d.value, d.low, d.high) for d in same.values()} == {(0, 0, 0)}


def test_the_sign_flip_test_counts_groups():
    labels, groups = [0] * 20, [f"g{n // 4}" for n in range(20)]
    ours, theirs = answers(labels, [0] * 20, groups), answers(labels, [1] * 20, groups)
    assert ours.sign_flip_p(theirs) == pytest.approx(2 / 2**5)  # five groups allow no less
    assert ours.sign_flip_p(ours) == 1
    many = [f"g{n}" for n in range(20)]
    p = answers(labels, [0] * 20, many).sign_flip_p(answers(labels, [1] * 20, many))
    assert 0 < p < 1e-3


def test_answers_to_other_videos_are_not_compared():
    with pytest.raises(ValueError, match="same videos"):
        answers([0, 1], [0, 1], ["x", "y"]).differences(answers([0, 2], [0, 1], ["x", "y"]))


def test_many_videos_of_many_classes_fit_in_memory():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 50, 2000)
    items = [VideoItem(Path(f"{number}.mp4"), str(label)) for number, label in enumerate(labels)]
    made = GroupedAnswers(items, labels, np.where(rng.random(2000) < 0.5, labels, 50), 50)
    assert made.num_groups == 2000
    top1 = made.scores()["top1"]  # a table of groups by classes would take 40 MB
    assert (top1.high - top1.low) == pytest.approx(2 * 1.96 * 0.5 / 2000**0.5, rel=0.15)


def test_draws_in_parts_are_the_same(monkeypatch):
    labels, guesses, groups = random_answers()
    whole = answers(labels, guesses, groups).scores()
    monkeypatch.setattr("vidcli.evaluate.grouped._NUMBERS_AT_ONCE", 700)
    assert answers(labels, guesses, groups).scores() == whole
