"""What `vidcli live` shows: a line that changes, or a line an answer."""

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

from vidcli.console.predictions import UNKNOWN, headline
from vidcli.console.terminal import Terminal
from vidcli.console.text import json_line, plain
from vidcli.errors import VidcliError
from vidcli.predict import Prediction, Predictor
from vidcli.predict.results import prediction_to_dict

_BAR_WIDTH = 12
_RATE_SECONDS = 3.0
_REDRAWS_A_SECOND = 12


@dataclass(frozen=True)
class LiveAnswer:
    """What a model says at a moment of a live video.

    Attributes:
        seconds: of the newest picture, from the first one.
        delay_seconds: from the arrival of that picture to the answer.
        num_dropped: pictures left out so far, since the model was busy.
    """

    prediction: Prediction
    seconds: float
    delay_seconds: float
    num_dropped: int


class LiveView(ABC):
    """Show answers as they come."""

    @abstractmethod
    def show(self, answer: LiveAnswer) -> None:
        """Show one."""


class JsonView(LiveView):
    """A JSON object a line."""

    def __init__(self, top_k: int) -> None:
        """Print the `top_k` most probable classes."""
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
    """One line that changes on a terminal; elsewhere a line an answer."""

    def __init__(self, terminal: Terminal, top_k: int, live: Live | None, label_width: int) -> None:
        """Show labels in a column, so that nothing jumps when they change."""
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
    """Open what shows answers on stdout; `form` is table or json.

    Raises:
        VidcliError: stdout cannot be written.
    """
    try:
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
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VidcliError(f"standard output: cannot be written ({error.strerror})") from error
