"""What `vidcli eval --timeline` shows: scores of time, segments, detection and bouts."""

from __future__ import annotations

from collections.abc import Sequence

from vidcli.console.tables import number_table
from vidcli.console.terminal import Terminal
from vidcli.console.text import format_ratio, format_seconds, plain
from vidcli.evaluate.recordings import judge_timelines
from vidcli.evaluate.segment_scores import Score, TimelineScores

_SHARES = (
    ("frame accuracy", "frame_accuracy"),
    ("macro F1", "macro_f1"),
    ("mAP over frames", "frame_map"),
    ("segmental F1@10", "f1@10"),
    ("segmental F1@25", "f1@25"),
    ("segmental F1@50", "f1@50"),
    ("edit score", "edit_score"),
    ("mAP@0.5", "map@0.5"),
    ("mAP@0.3 to 0.7", "map@0.3:0.7"),
    ("bouts missed", "missed_share"),
    ("bouts false", "false_share"),
    ("bouts split", "split_share"),
    ("bouts merged", "merged_share"),
)
_ERRORS = (("error of start", "start_error_seconds"), ("error of end", "end_error_seconds"))
_WIDTH = 18


def print_timeline_scores(terminal: Terminal, scores: TimelineScores, class_names: Sequence[str]) -> None:
    """Show the scores of the timelines of several recordings.

    Args:
        terminal: to print on.
        scores: of all recordings.
        class_names: of the model.
    """
    out = terminal.out
    for title, name in _SHARES:
        if name in scores.overall and scores.overall[name].value is not None:
            out.print(f"{title:<{_WIDTH}} {_share(scores.overall[name])}", soft_wrap=True)
    for title, name in _ERRORS:
        if (error := scores.overall[name]).value is not None:
            interval = (
                "" if error.interval is None else "   95% interval {:.2f} to {:.2f}".format(*error.interval)
            )
            out.print(f"{title:<{_WIDTH}} {error.value:.2f} s{interval}", soft_wrap=True)
    out.print(f"{'always the largest':<{_WIDTH}} {scores.baseline:.3f}")
    unlabelled = scores.unlabelled_seconds
    left = f"; {format_seconds(unlabelled)} are not labelled and not judged" if unlabelled >= 1 else ""
    labelled = format_seconds(scores.labelled_seconds)
    out.print(f"{scores.num_recordings} recordings, {labelled} labelled{left}", soft_wrap=True)
    table = number_table("class", "F1", "AP", "bouts", "predicted", "missed", "false", "split", "merged")
    for name, row in zip(class_names, scores.per_class, strict=True):
        counts = [row[f"num_{kind}"] for kind in ("true", "predicted", "missed", "false", "split", "merged")]
        table.add_row(
            plain(name),
            format_ratio(row["f1"].value),
            format_ratio(row["average_precision"].value),
            *(f"{count.value:.0f}" for count in counts),
        )
    out.print(table)
    out.print(plain(judge_timelines(scores)), soft_wrap=True)


def _share(score: Score) -> str:
    interval = "" if score.interval is None else "   95% interval {:.3f} to {:.3f}".format(*score.interval)
    return f"{format_ratio(score.value)}{interval}"
