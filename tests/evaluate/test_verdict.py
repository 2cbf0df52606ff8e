"""One sentence on what a score is worth."""

from __future__ import annotations

import pytest

from vidcli.evaluate.verdict import Baseline, find_baseline, judge


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
