from __future__ import annotations

from itertools import product

from vidcli.console.training_view import choice_lines
from vidcli.train import ChoiceMade
from vidcli.train.choice_bias import Expected


def test_what_was_tried_fits_a_terminal_of_80_columns() -> None:
    panels = "whole,window,follow"
    read = [
        ("window", "motion"),
        ("window,follow", "appearance+motion"),
        (panels, "appearance"),
        (panels, "motion,appearance+motion,appearance"),
        (panels, "appearance+motion,appearance,appearance+motion"),
        (panels, "appearance+motion+action"),
    ]
    trials = tuple(
        {"streams": streams, "panels": names, "mirrored": mirrored, "strength": 0.3, "top1": 0.5, "map": None}
        | {"balanced_accuracy": 0.25}
        for (names, streams), mirrored in product(read, (False, True))
    )
    for by_look in (False, True):
        lines = choice_lines(ChoiceMade(trials, 10, Expected(0.4, 0.3, (0.125, 0.875), 711), by_look))
        assert max(map(len, lines)) <= 80, lines
        assert len(set(lines)) == len(trials) + 3
        assert [line.endswith(" *") for line in lines[1:-2]] == [True] + [False] * 11
        assert lines[7] == "  0.500/0.250  appearance window+follow, motion whole+window"
        assert lines[-4] == "  0.500/0.250  appearance+motion+action whole+window+follow"
        kept = "look-alikes" if by_look else "groups"
        assert " ".join(" ".join(lines[-2:]).split()) == (
            f"* chosen; the best of 711 had some luck with these {kept}: of others expect 0.400/0.300 (top-1 "
            "with 95% certainty 0.125 to 0.875)"
        )


def test_three_streams_of_different_panels_go_on_in_the_next_line() -> None:
    trial = {"panels": "whole,window,follow", "streams": "appearance+motion,appearance+action,motion+action"}
    rest = {"mirrored": True, "strength": 0.3, "top1": 0.5, "balanced_accuracy": 0.25, "map": None}
    lines = choice_lines(ChoiceMade((trial | rest,), 10, None, by_look=False))
    assert lines[1:] == [
        "  0.500/0.250  appearance whole+window, motion whole+follow, action",
        "               window+follow, mirrored *",
    ]
