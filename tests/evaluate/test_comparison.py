"""McNemar's test and the interval of a paired difference against counting and published numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from vidcli.evaluate import compare
from vidcli.evaluate.comparison import (
    Baseline,
    find_baseline,
    judge,
    mcnemar_exact,
    paired_difference_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 1), (2, 6), (5, 5), (0, 9)])
def test_mcnemar_counts_every_way_that_coins_can_fall(only_a: int, only_b: int) -> None:
    num_coins = only_a + only_b
    observed = abs(only_a - only_b)
    as_uneven = sum(
        abs(2 * sum(coins) - num_coins) >= observed for coins in itertools.product((0, 1), repeat=num_coins)
    )
    assert mcnemar_exact(only_a, only_b) == pytest.approx(as_uneven / 2**num_coins, abs=1e-12)


def test_mcnemar_of_many_pairs_is_near_the_normal_approximation() -> None:
    z = (240 - 200 - 1) / math.sqrt(440)  # with continuity correction
    assert mcnemar_exact(200, 240) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=2e-3)
    assert 0 < mcnemar_exact(0, 1000) < 1e-290


def test_the_interval_of_the_paper() -> None:
    # Newcombe 1998: 36 both, 12 and 2 discordant, 0 neither gives +0.0569 to +0.3404.
    low, high = paired_difference_interval(36, 12, 2, 0)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


def test_wilson_by_hand() -> None:
    # The bounds are the shares whose normal test of the count is just not rejected.
    for right, count in ((3, 10), (0, 7), (50, 60)):
        for bound in wilson_interval(right, count):
            if 0 < bound < 1:
                z = (right / count - bound) / math.sqrt(bound * (1 - bound) / count)
                assert abs(z) == pytest.approx(1.95996, abs=1e-4)
    assert wilson_interval(0, 7)[0] == 0
    assert wilson_interval(7, 7)[1] == 1


def test_the_interval_agrees_with_resampling_of_many_pairs() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([500, 140, 90, 270])
    draws = rng.multinomial(1000, counts / 1000, 20_000)
    resampled = np.quantile((draws[:, 1] - draws[:, 2]) / 1000, [0.025, 0.975])
    np.testing.assert_allclose(paired_difference_interval(*counts.tolist()), resampled, atol=0.002)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).multinomial(60, [0.55, 0.2, 0.1, 0.15], 1500)
    intervals = [paired_difference_interval(*row.tolist()) for row in draws]
    covered = np.mean([low <= 0.1 <= high for low, high in intervals])
    assert 0.93 <= covered <= 0.975


def test_models_that_agree_in_everything_are_not_proven_equal() -> None:
    same = compare([True] * 8 + [False] * 2, [True] * 8 + [False] * 2)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    low, high = same.difference_interval
    assert low < 0 < high


def test_counts_and_sides() -> None:
    model = [True, True, True, False, False, True]
    other = [True, False, False, True, False, True]
    found = compare(model, other)
    counts = (found.both_right, found.only_model, found.only_against, found.both_wrong)
    assert counts == (2, 2, 1, 1)
    assert (found.top1, found.top1_against) == (4 / 6, 3 / 6)
    assert found.difference == pytest.approx(1 / 6)
    turned = compare(other, model)
    assert turned.difference == -found.difference
    assert turned.p_value == found.p_value
    assert turned.difference_interval == pytest.approx(tuple(-b for b in found.difference_interval[::-1]))


@pytest.mark.parametrize("outcomes", [([], []), ([True], [True, False])])
def test_misuse(outcomes: tuple[list[bool], list[bool]]) -> None:
    with pytest.raises(ValueError, match="two outcomes a video"):
        compare(*outcomes)


# --- better than always giving the same answer ------------------------------------------------------


def test_the_baseline_is_the_most_frequent_label() -> None:
    assert find_baseline(["b", "a", "b"]) == Baseline("b", 2 / 3)
    assert find_baseline(["b", "a"]) == Baseline("a", 0.5)  # of equals the first by name


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.51, 0.9), "better than guessing"),
        ((0.5, 0.9), "no better than guessing"),
        ((0.2, 0.5), "no better than guessing"),
        ((0.2, 0.49), "worse than guessing"),
    ],
)
def test_luck_is_called_luck(interval: tuple[float, float], expected: str) -> None:
    verdict = judge(0.4, interval, Baseline("rest", 0.5), 20)
    assert verdict.startswith(
        f"{expected}: right for 0.400 of 20 videos, {interval[0]:.3f} to {interval[1]:.3f}"
    )
    assert "always answering 'rest' gets 0.500" in verdict
