"""What `vidcli eval` shows: scores, classes, confusions, slices, and videos by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.tables import number_table, print_pairs
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.console.text import count_noun, format_ratio, plain, shorten_path
from vidcli.evaluate import (
    CalibrationScores,
    Comparison,
    Details,
    Evaluation,
    Example,
    RiskCoverage,
    SetExample,
    Slice,
    merge_small,
)
from vidcli.evaluate.details import MIN_VIDEOS
from vidcli.evaluate.multilabel import LabelScore, MultiLabelEvaluation
from vidcli.evaluate.scores import ClassScore
from vidcli.evaluate.views import ViewsRow
from vidcli.models.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE
from vidcli.names import name_subject

OfClass = TypeVar("OfClass", ClassScore, LabelScore)

_MAX_MATRIX_CLASSES = 12
_MAX_CLASS_ROWS = 50
_MAX_SLICES = 10
_NUM_EXAMPLES = 5


def print_evaluation(terminal: Terminal, scores: Evaluation, split: str) -> None:
    """Show the metrics, the classes and the confusions of an evaluation.

    Args:
        terminal: to print on.
        scores: of videos that have one class each.
        split: name of the evaluated split.
    """
    out = terminal.out
    out.print(f"top-1 accuracy     {scores.top1:.3f}   {_interval(scores.top1_interval)}")
    out.print(f"always the largest {scores.baseline_top1:.3f}   any class by chance {scores.chance_top1:.3f}")
    if scores.top5 is not None:
        out.print(f"top-5 accuracy     {scores.top5:.3f}")
    out.print(f"balanced accuracy  {scores.balanced_accuracy:.3f}")
    out.print(f"macro F1           {scores.macro_f1:.3f}")
    if scores.calibration is not None:
        _print_calibration(out, scores.calibration, scores.is_better_than_guessing)
    _print_num_videos(out, scores, split)
    table = number_table("class", "precision", "recall", "F1", "videos")
    for score in _hardest(terminal, scores.per_class):
        table.add_row(
            plain(score.label), format_ratio(score.precision), format_ratio(score.recall), f"{score.f1:.3f}",
            str(score.support), style=_style_of(score.support),
        )  # fmt: skip
    out.print(table)
    _print_confusion(out, scores)
    out.print(plain(scores.verdict), soft_wrap=True)


def print_multi_label(terminal: Terminal, scores: MultiLabelEvaluation, split: str) -> None:
    """Show the metrics and the classes of a multi-label evaluation.

    Args:
        terminal: to print on.
        scores: of videos that have any number of classes each.
        split: name of the evaluated split.
    """
    out = terminal.out
    out.print(f"mAP                {format_ratio(scores.mean_average_precision)}")
    out.print(f"micro F1           {scores.micro_f1:.3f}")
    out.print(f"macro F1           {scores.macro_f1:.3f}")
    out.print(f"all classes right  {scores.exact_match:.3f}   {_interval(scores.exact_match_interval)}")
    out.print(f"always the same    {scores.baseline_exact_match:.3f}")
    if scores.calibration is not None:
        _print_calibration(out, scores.calibration, scores.is_better_than_guessing)
    fitted = (
        f"fitted on {count_noun(scores.fitted_on, 'validation video')}"
        if scores.fitted_on
        else "0.5: the model had no validation split to fit them on"
    )
    out.print(f"thresholds         {fitted}")
    _print_num_videos(out, scores, split)
    table = number_table("class", "AP", "threshold", "precision", "recall", "F1", "videos")
    for row in _hardest(terminal, scores.per_class):
        table.add_row(
            plain(row.label),
            format_ratio(row.average_precision),
            f"{row.threshold:.3f}",
            format_ratio(row.precision),
            format_ratio(row.recall),
            f"{row.f1:.3f}",
            str(row.support),
            style=_style_of(row.support),
        )
    out.print(table)
    out.print(plain(scores.verdict), soft_wrap=True)


def _print_num_videos(out: Console, scores: Evaluation | MultiLabelEvaluation, split: str) -> None:
    failed = f", {scores.num_failed} failed and counted as wrong" if scores.num_failed else ""
    out.print(f"videos ({split})".ljust(19) + f"{scores.num_videos}{failed}")


def print_missing(terminal: Terminal, num_missing: int, num_videos: int, share_right: float) -> None:
    """Show how many videos of the data were missing and so counted as wrong.

    Args:
        terminal: to print on.
        num_missing: number of videos whose file does not exist.
        num_videos: number of all videos.
        share_right: share of the existing videos whose classes are all right, 0 to 1.
    """
    terminal.out.print(
        f"missing            {num_missing} of {num_videos} videos are not there and counted as wrong; of the "
        f"{num_videos - num_missing} that are, {share_right:.3f} are right",
        soft_wrap=True,
    )


def print_details(terminal: Terminal, details: Details) -> None:
    """Show the accuracy of each slice, and the videos that are worth a look, by name."""
    out = terminal.out
    measure = "all classes right" if details.is_multi_label else "top-1"
    for name, slices in (
        ("group", details.by_group),
        ("length", details.by_duration),
        ("size", details.by_resolution),
    ):
        if len(slices) > 1:
            _print_slices(out, name, slices, measure)
    limit = None if terminal.verbosity >= Verbosity.VERBOSE else _NUM_EXAMPLES
    _print_examples(out, "wrong and sure", details.worst, limit)
    _print_examples(out, "least decided", details.most_confused, limit)


def print_comparison(terminal: Terminal, comparison: Comparison, model: str, against: str) -> None:
    """Show how two models differ on the same videos, and whether the difference can be luck.

    Args:
        terminal: to print on.
        comparison: of the two models.
        model, against: the names of the first and of the second model.
    """
    low, high = comparison.difference_interval
    terminal.out.print()
    print_pairs(
        terminal.out,
        [
            (model, f"{comparison.top1:.3f}"),
            (against, f"{comparison.top1_against:.3f}"),
            ("difference", f"{comparison.difference:+.3f}   95% interval {low:+.3f} to {high:+.3f}"),
            ("both right", str(comparison.both_right)),
            ("only the first", str(comparison.only_model)),
            ("only the second", str(comparison.only_against)),
            ("both wrong", str(comparison.both_wrong)),
            ("McNemar's test", f"p = {comparison.p_value:.3g}, exact, two-sided"),
        ],
    )


def print_views(terminal: Terminal, rows: Sequence[ViewsRow]) -> None:
    """Show accuracy and cost for each number of views."""
    table = number_table("views", "frames", "top-1", "95% interval", "loss", "ms a video", "cost")
    for row in rows:
        low, high = row.top1_interval
        table.add_row(
            str(row.views),
            str(row.frames),
            f"{row.top1:.3f}",
            f"{low:.3f} to {high:.3f}",
            format_ratio(row.loss),
            f"{1000 * row.seconds_per_video:.1f}",
            f"{row.seconds_per_video / rows[0].seconds_per_video:.1f}x",
        )
    terminal.out.print(table)


def _interval(interval: tuple[float, float]) -> str:
    return f"95% interval {interval[0]:.3f} to {interval[1]:.3f}"


def _print_calibration(out: Console, calibration: CalibrationScores, is_better: bool) -> None:
    """Show the calibration error, with a warning where the model is no better than guessing."""
    empty = "" if is_better else "; a model that guesses is easily calibrated: this is no praise"
    out.print(
        f"calibration error  {calibration.ece:.3f}   {_temperature(calibration)}{empty}", soft_wrap=True
    )


def _temperature(calibration: CalibrationScores) -> str:
    if not calibration.fitted_on:
        return "not calibrated: the model had no validation split to fit a temperature on"
    before = f"{format_ratio(calibration.ece_uncalibrated)} before; " if calibration.ece_uncalibrated else ""
    is_at_border = not MIN_TEMPERATURE * 1.01 < calibration.temperature < MAX_TEMPERATURE * 0.99
    border = ", the end of its range: no temperature makes these probabilities right" if is_at_border else ""
    return (
        f"{before}temperature {calibration.temperature:.2f}, fitted on "
        f"{count_noun(calibration.fitted_on, 'validation video')}{border}"
    )


def _hardest(terminal: Terminal, scores: Sequence[OfClass]) -> list[OfClass]:
    """Return the classes to show, in their order: of very many those with the lowest F1, and say so."""
    if len(scores) <= _MAX_CLASS_ROWS or terminal.verbosity >= Verbosity.VERBOSE:
        return list(scores)
    terminal.warn(
        f"the {_MAX_CLASS_ROWS} of {len(scores)} classes with the lowest F1; --verbose shows all, as does "
        "eval.json"
    )
    shown = sorted(range(len(scores)), key=lambda place: scores[place].f1)[:_MAX_CLASS_ROWS]
    return [scores[place] for place in sorted(shown)]


def _style_of(num_videos: int) -> str | None:
    """Return the style of a table row: grey where it has too few videos to say much."""
    return "dim" if num_videos < MIN_VIDEOS else None


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
        table = number_table("true \\ predicted", *(str(label + 1) for label in range(len(names))))
        for label, row in enumerate(scores.confusion):
            cells = [
                Text(str(n) if n else "·", style="green" if i == label else ("red" if n else "dim"))
                for i, n in enumerate(row)
            ]
            table.add_row(plain(f"{label + 1} {names[label]}"), *cells)
        out.print(table)
        return
    for count, true, guess in sorted(pairs, reverse=True)[:10]:
        out.print(plain(f"{count:>5}  {true} taken for {guess}"), soft_wrap=True)


def print_abstention(terminal: Terminal, risk_coverage: RiskCoverage) -> None:
    """Show how many answers remain, and how accurate they are, when unsure ones are withheld."""
    out = terminal.out
    table = number_table("threshold", "answered", "share", "accuracy")
    table.columns[0].justify = "right"
    for row in risk_coverage.rows:
        table.add_row(
            f"{row.threshold:g}", str(row.num_answered), f"{row.coverage:.3f}", format_ratio(row.accuracy)
        )
    out.print(table)
    out.print(f"area under the risk-coverage curve (AURC, lower is better): {risk_coverage.aurc:.3f}")


def _print_slices(out: Console, name: str, slices: Sequence[Slice], measure: str) -> None:
    """Show the large slices, and in one grey row those with too few videos to say much."""
    large, others = merge_small(slices, name)
    table = number_table(name, "videos", "failed", measure, "95% interval")
    for row in (*large[:_MAX_SLICES], *([others] if others is not None else [])):
        low, high = row.interval
        table.add_row(
            plain(row.name),
            str(row.num_videos),
            str(row.num_failed) if row.num_failed else "·",
            f"{row.accuracy:.3f}",
            f"{low:.3f} to {high:.3f}",
            style="dim" if row is others else None,
        )
    out.print(table)
    num_left = max(0, len(large) - _MAX_SLICES)
    if num_left or others is not None:
        more = f"… and {num_left} more; " if num_left else ""
        out.print(f"{more}eval.json tells each {name} by itself")


def _print_examples(
    out: Console, title: str, examples: Sequence[Example] | Sequence[SetExample], limit: int | None
) -> None:
    if not examples:
        return
    table = Table(title, "is", "taken for")
    table.columns[0].overflow = "fold"
    is_set = isinstance(examples[0], SetExample)
    for name in ("loss",) if is_set else ("probability", "of the true class"):
        table.add_column(name, justify="right")
    for example in examples[:limit]:
        span = "" if example.end_seconds is None else f" {example.start_seconds:g}–{example.end_seconds:g} s"
        table.add_row(
            plain(name_subject(shorten_path(example.video), example.track) + span),
            plain(example.label or "–"),
            plain(example.predicted or "–"),
            *_numbers(example),
        )
    out.print(table)
    if limit is not None and len(examples) > limit:
        out.print(f"… and {len(examples) - limit} more with --verbose, or in eval.json")


def _numbers(example: Example | SetExample) -> list[str]:
    if isinstance(example, SetExample):
        return [f"{example.loss:.3f}"]
    return [f"{example.probability:.3f}", f"{example.true_probability:.3f}"]
