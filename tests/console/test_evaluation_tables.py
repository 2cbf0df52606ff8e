"""Tables of an evaluation."""

from __future__ import annotations

import re
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from vidcli.console.evaluation_tables import print_evaluation
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.evaluate.scores import evaluate
from vidcli.predict import Prediction

NAMES = [f"c{number:03}" for number in range(120)]


@pytest.mark.parametrize(("verbosity", "num_shown"), [(Verbosity.NORMAL, 50), (Verbosity.VERBOSE, 120)])
def test_of_very_many_classes_the_hardest_are_shown_and_the_rest_is_said_to_be(
    verbosity: Verbosity, num_shown: int
) -> None:
    wrong = set(range(3, 120, 4))  # 30 classes, whose videos are taken for the class before
    guesses = [number - (number in wrong) for number in range(120)]
    predictions = [Prediction(f"{name}.mp4", NAMES, np.eye(120)[guesses[i]]) for i, name in enumerate(NAMES)]
    terminal = Terminal(Console(file=StringIO(), width=80), Console(file=StringIO(), width=80), verbosity)
    print_evaluation(terminal, evaluate(predictions, NAMES, NAMES), "test")
    assert isinstance(terminal.out.file, StringIO)
    assert isinstance(terminal.err.file, StringIO)
    shown = re.findall(r"c(\d{3}) +│", terminal.out.file.getvalue())
    assert len(shown) == num_shown
    assert shown == sorted(shown)
    assert {f"{number:03}" for number in wrong} < set(shown)
    assert ("the 50 of 120 classes" in terminal.err.file.getvalue()) == (num_shown == 50)
