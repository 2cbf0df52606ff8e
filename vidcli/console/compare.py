"""What `vidcli train --compare` shows: a row a head, and whether time matters."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from rich.table import Table

from vidcli.console.bars import Progressing, live_line
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.console.text import format_seconds, plain, plain_lines
from vidcli.train import CompareProgress, Comparison, Notice

_STAYS = "\N{NO-BREAK SPACE}"


class CompareView:
    """A bar for the features and then the heads, where there is a terminal to show it on."""

    def __init__(self, terminal: Terminal) -> None:
        """Show on this terminal."""
        self._terminal = terminal
        self._shown = Progressing("starting")
        self._open = ExitStack()

    def __enter__(self) -> CompareView:
        if self._terminal.verbosity > Verbosity.QUIET and self._terminal.err.is_terminal:
            self._open.enter_context(live_line(self._terminal.err, self._shown))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def __call__(self, event: CompareProgress | Notice) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._terminal.warn(event.text)
            return
        self._shown.begin(event.what)
        self._shown.update(event.done, event.total)


def print_comparison(terminal: Terminal, comparison: Comparison) -> None:
    """Print what was compared, the table and the answer to the question."""
    weights = {
        "random": "random weights: better ones (model.pretrained=true, model.weights=FILE) see more",
        "published": "published weights",
    }.get(comparison.weights, f"weights of {comparison.weights}")
    num_read = comparison.num_videos_read
    terminal.say(f"frozen backbone: {comparison.backbone}, {weights}")
    terminal.say(
        f"features of {num_read} videos, {comparison.num_cached} of them from the cache: "
        f"{format_seconds(comparison.feature_seconds)}"
    )
    if comparison.num_failed:
        terminal.say(f"{comparison.num_failed} videos cannot be decoded and are in no number below")
    terminal.say(f"scored on {comparison.scored_on}")
    table = Table("head", "in order, 95%", "shuffled, 95%", "gain", "time")
    for column in table.columns:
        column.justify = "left" if column is table.columns[0] else "right"
        column.overflow = "fold"  # a narrow terminal must not cut numbers
    table.columns[0].no_wrap = True
    for score in comparison.heads:
        table.add_row(
            plain(score.head),
            _with_interval(score.ordered, score.ordered_interval),
            _with_interval(score.shuffled, score.shuffled_interval),
            f"{score.ordered - score.shuffled:+.3f}",
            format_seconds(score.seconds).replace(" ", _STAYS),
        )
    terminal.out.print(table)
    # On a terminal broken between words, in a pipe one line.
    terminal.out.print(plain_lines(describe_answer(comparison)), soft_wrap=not terminal.out.is_terminal)


def describe_answer(comparison: Comparison) -> str:
    """Return the sentence that answers whether time matters."""
    low, high = comparison.difference_interval
    if comparison.time_matters:
        answer = "Yes"
    elif high < 0:
        answer = "No, shuffled frames even do better"
    else:
        answer = "Not that these features show"
    return (
        f"Does time matter in this data set? {answer}: the heads that can tell are right on "
        f"{comparison.ordered:.3f} of the videos in order and on {comparison.shuffled:.3f} shuffled, a "
        f"difference of {comparison.difference:+.3f} (95% interval {low:+.3f} to {high:+.3f}; guessing the "
        f"largest class: {comparison.largest_class:.3f})."
    )


def _with_interval(accuracy: float, interval: tuple[float, float]) -> str:
    return f"{accuracy:.3f}  {interval[0]:.2f}–{interval[1]:.2f}"
