"""What new videos can expect of the best of many candidates, against a plain loop and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from vidcli.train.choice import accuracies
from vidcli.train.choice_bias import expect


def drawn(num_units: int, seed: int) -> np.ndarray:
    """Return how often each group is drawn, of the draws that leave one out."""
    times = np.random.default_rng(seed).multinomial(num_units, [1 / num_units] * num_units, 1000)
    return times[(times == 0).any(axis=1)]


def test_the_numbers_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    labels, units = rng.integers(0, 3, 40), np.arange(40) % 7
    right = rng.random((9, 40)) < np.linspace(0.3, 0.7, 9)[:, None]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for times in drawn(7, seed=5):
        inside = np.repeat(np.arange(40), times[units])
        scores = [np.mean(accuracies(answers[inside], labels[inside])) for answers in right]
        outside = np.flatnonzero(times[units] == 0)
        found.append((right[int(np.argmax(scores))][outside], labels[outside]))
    answers, of = (np.concatenate(parts) for parts in zip(*found, strict=True))
    told = expect(right, labels, units, seed=5)
    assert told is not None
    assert told.num_candidates == 9
    top1, balanced = accuracies(answers, of)
    assert told.top1 == pytest.approx(top1)
    assert told.balanced_accuracy == pytest.approx(balanced)
    shares = [float(part.mean()) for part, _ in found]
    assert told.top1_interval == pytest.approx(tuple(np.percentile(shares, [2.5, 97.5])))


def test_luck_is_taken_off() -> None:
    """Of hundreds that guess, the best seems far better than chance; new videos find out that it is not."""
    rng = np.random.default_rng(0)
    labels, units = np.arange(200) % 2, np.arange(200) // 5
    right = rng.random((500, 200)) < 0.5
    assert right.mean(axis=1).max() > 0.58
    told = expect(right, labels, units, seed=0)
    assert told is not None
    assert told.top1 == pytest.approx(0.5, abs=0.03)
    low, high = told.top1_interval
    assert low < 0.5 < high


def test_one_candidate_is_as_good_as_it_looks() -> None:
    right = np.random.default_rng(0).random((1, 300)) < 0.8
    told = expect(right, np.arange(300) % 3, np.arange(300), seed=0)
    assert told is not None
    assert told.top1 == pytest.approx(right.mean(), abs=0.005)
    assert told.top1_interval[0] < right.mean() < told.top1_interval[1]


def test_a_class_of_one_group_is_counted_where_it_is_left_out() -> None:
    labels = np.array([0, 0, 0, 1, 1, 0, 0, 1])
    units = np.array([0, 0, 1, 1, 1, 2, 2, 1])
    right = np.array([[True] * 8, [False] * 8])
    told = expect(right, labels, units, seed=0)
    assert told is not None
    assert (told.top1, told.balanced_accuracy) == (1.0, 1.0)
    # Three groups that were right are not certain to stay so: the exact bound of three out of three.
    assert told.top1_interval == pytest.approx((0.025 ** (1 / 3), 1))


def test_one_group_tells_nothing() -> None:
    assert expect(np.ones((2, 4), bool), np.arange(4) % 2, np.zeros(4, int), seed=0) is None
