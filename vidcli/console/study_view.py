"""What `vidcli crossval` and `vidcli tune` show: a line for each training, and tables of what came out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table

from vidcli.console.bars import Part, Progressing
from vidcli.console.tables import number_table
from vidcli.console.terminal import ProgressView, Terminal
from vidcli.console.text import count_noun, format_seconds, plain, plain_lines
from vidcli.evaluate.grouped import FEW_GROUPS, METRICS, Interval
from vidcli.studies import (
    CrossvalResult,
    FoldDone,
    FoldStarted,
    RecipeDifference,
    RecipeScores,
    StudyEvent,
    TrialDone,
)
from vidcli.studies.learning_curve import LearningCurve
from vidcli.train import CheckProgress, ChoiceMade, EpochDone, Notice, StepDone

SCORE_TITLES = {"top1": "top-1", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


class StudyView(ProgressView):
    """Shows the events of a study: a line for each training, and on a terminal a live line below.

    Trainings of one study tell much the same, so that each note is shown once.
    """

    def __init__(self, terminal: Terminal, tells_folds: bool = True) -> None:
        """Show nothing before the view is entered.

        Args:
            terminal: to show the events on.
            tells_folds: say of each fold how good it is, also where --verbose is not given.
        """
        self._tell_fold = terminal.say if tells_folds else terminal.detail
        super().__init__(terminal, Progressing("starting", parts=()))
        self._said: set[str] = set()
        self._of = self._epochs = ""

    def __call__(self, event: StudyEvent) -> None:
        """Show one event."""
        shown = self._shown
        if isinstance(event, Notice):
            told = re.sub(r"[\d.]+", "", event.text)  # notes of two trainings may differ in numbers only
            if told not in self._said:
                self._said.add(told)
                self._terminal.warn(event.text)
        elif isinstance(event, FoldStarted):
            self._of, self._epochs = f"{event.number}/{event.total}", str(event.epochs)
            shown.label, shown.parts = f"{self._of} {event.what}", ()
        elif isinstance(event, FoldDone):
            taken = "done before" if event.was_there else format_seconds(event.seconds)
            num_videos = count_noun(event.num_videos, "video")
            self._tell_fold(f"{event.what}: {num_videos}, top-1 {event.top1:.3f}  ({taken})")
        elif isinstance(event, TrialDone):
            self._terminal.say(event.text)
        elif isinstance(event, StepDone):
            shown.label = f"training {self._of}"
            shown.parts = (
                Part(f"epoch {event.epoch}/{self._epochs}", 1),
                Part(f"loss {event.loss:.3f}", 2),
                Part(f"{format_seconds(event.seconds_left)} left of it", 3),
            )
        elif not isinstance(event, EpochDone | ChoiceMade):
            is_check = isinstance(event, CheckProgress)
            shown.begin(f"training {self._of}: {'reading videos' if is_check else 'computing features'}")
            shown.update(event.done, event.total)


def print_crossval(terminal: Terminal, result: CrossvalResult) -> None:
    """Print the table of folds, the scores of each recipe, and how they compare.

    Args:
        terminal: to print on.
        result: what was found.
    """
    if len(result.recipes) == 1:
        _print_folds(terminal, result.recipes[0])
    table = number_table("recipe", *(f"{title}, 95%" for title in SCORE_TITLES.values()))
    for recipe in result.recipes:
        table.add_row(plain(recipe.name), *(with_interval(recipe.scores[name]) for name in METRICS))
    print_whole(terminal, table)
    for recipe in result.recipes:
        print_sentence(terminal, f"{recipe.name}: {recipe.verdict}")
    for difference in result.differences:
        print_sentence(terminal, describe_difference(difference))
    for curve in result.curves:
        _print_curve(terminal, curve)
    _warn(terminal, result)


def describe_difference(difference: RecipeDifference) -> str:
    """Return one sentence on which of two recipes is better."""
    gain = difference.differences["balanced_accuracy"]
    if gain.low <= 0 <= gain.high:
        told = f"{difference.recipe} and {difference.against} cannot be told apart"
    else:
        better, worse = (difference.recipe, difference.against)[:: 1 if gain.value > 0 else -1]
        told = f"{better} is better than {worse}"
    parts = [f"{SCORE_TITLES[name]} {_signed(difference.differences[name])}" for name in METRICS]
    pair = f"{difference.recipe} less {difference.against}"
    return f"{told}: {pair} is {', '.join(parts)}; p = {difference.p_value:.2g}"


def _print_folds(terminal: Terminal, recipe: RecipeScores) -> None:
    has_groups = any(row.group is not None for row in recipe.per_fold)
    table = number_table("held out" if has_groups else "fold", "videos", *SCORE_TITLES.values())
    for row in recipe.per_fold:
        name = row.group if row.group is not None else str(row.fold)
        numbers = (row.top1, row.balanced_accuracy, row.macro_f1)
        table.add_row(plain(name), str(row.num_videos), *(f"{number:.3f}" for number in numbers))
    print_whole(terminal, table)


def _print_curve(terminal: Terminal, curve: LearningCurve) -> None:
    columns = ("groups", "videos", *(f"{title}, 95%" for title in SCORE_TITLES.values()))
    table = number_table("trained on", *columns, title=f"learning curve of {curve.recipe}")
    for point in curve.points:
        counts = (f"{point.num_groups:.0f}", f"{point.num_videos:.0f}")
        table.add_row(f"{point.share:.0%}", *counts, *(with_interval(point.scores[name]) for name in METRICS))
    print_whole(terminal, table)
    print_sentence(terminal, f"{curve.recipe}: {curve.advice}")


def _warn(terminal: Terminal, result: CrossvalResult) -> None:
    first = result.recipes[0]
    num_groups = first.grouped.num_groups
    if num_groups < FEW_GROUPS:
        terminal.warn(
            f"{num_groups} groups are few: the true intervals are wider than those shown, which come from "
            "drawing whole groups"
        )
    if first.num_failed:
        terminal.warn(f"{first.num_failed} answers failed and count as wrong")


def print_whole(terminal: Terminal, table: Table) -> None:
    """Print a table none of whose numbers a narrow terminal cuts."""
    for column in table.columns:
        column.overflow = "fold"
    terminal.out.print(table)


def print_sentence(terminal: Terminal, text: str) -> None:
    """Print a sentence of results."""
    # The sentence is broken between words on a terminal, and stays one line in a pipe.
    terminal.out.print(plain_lines(text), soft_wrap=not terminal.out.is_terminal)


def with_interval(score: Interval) -> str:
    """Return a score with its interval, for a table."""
    return f"{score.value:.3f}  {score.low:.2f}–{score.high:.2f}"


def _signed(difference: Interval) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def print_study_end(terminal: Terminal, names: Sequence[str], out: object) -> None:
    """Say which files hold what was found.

    Args:
        terminal: to print on.
        names: of the files.
        out: the folder that they are in.
    """
    terminal.say(f"wrote {', '.join(names)} to {out}")
