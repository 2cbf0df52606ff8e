"""What `vidcli live` shows: one line that changes on a terminal, elsewhere a line for each answer."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.live import Live
from rich.text import Text

from vidcli.console.prediction_writers import UNKNOWN, headline, open_results
from vidcli.console.terminal import Terminal
from vidcli.console.text import json_line, plain
from vidcli.predict import Prediction, Predictor
from vidcli.predict.prediction import prediction_to_dict

_BAR_WIDTH = 12
_RATE_SECONDS = 3.0
_REDRAWS_A_SECOND = 12


@dataclass(frozen=True)
class LiveAnswer:
    """The answer of a model at one moment of a live video.

    Attributes:
        prediction: for the clip that ends with the newest picture.
        seconds: time of the newest picture, from the first one.
        delay_seconds: time from the arrival of that picture to the answer.
        num_dropped: number of pictures left out so far because the model was busy.
    """

    prediction: Prediction
    seconds: float
    delay_seconds: float
    num_dropped: int


class LiveView(ABC):
    """Shows answers as they come."""

    @abstractmethod
    def show(self, answer: LiveAnswer) -> None:
        """Show one answer."""


class JsonView(LiveView):
    """Prints a JSON object for each answer, one a line."""

    def __init__(self, top_k: int) -> None:
        """Show the `top_k` most probable classes of each answer."""
        self._top_k = top_k

    def show(self, answer: LiveAnswer) -> None:
        """Print one line."""
        row = prediction_to_dict(answer.prediction, self._top_k)
        row |= {
            "seconds": round(answer.seconds, 6),
            "delay": round(answer.delay_seconds, 6),
            "dropped": answer.num_dropped,
        }
        print(json_line(row, sys.stdout), flush=True)


class LineView(LiveView):
    """Shows one line that changes on a terminal, elsewhere a line for each answer."""

    def __init__(self, terminal: Terminal, top_k: int, live: Live | None, label_width: int) -> None:
        """Show labels in a column of fixed width, so that nothing jumps when they change.

        Args:
            terminal: to print on.
            top_k: number of classes to show.
            live: the line that changes; None to print lines.
            label_width: width of the labels in columns.
        """
        self._terminal, self._top_k, self._live, self._width = terminal, top_k, live, label_width
        self._times: deque[float] = deque()

    def show(self, answer: LiveAnswer) -> None:
        """Show one line."""
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > _RATE_SECONDS:
            self._times.popleft()
        line = self._line(answer)
        if self._live is not None:
            self._live.update(line)
        else:
            self._terminal.out.print(line, soft_wrap=True)

    def _line(self, answer: LiveAnswer) -> Text:
        prediction = answer.prediction
        label, probability, others = headline(prediction, self._top_k)
        full = round(_BAR_WIDTH * probability)
        name = plain(label, "yellow" if prediction.is_unknown else "bold")
        name.truncate(self._width, overflow="ellipsis", pad=True)
        line = Text.assemble(
            f"{answer.seconds:8.2f} s  ",
            name,
            f"  {probability:.3f} ",
            ("█" * full, "green"),
            ("─" * (_BAR_WIDTH - full), "dim"),
            f"  delay {answer.delay_seconds * 1000:4.0f} ms",
        )
        if self._live is not None and len(self._times) > 1:
            rate = (len(self._times) - 1) / max(1e-6, self._times[-1] - self._times[0])
            line.append(f"  {rate:5.1f}/s")
        if answer.num_dropped:
            line.append(f"  dropped {answer.num_dropped}", "yellow")
        if others:
            line.append("  " + ", ".join(f"{plain(name)} {p:.2f}" for name, p in others), "dim")
        if self._live is not None:
            line.truncate(self._terminal.out.width, overflow="ellipsis")
        return line


@contextmanager
def open_live_view(terminal: Terminal, form: str, top_k: int, predictor: Predictor) -> Iterator[LiveView]:
    """Open a view that shows answers on stdout.

    Args:
        terminal: to print on.
        form: table or json.
        top_k: number of classes to show.
        predictor: gives the answers; its class names set the width of a column.

    Raises:
        VidcliError: stdout cannot be written.
    """
    with open_results(None):
        if form == "json":
            yield JsonView(top_k)
            return
        # A third of the line is enough for a label; a longer one ends in dots.
        width = min(max(map(len, (*predictor.class_names, UNKNOWN))), max(8, terminal.out.width // 3))
        if not terminal.out.is_terminal:
            yield LineView(terminal, top_k, None, width)
            return
        with Live(console=terminal.out, refresh_per_second=_REDRAWS_A_SECOND) as live:
            yield LineView(terminal, top_k, live, width)
