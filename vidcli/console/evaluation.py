"""What `vidcli eval` shows."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.terminal import Terminal
from vidcli.console.text import format_ratio
from vidcli.evaluate import Evaluation

_MAX_MATRIX_CLASSES = 12


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
            Text(score.label), format_ratio(score.precision), format_ratio(score.recall), f"{score.f1:.3f}",
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
