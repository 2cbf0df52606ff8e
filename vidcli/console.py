"""All that a person sees in a terminal: progress, tables, messages. The only module that knows rich.

Results go to stdout, everything else to stderr. Where stderr is no terminal there are no progress
bars, only lines; NO_COLOR is honoured by rich itself.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from vidcli.data.manifest import SPLITS
from vidcli.demo import DemoResult
from vidcli.doctor import DataReport, Finding, Summary
from vidcli.evaluate import Evaluation
from vidcli.predict import Prediction
from vidcli.train import CheckProgress, EpochDone, EpochRow, Event, Notice, RunPlan, StepDone

_MAX_MATRIX_CLASSES = 12
_MAX_PATH_WIDTH = 40
_MAX_ROWS_A_KIND = 20
_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


class Verbosity(IntEnum):
    """How much goes to stderr."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass(frozen=True)
class Terminal:
    """The two streams, and how much to say."""

    out: Console
    err: Console
    verbosity: Verbosity

    @classmethod
    def open(cls, verbosity: Verbosity) -> Terminal:
        """Use the process's own streams."""
        # A file name that is no valid text is shown with escapes, as Python does on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return cls(Console(highlight=False), Console(stderr=True, highlight=False), verbosity)

    def say(self, text: str = "") -> None:
        """Tell the user something that is no result; nothing when quiet."""
        if self.verbosity > Verbosity.QUIET:
            self.err.print(_plain(text), soft_wrap=True)

    def detail(self, text: str) -> None:
        """Tell what only --verbose asks for."""
        if self.verbosity >= Verbosity.VERBOSE:
            self.err.print(_plain(text, "dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Name something that is not as the user may expect."""
        if self.verbosity > Verbosity.QUIET:
            self.err.print(Text("note: ", "yellow") + _plain(text, "default"), soft_wrap=True)

    def fail(self, text: str) -> None:
        """Name one of many that failed, while the others go on."""
        if self.verbosity > Verbosity.QUIET:
            self.err.print(Text("failed: ", "red") + _plain(text, "default"), soft_wrap=True)

    @contextmanager
    def counting(self, label: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
        """Show a bar while the body runs, where there is a terminal to show it on.

        Args:
            label: what is being done.
            total: of how many; None until the first call tells.

        Yields:
            A function to call with the number done and of all.
        """
        if self.verbosity == Verbosity.QUIET or not self.err.is_terminal:
            yield lambda done, total: None
            return
        with Progress(
            SpinnerColumn(),
            TextColumn(label),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),  # knows what to show while the total is not known yet
            console=self.err,
            transient=True,
        ) as progress:
            task = progress.add_task("", total=total)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def print_error(message: str) -> None:
    """Print one clean message to stderr."""
    console = Console(stderr=True, highlight=False)
    console.print(Text("error: ", "bold red") + _plain(message, "default"), soft_wrap=True)


def _plain(text: str, style: str = "") -> Text:
    """Return text that says what it says: no markup, and no control codes out of a file's name."""
    return Text("".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text), style)


class TrainingView:
    """Show the events of a run: a live line under the table of epochs, or a line an epoch."""

    def __init__(self, terminal: Terminal, epochs: int) -> None:
        """Show a run of `epochs` epochs."""
        self._terminal, self._epochs = terminal, epochs
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingView:
        if self._terminal.verbosity > Verbosity.QUIET and self._terminal.err.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TextColumn("{task.fields[numbers]}"),
                console=self._terminal.err,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task("starting", total=None, numbers="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._terminal.warn(event.text)
        elif isinstance(event, EpochDone):
            self._terminal.say(self._epoch_line(event))
        elif self._progress is not None and self._task is not None:
            self._progress.update(self._task, **self._live(event))

    def _live(self, event: CheckProgress | StepDone) -> dict[str, Any]:
        if isinstance(event, CheckProgress):
            return {
                "description": "reading videos",
                "completed": event.done,
                "total": event.total,
                "numbers": f"{event.done}/{event.total}",
            }
        return {
            "description": f"epoch {event.epoch}/{self._epochs}",
            "completed": event.step,
            "total": event.num_steps,
            "numbers": f"loss {event.loss:.3f}  acc {event.accuracy:.3f}  "
            f"{event.clips_per_second:.0f} clips/s  {format_seconds(event.seconds_left)} left",
        }

    def _epoch_line(self, event: EpochDone) -> str:
        row = event.row
        width = len(str(self._epochs))
        line = f"epoch {row.epoch:>{width}}/{self._epochs}  loss {row.train_loss:.3f}  "
        line += f"acc {row.train_accuracy:.3f}"
        if row.val_top1 is not None and row.val_loss is not None:
            line += f"  val loss {row.val_loss:.3f}  val acc {row.val_top1:.3f}"
        return line + ("  best" if event.best and row.val_top1 is not None else "")


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it: 42 s, 3 min 20 s, 1 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def print_run_summary(terminal: Terminal, run: Path, rows: Sequence[EpochRow]) -> None:
    """Say how a run ended and what to type next."""
    validated = [row for row in rows if row.val_top1 is not None and row.val_loss is not None]
    if validated:
        best = max(validated, key=lambda row: (row.val_top1 or 0.0, -(row.val_loss or 0.0)))
        terminal.say(f"best validation accuracy {best.val_top1:.3f} in epoch {best.epoch}")
    else:
        terminal.say("no validation split: the last epoch is the model")
    terminal.say(f"next: vidcli eval --model {run}")
    terminal.out.print(Text(str(run)), soft_wrap=True)


def print_plan(terminal: Terminal, plan: RunPlan, config_yaml: str) -> None:
    """Show what `train --dry-run` would do."""
    table = Table("class", *SPLITS)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in plan.class_names:
        table.add_row(Text(name), *(str(plan.num_videos[name][split]) for split in SPLITS))
    terminal.out.print(table)
    terminal.out.print(f"{plan.num_parameters:,} parameters, {plan.num_steps:,} steps")
    terminal.out.print(Text(config_yaml.rstrip()), soft_wrap=True)


def print_evaluation(terminal: Terminal, scores: Evaluation, split: str) -> None:
    """Show the metrics, the classes and the confusions of an evaluation."""
    low, high = scores.top1_interval
    out = terminal.out
    out.print(f"top-1 accuracy     {scores.top1:.3f}   95% interval {low:.3f} to {high:.3f}")
    if scores.top5 is not None:
        out.print(f"top-5 accuracy     {scores.top5:.3f}")
    out.print(f"balanced accuracy  {scores.balanced_accuracy:.3f}")
    out.print(f"macro F1           {scores.macro_f1:.3f}")
    failed = f", {scores.num_failed} failed and counted as wrong" if scores.num_failed else ""
    out.print(f"videos ({split})".ljust(19) + f"{scores.num_videos}{failed}")
    table = Table("class", "precision", "recall", "F1", "videos")
    for column in table.columns[1:]:
        column.justify = "right"
    for score in scores.per_class:
        table.add_row(
            Text(score.label), _ratio(score.precision), _ratio(score.recall), f"{score.f1:.3f}",
            str(score.support),
        )  # fmt: skip
    out.print(table)
    _print_confusion(out, scores)


def _print_confusion(out: Console, scores: Evaluation) -> None:
    names = scores.class_names
    pairs = [
        (count, names[true], names[guess])
        for true, row in enumerate(scores.confusion)
        for guess, count in enumerate(row)
        if true != guess and count
    ]
    needed = max(len(name) for name in names) + 5 + 7 * len(names)
    if len(names) <= _MAX_MATRIX_CLASSES and needed <= out.width:
        table = Table("true \\ predicted", *(str(label + 1) for label in range(len(names))))
        for column in table.columns[1:]:
            column.justify = "right"
        for label, row in enumerate(scores.confusion):
            cells = [
                Text(str(n) if n else "·", style="green" if i == label else ("red" if n else "dim"))
                for i, n in enumerate(row)
            ]
            table.add_row(Text(f"{label + 1} {names[label]}"), *cells)
        out.print(table)
        return
    for count, true, guess in sorted(pairs, reverse=True)[:10]:
        out.print(Text(f"{count:>5}  {true} taken for {guess}"), soft_wrap=True)


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def print_demo_end(terminal: Terminal, result: DemoResult) -> None:
    """Show predictions of the demo, what time was worth, and how to do the same on one's own folder."""
    out = terminal.out
    out.print(predictions_table(result.examples, top_k=2))
    out.print(
        f"the same videos with their frames shuffled: top-1 {result.shuffled_scores.top1:.3f} "
        f"(in order: {result.scores.top1:.3f})",
        soft_wrap=True,
    )
    example = result.examples[0].video
    commands = [
        f"vidcli eval --model {result.run}",
        f"vidcli predict {example} --model {result.run}",
        "",
        "vidcli train FOLDER          # FOLDER/CLASS/video.mp4, one folder a class",
        "vidcli eval                  # the newest run, on its own test videos",
        "vidcli predict VIDEO...",
    ]
    out.print("\nwhat was done here, again; and the same on a folder of your own:")
    for command in commands:
        out.print(Text(f"  {command}", style="bold"), soft_wrap=True)


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
            line = _json_line(prediction_to_dict(prediction, self._top_k), self._stream)
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
        video = _plain(_shorten(prediction.video))
        if prediction.error is not None:
            cells = [video, _plain(prediction.error, "red"), Text("–")]
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


def _shorten(path: str) -> str:
    """Return a path that leaves a table room for more: the name and its folder, if it is long."""
    parts = Path(path).parts
    return path if len(path) <= _MAX_PATH_WIDTH or len(parts) < 3 else str(Path("…", *parts[-2:]))


def prediction_to_dict(prediction: Prediction, top_k: int) -> dict[str, Any]:
    """Return what `--format json` prints for one video."""
    if prediction.error is not None:
        return {"video": prediction.video, "error": prediction.error}
    best = [{"label": label, "probability": p} for label, p in prediction.top(top_k)]
    return {"video": prediction.video, "predictions": best}


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """Return what `check --format json` prints for one problem."""
    return {
        "severity": finding.severity,
        "kind": finding.kind,
        "video": finding.video,
        "subject": finding.subject,
        "detail": finding.detail,
        "others": list(finding.others),
    }


def print_findings(terminal: Terminal, report: DataReport) -> None:
    """Show the problems of a data set, a table a severity, then its numbers and what to do."""
    for severity, style in _SEVERITY_STYLES.items():
        found = [finding for finding in report.findings if finding.severity == severity]
        if found:
            title = _number(len(found), severity)
            table = Table("problem", "where", "what was found", title=title, title_justify="left")
            table.title_style = style
            table.columns[0].no_wrap = True
            table.columns[1].overflow = "fold"
            shown: dict[str, int] = {}
            for finding in found:
                shown[finding.kind] = shown.get(finding.kind, 0) + 1
                if shown[finding.kind] <= _MAX_ROWS_A_KIND:
                    table.add_row(
                        Text(finding.kind, style=style), _plain(finding.subject), _plain(finding.detail)
                    )
            for kind, count in shown.items():
                if count > _MAX_ROWS_A_KIND:
                    more = f"… and {count - _MAX_ROWS_A_KIND} more; --format json tells all"
                    table.add_row(Text(kind, style=style), "", more)
            terminal.out.print(table)
    _print_data_summary(terminal.out, report.summary)
    if report.summary.advice:
        terminal.out.print("\nwhat to do")
        _print_pairs(terminal.out, report.summary.advice.items())


def _print_data_summary(out: Console, summary: Summary) -> None:
    splits = [s for s in (*SPLITS, "all") if any(s in c for c in summary.classes.values())]
    table = Table("class", *splits)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, counts in summary.classes.items():
        table.add_row(Text(name), *(str(counts.get(split, 0)) for split in splits))
    if len(summary.classes) > 1:
        table.add_section()
        sums = [sum(counts.get(split, 0) for counts in summary.classes.values()) for split in splits]
        table.add_row("all", *(str(total) for total in sums))
    out.print(table)
    if summary.splits_drawn:
        out.print("splits as `vidcli train` would draw them")
    rows = [
        ("videos", f"{summary.num_videos} in {_number(summary.num_files, 'file')}"),
        ("problems", ", ".join(_number(count, name) for name, count in summary.num_found.items())),
        ("unusable", f"{_number(summary.num_unusable, 'video')} with errors"),
        ("sizes", _most_common(summary.sizes)),
        ("frames a second", _most_common(summary.rates)),
        ("codecs", _most_common(summary.codecs)),
    ]
    if summary.seconds is not None:
        spread = summary.seconds
        lengths = f"{spread.min:.2f} to {spread.max:.2f} s, median {spread.median:.2f} s"
        rows.append(("lengths", f"{lengths}, {format_seconds(summary.total_seconds)} in all"))
    epoch = (
        f"{summary.epoch_seconds:.1f} s"
        if summary.epoch_seconds < 60
        else format_seconds(summary.epoch_seconds)
    )
    rows.append(("decoding", f"{epoch} an epoch with {_number(summary.workers, 'thread')}, where not cached"))
    _print_pairs(out, rows)


def _print_pairs(out: Console, pairs: Iterable[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    for name, text in pairs:
        grid.add_row(Text(name), Text(text))
    out.print(grid)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _most_common(counts: Mapping[str, int], limit: int = 4) -> str:
    named = [f"{name} ({count})" for name, count in list(counts.items())[:limit]]
    return ", ".join(named) + (f" and {_number(len(counts) - limit, 'other')}" if len(counts) > limit else "")


def print_rows(terminal: Terminal, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of plain strings."""
    table = Table(title=title, title_justify="left")
    cells = [tuple(row) for row in rows]
    for name, column in zip(columns, zip(*cells, strict=True), strict=True):
        are_numbers = all(cell[:1].isdigit() for cell in column)
        table.add_column(name, justify="right" if are_numbers else "left")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    terminal.out.print(table)


def describe_decode_row(row: Mapping[str, Any]) -> str:
    """Return one measurement of `bench decode` as a line."""
    if "error" in row:
        return f"{row['video']}: {row['error']}"
    return f"{row['video']} {row['size']} {row['threads']} threads: {_times(row['ratio'])}"


def print_decode_bench(
    terminal: Terminal, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench decode` measured: milliseconds for 16 frames, and how many times faster."""
    table = Table("video", "size", "threads", "vidcli ms", "fastest other", "ms", "ratio", "exact")
    for column in (*table.columns[2:4], *table.columns[5:7]):
        column.justify = "right"
    for row in rows:
        if "error" in row:
            table.add_row(_plain(_shorten(row["video"])), _plain(row["error"], "red"))
            continue
        times, peer = row["milliseconds"], row["fastest_peer"]
        table.add_row(
            _plain(Path(row["video"]).name),
            row["size"],
            str(row["threads"]),
            f"{times['vidcli']:.1f}",
            peer or "–",
            f"{times[peer]:.1f}" if peer else "–",
            _times(row["ratio"]),
            "yes" if row["exact"] else Text("NO", "bold red"),
        )
    out = terminal.out
    out.print(table)
    out.print(f"short side 128, one thread   {_times(summary['geomean_ratio'])}   (geometric mean)")
    out.print(f"full size, one thread        {_times(summary['geomean_full'])}")
    out.print(f"one long video, all cores    {_times(summary['geomean_parallel'])}")
    out.print(f"worst of one thread          {_times(summary['worst_ratio'])}")
    for name, why in summary["absent"].items():
        terminal.warn(f"{name} is not compared: {why}; pip install 'vidcli[bench]' brings the others")


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}x"


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    print(_json_line(value, sys.stdout))


def _json_line(value: Mapping[str, Any], stream: TextIO) -> str:
    """Return JSON that stays JSON in the stream's encoding.

    In UTF-8 only broken file names are escaped, by the stream itself, just as JSON would do it.
    """
    is_utf8 = (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not is_utf8)
