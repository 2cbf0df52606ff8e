"""What `vidcli predict` writes."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.terminal import Terminal
from vidcli.console.text import json_line, plain, shorten_path
from vidcli.predict import Prediction


class PredictionWriter:
    """Write predictions as they come: a table at the end, or JSON lines or CSV at once."""

    def __init__(self, terminal: Terminal, form: str, top_k: int, stream: TextIO | None) -> None:
        """Write to `stream`, or to stdout; `form` is table, json or csv."""
        self._terminal, self._form, self._top_k = terminal, form, top_k
        self._stream = stream or sys.stdout
        self._to_file = stream is not None
        self._kept: list[Prediction] = []
        if form == "csv":
            self._csv = csv.writer(self._stream, lineterminator="\n")
            self._csv.writerow(["video", "rank", "label", "probability", "error"])

    def write(self, prediction: Prediction) -> None:
        """Write one prediction, or keep it for the table."""
        if self._form == "json":
            line = json_line(prediction_to_dict(prediction, self._top_k), self._stream)
            print(line, file=self._stream, flush=True)
        elif self._form == "csv":
            for rank, (label, probability) in enumerate(prediction.top(self._top_k), start=1):
                self._csv.writerow([prediction.video, rank, label, probability, ""])
            if prediction.error is not None:
                self._csv.writerow([prediction.video, "", "", "", prediction.error])
            self._stream.flush()
        else:
            self._kept.append(prediction)

    def close(self) -> None:
        """Print the table, where that is the form."""
        if self._form == "table" and self._kept:
            console = Console(file=self._stream, highlight=False) if self._to_file else self._terminal.out
            console.print(predictions_table(self._kept, self._top_k))


def predictions_table(predictions: Iterable[Prediction], top_k: int) -> Table:
    """Return a table with a row a video: the best class, and the runners-up beside it."""
    table = Table("video", "label", "probability")
    table.columns[0].overflow = "fold"
    table.columns[2].justify = "right"
    if top_k > 1:
        table.add_column("then")
    for prediction in predictions:
        video = plain(shorten_path(prediction.video))
        if prediction.error is not None:
            cells = [video, plain(prediction.error, "red"), Text("–")]
            table.add_row(*cells)
            continue
        (label, probability), *others = prediction.top(top_k)
        runners_up = ", ".join(f"{name} {p:.2f}" for name, p in others)
        table.add_row(
            video,
            Text(label, style="bold"),
            f"{probability:.3f}",
            *([Text(runners_up, style="dim")] if top_k > 1 else []),
        )
    return table


def prediction_to_dict(prediction: Prediction, top_k: int) -> dict[str, Any]:
    """Return what `--format json` prints for one video."""
    if prediction.error is not None:
        return {"video": prediction.video, "error": prediction.error}
    best = [{"label": label, "probability": p} for label, p in prediction.top(top_k)]
    return {"video": prediction.video, "predictions": best}
