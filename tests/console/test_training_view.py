from __future__ import annotations

from itertools import product

from vidcli.console.training_view import choice_lines
from vidcli.train import ChoiceMade


def test_what_was_tried_fits_a_terminal_of_80_columns() -> None:
    panels = "whole,window,follow"
    read = [
        ("window", "motion"),
        ("window,follow", "both"),
        (panels, "appearance"),
        (panels, "motion,both,appearance"),
        (panels, "both,appearance,both"),
        (panels, "both"),
    ]
    trials = tuple(
        {"streams": streams, "panels": names, "mirrored": mirrored, "strength": 0.3, "top1": 0.5, "map": None}
        | {"balanced_accuracy": 0.25}
        for (names, streams), mirrored in product(read, (False, True))
    )
    for by_look in (False, True):
        lines = choice_lines(ChoiceMade(trials, 10, (0.125, 0.875), by_look))
        assert max(map(len, lines)) <= 80, lines
        assert len(set(lines)) == len(trials) + 2
        assert [line.endswith(" *") for line in lines[1:-1]] == [True] + [False] * 11
        assert "0.125 to 0.875" in lines[-1]
        assert lines[7] == "  0.500/0.250  appearance window+follow, motion whole+window"
