"""What would help a model, from answers that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from vidcli.data.items import VideoItem
from vidcli.evaluate.grouped import Interval
from vidcli.evaluate.what_helps import binomial_tail, doubt_labels, iter_what_helps, judge_gain

NAMES = ("hop", "run", "sit")


def make_items(per_group: int = 6, groups: int = 6) -> list[VideoItem]:
    return [
        VideoItem(Path(f"{group}_{number}.mp4"), NAMES[number % 3], group=f"g{group}")
        for group in range(groups)
        for number in range(per_group)
    ]


def sure_of(guesses: list[str], share: float = 0.8) -> np.ndarray:
    shares = np.full((len(guesses), len(NAMES)), (1 - share) / (len(NAMES) - 1))
    shares[np.arange(len(guesses)), [NAMES.index(name) for name in guesses]] = share
    return shares


def told(guesses: list[str], halves: list[list[str]], share: float = 0.8) -> list[str]:
    all_halves = [sure_of(half) for half in halves]
    return [*iter_what_helps(make_items(), NAMES, sure_of(guesses, share), all_halves, True)]


TRUTH = [item.label for item in make_items()]
POOR = ["sit"] * len(TRUTH)


def test_a_good_model_without_doubts_needs_nothing():
    assert told(TRUTH, [TRUTH, TRUTH]) == []


def test_more_data_helps_where_half_of_it_was_worse():
    guesses = [*TRUTH]
    guesses[::4] = ["sit"] * len(guesses[::4])
    sentences = told(guesses, [POOR, POOR], 0.5)
    assert sentences[0].startswith("more data would help")
    assert told(guesses, [guesses, guesses], 0.5)[0].startswith("more data of this kind would help little")


def test_the_pair_that_is_confused_most_is_named():
    guesses = [{"hop": "run", "run": "hop"}.get(label, label) for label in TRUTH]
    (sentence,) = [one for one in told(guesses, [], 0.5) if "taken for each other" in one]
    assert sentence.startswith("hop and run are taken for each other most: 24 of 24 wrong answers")
    spread = [NAMES[(NAMES.index(label) + 1 + place % 2) % 3] for place, label in enumerate(TRUTH)]
    assert [one for one in told(spread[:3] + TRUTH[3:], [], 0.5) if "taken" in one] == []


def test_a_group_that_differs_is_named_unless_groups_have_no_names():
    guesses = [{"hop": "run", "run": "sit", "sit": "hop"}[label] for label in TRUTH[:6]] + TRUTH[6:]
    shares = sure_of(guesses, 0.5)
    named, unnamed = ([*iter_what_helps(make_items(), NAMES, shares, [], named)] for named in (True, False))
    (sentence,) = [one for one in named if "differs" in one]
    assert sentence.startswith("group g0 differs from the rest: 0.00 of its videos are answered right, of")
    assert "others 1.00" in sentence
    assert not any("differs" in one for one in unnamed)


def test_labels_that_look_wrong_are_told_also_of_a_good_model():
    shares = sure_of(["run", *TRUTH[1:]])
    shares[0] = [0.05, 0.9, 0.05]
    (sentence,) = iter_what_helps(make_items(), NAMES, shares, [], True)
    assert "look at these first: 0_0.mp4 (hop, looks like run); " in sentence
    shares[0] = [0.25, 0.7, 0.05]  # not as sure as of videos that are labelled so
    assert [*iter_what_helps(make_items(), NAMES, shares, [], True)] == []


def test_doubts_are_those_of_confident_learning():
    shares = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    doubts = doubt_labels(np.array([0, 0, 0, 1, 1]), shares)
    np.testing.assert_allclose(doubts.margin_N, [0.8, 0.4, -0.6, 0.2, 0.4])
    assert doubts.other_N.tolist() == [1, 1, 1, 0, 0]
    # The clips labelled 1 have 0.65 on average, which the third exceeds; those labelled 0 have 0.6.
    assert doubts.is_confident_N.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("count", "total", "share"), [(0, 5, 0.5), (3, 20, 0.7), (20, 20, 0.1)])
def test_the_binomial_tail_is_that_of_scipy(count, total, share):
    assert binomial_tail(count, total, share) == pytest.approx(stats.binom.cdf(count, total, share))


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(0.1, 0.04, 0.2), "more data would help:"),
        (Interval(0.0, -0.02, 0.01), "would help little"),
        (Interval(0.05, -0.02, 0.2), "not certain"),
    ],
)
def test_a_gain_is_judged_by_its_interval(gain, words):
    assert words in judge_gain(gain)
