"""The two output streams of a command, and how much it says on them.

Results go to stdout, everything else to stderr. Where stderr is no terminal there are no progress
bars, only lines; NO_COLOR is honoured by rich itself.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from vidcli.console.bars import Progressing, Stopwatch
from vidcli.console.text import count_noun, json_line, plain, plain_lines

_View = TypeVar("_View", bound="ProgressView")


class Verbosity(IntEnum):
    """How much goes to stderr."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class _PipeConsole(Console):
    """A console that leaves broken pipes to the command line's own error handler."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` at hand again, instead of ending the process."""
        raise


@dataclass(frozen=True)
class Terminal:
    """The two output streams of a command, and how much it says on them.

    Attributes:
        out: stdout, for results.
        err: stderr, for everything else.
        verbosity: how much goes to stderr.
    """

    out: Console
    err: Console
    verbosity: Verbosity

    @classmethod
    def open(cls, verbosity: Verbosity) -> Terminal:
        """Return a terminal on stdout and stderr of this process."""
        # A file name that is no valid text is shown with escapes, as Python does on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return cls(_PipeConsole(highlight=False), Console(stderr=True, highlight=False), verbosity)

    def say(self, text: str = "") -> None:
        """Print a message on stderr, unless quiet."""
        if self.verbosity > Verbosity.QUIET:
            self.err.print(plain_lines(text), soft_wrap=True)

    def detail(self, text: str) -> None:
        """Print a message that only --verbose asks for."""
        if self.verbosity >= Verbosity.VERBOSE:
            self.err.print(plain_lines(text, "dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a note on something that the user may not expect."""
        if self.verbosity > Verbosity.QUIET:
            self.err.print(Text("note: ", "yellow") + plain_lines(text, "default"), soft_wrap=True)

    def fail(self, text: str) -> None:
        """Print that one of many items failed, while the others go on."""
        if self.verbosity > Verbosity.QUIET:
            self.err.print(Text("failed: ", "red") + plain(text, "default"), soft_wrap=True)

    @property
    def lines_out(self) -> Console:
        """The console for results that are printed line by line while a live line is shown.

        It is stderr's where both streams are on a screen, so that results appear above the live line.
        """
        # Asked of the streams: a console may be told to behave as one of a terminal.
        are_on_screen = sys.stdout.isatty() and sys.stderr.isatty()
        return self.err if self._has_bar and are_on_screen else self.out

    @property
    def _has_bar(self) -> bool:
        return self.verbosity > Verbosity.QUIET and self.err.is_terminal

    def progress(self, shown: Progressing) -> AbstractContextManager[None]:
        """Return a context that shows a live line where there is a terminal to show it on.

        Args:
            shown: what the line says; it may change while the context is open.
        """
        if not self._has_bar:
            return nullcontext()
        from vidcli.console.live_line import live_line

        return live_line(self.err, shown)

    @contextmanager
    def counting(
        self,
        label: str,
        total: int | None = None,
        hide: bool = False,
        past: str | None = None,
        noun: str = "video",
    ) -> Iterator[Callable[[int, int], None]]:
        """Show how much is done while the body runs, where there is a terminal to show it on.

        Args:
            label: the name of the work.
            total: the number of items; None where only the first update tells it.
            hide: show no live line, because lines printed meanwhile would tear it.
            past: the work in the past tense, such as `read`; work that took long ends with a line that
                says so and how long. None says nothing.
            noun: the singular of the items, for that line.

        Yields:
            A function to call with the number of items done and of all.
        """
        shown = Progressing(label, total=total)
        watch = Stopwatch(self.say)
        with nullcontext() if hide else self.progress(shown):
            yield shown.update
        if past is not None:
            watch.stop(f"{past} {count_noun(shown.done, noun)}")


class ProgressView:
    """Shows events of long work in a live line for as long as the view is open."""

    def __init__(self, terminal: Terminal, shown: Progressing) -> None:
        """Show nothing before the view is entered.

        Args:
            terminal: to show the line on.
            shown: what the line says at first; the view changes it.
        """
        self._terminal, self._shown = terminal, shown
        self._open = ExitStack()

    def __enter__(self: _View) -> _View:
        self._open.enter_context(self._terminal.progress(self._shown))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()


def print_error(message: str) -> None:
    """Print one clean message to stderr."""
    console = Console(stderr=True, highlight=False)
    console.print(Text("error: ", "bold red") + plain_lines(message, "default"), soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    print(json_line(value, sys.stdout))
