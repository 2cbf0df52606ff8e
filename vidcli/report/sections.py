"""The sections of the report that hold numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidcli.evaluate import Slice, merge_small
from vidcli.evaluate.comparison import is_better
from vidcli.evaluate.details import MIN_VIDEOS
from vidcli.palette import class_colours
from vidcli.report.charts import Series, line_chart
from vidcli.report.chips import chip, class_label
from vidcli.report.markup import Html, join, table, tag

_SPLITS = ("train", "val", "test")
_MAX_MATRIX_CLASSES = 40
_NUM_CONFUSIONS = 30
_MAX_UNUSABLE = 50


def cards(scores: Mapping[str, Any]) -> Html:
    """Return the numbers that matter most."""
    shown = [
        ("top-1 accuracy", ratio(scores["top1"]), f"95%: {interval(scores['top1_interval'])}"),
        (
            "baseline: always the largest class",
            ratio(scores["baseline_top1"]),
            f"chance {1 / len(scores['class_names']):.3f}",
        ),
    ]
    if scores["top5"] is not None:
        shown.append(("top-5 accuracy", ratio(scores["top5"]), ""))
    shown += [
        ("balanced accuracy", ratio(scores["balanced_accuracy"]), ""),
        ("macro F1", ratio(scores["macro_f1"]), ""),
    ]
    shown += _calibration_card(scores)
    return _cards(shown, scores)


def multi_label_cards(scores: Mapping[str, Any]) -> Html:
    """Return the numbers that matter most where a video has several classes."""
    shown = [
        ("mean average precision", ratio(scores["mean_average_precision"]), ""),
        ("micro F1", ratio(scores["micro_f1"]), ""),
        ("macro F1", ratio(scores["macro_f1"]), ""),
        (
            "all classes right",
            ratio(scores["exact_match"]),
            f"95%: {interval(scores['exact_match_interval'])}",
        ),
        ("baseline: always the same classes", ratio(scores["baseline_exact_match"]), "all right"),
    ]
    shown += _calibration_card(scores)
    return _cards(shown, scores)


def _calibration_card(scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if not (calibrated := scores["calibration"]):
        return []
    before = calibrated["ece_uncalibrated"]
    note = f"{ratio(before)} before" if calibrated["fitted_on"] and before is not None else ""
    return [("calibration error", ratio(calibrated["ece"]), note)]


def _cards(shown: list[tuple[str, str, str]], scores: Mapping[str, Any]) -> Html:
    failed, missing = scores["num_failed"], scores.get("num_missing", 0)
    told = f"{failed} failed, counted as wrong" + (f"; {missing} of them are not there" if missing else "")
    shown.append(("videos", str(scores["num_videos"]), told if failed else ""))
    cards = tag(
        "div",
        *(
            tag("div", tag("b", value), tag("span", name), tag("span", note), class_="card")
            for name, value, note in shown
        ),
        class_="cards",
    )
    return join([_verdict(scores), cards])


def _verdict(scores: Mapping[str, Any]) -> Html:
    """Return the sentence on what the scores are worth, green where that is more than guessing."""
    key = "exact_match" if "exact_match_interval" in scores else "top1"
    is_good = is_better(scores[f"{key}_interval"], scores[f"baseline_{key}"])
    verdict = tag("b", "Verdict: "), scores["verdict"], "."
    return tag("p", *verdict, class_="verdict good" if is_good else "verdict bad")


def classes(scores: Mapping[str, Any]) -> Html:
    """Return precision, recall, F1 and support by class."""
    colours = class_colours(scores["class_names"])
    rows = [
        (
            class_label(row["label"], colours),
            ratio(row["precision"]),
            ratio(row["recall"]),
            ratio(row["f1"]),
            row["support"],
        )
        for row in scores["per_class"]
    ]
    return table(("class", "precision", "recall", "F1", "videos"), rows, grey=_small_classes(scores))


def multi_label_classes(scores: Mapping[str, Any]) -> Html:
    """Return average precision, threshold, precision, recall, F1 and support by class."""
    keys = ("average_precision", "threshold", "precision", "recall", "f1")
    colours = class_colours(scores["class_names"])
    rows = [
        (class_label(row["label"], colours), *(ratio(row[key]) for key in keys), row["support"])
        for row in scores["per_class"]
    ]
    fitted = (
        f"Thresholds and a temperature of {scores['temperature']:.2f} were fitted on {scores['fitted_on']} "
        "validation videos."
        if scores["fitted_on"]
        else "Not fitted: the model had no validation split; every threshold is 0.5."
    )
    head = ("class", "average precision", "threshold", "precision", "recall", "F1", "videos")
    return join([table(head, rows, grey=_small_classes(scores)), tag("p", fitted, class_="soft")])


def _small_classes(scores: Mapping[str, Any]) -> set[int]:
    """Return the positions of classes with too few videos to say much."""
    return {at for at, row in enumerate(scores["per_class"]) if row["support"] < MIN_VIDEOS}


def confusion(scores: Mapping[str, Any]) -> Html:
    """Return the confusion matrix, or the commonest confusions where it would not be readable."""
    names = scores["class_names"]
    colours = class_colours(names)
    if len(names) > _MAX_MATRIX_CLASSES:
        pairs = sorted(
            (
                (count, names[true], names[guess])
                for true, row in enumerate(scores["confusion"])
                for guess, count in enumerate(row)
                if true != guess and count
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        note = f"The {min(len(pairs), _NUM_CONFUSIONS)} commonest of {len(pairs)} confusions."
        rows = [
            (class_label(true, colours), class_label(guess, colours), count)
            for count, true, guess in pairs[:_NUM_CONFUSIONS]
        ]
        return join([tag("p", note), table(("is", "taken for", "videos"), rows, numbers=2)])
    numbered = (tag("th", chip(colours[name]), k + 1, title=name) for k, name in enumerate(names))
    head = tag("tr", tag("th", "true \\ predicted"), *numbered)
    body = []
    for true, counts in enumerate(scores["confusion"]):
        num_true = max(1, scores["per_class"][true]["support"])
        body.append(
            tag(
                "tr",
                tag(
                    "th",
                    chip(colours[names[true]]),
                    f"{names[true]} {true + 1}",
                    class_="name",
                    title=names[true],
                ),
                *(_cell(n, n / num_true, true == k, names[k]) for k, n in enumerate(counts)),
            )
        )
    grid = tag("table", tag("thead", head), tag("tbody", *body), class_="matrix")
    note = "Rows are what a video is, columns what it was taken for; colour is the share of the row."
    return join([tag("p", note, class_="soft"), tag("div", grid, class_="scroll")])


def _cell(count: int, share: float, is_own: bool, name: str) -> Html:
    kind = "own" if is_own else None if count else "none"
    style = f"background: rgba(var(--heat), {0.75 * share:.2f})" if count else None
    title = f"{name}: {count} ({share:.0%} of the row)"
    return tag("td", count or "·", class_=kind, style=style, title=title)


def history(trained: str | None, evaluated: str | None, unfinished: str | None) -> Html:
    """Return when the run was trained and evaluated, and a warning where it did not finish."""
    dates = [f"{what} {when}" for what, when in (("trained", trained), ("evaluated", evaluated)) if when]
    told = f"{', '.join(dates)} (dates of its files)" if dates else "Its files have no dates."
    parts = [tag("p", told[0].upper() + told[1:], class_="soft")]
    if unfinished is not None:
        parts.append(tag("p", tag("b", "Unfinished run: "), unfinished, class_="warning"))
    return join(parts)


def training(epochs: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Html:
    """Return the curves by epoch."""

    def series(**names: str) -> list[Series]:
        return [
            Series(label, [(row["epoch"], row.get(key)) for row in epochs]) for key, label in names.items()
        ]

    charts = (
        ("loss", series(train_loss="train", val_loss="val"), None),
        (
            "accuracy",
            series(
                train_accuracy="train",
                val_top1="val",
                val_balanced_accuracy="val, balanced",
                val_map="val mAP",
            ),
            (0.0, 1.0),
        ),
        ("learning rate", series(lr="at the epoch's end"), None),
    )
    drawn = [
        line_chart(title, lines, "epoch", y_range=ends, marked_x=best_epoch)
        for title, lines, ends in charts
        if any(line.pieces for line in lines)
    ]
    if not drawn:
        return Html("")
    best = "No validation split: the last epoch is the model." if best_epoch is None else (
        f"The model is that of epoch {best_epoch} of {len(epochs)}, the dotted line."
    )  # fmt: skip
    return join([tag("p", best), tag("div", *drawn, class_="grid2")])


def calibration(scores: Mapping[str, Any]) -> Html:
    """Return the reliability curve, and what abstaining would bring."""
    parts = []
    if calibrated := scores["calibration"]:
        points = [(row["confidence"], row["accuracy"]) for row in calibrated["bins"] if row["num_videos"]]
        is_set = "risk_coverage" not in scores
        chart = line_chart(
            "how often a class is there, by its probability" if is_set else "accuracy by probability",
            [Series("this model", points)],
            "probability of a class" if is_set else "probability of the predicted class",
            x_range=(0.0, 1.0),
            y_range=(0.0, 1.0),
            diagonal=True,
        )
        parts.append(tag("div", chart, tag("p", _temperature(calibrated), class_="soft")))
    risk = scores.get("risk_coverage")
    if risk is None:  # videos of several classes each have no single answer to withhold
        return tag("div", *parts, _bins(calibrated), class_="grid2") if calibrated else Html("")
    rows = [
        (f"{row['threshold']:g}", row["num_answered"], ratio(row["coverage"]), ratio(row["accuracy"]))
        for row in risk["rows"]
    ]
    parts.append(
        tag(
            "div",
            tag("p", "What is left when answers below a threshold are withheld:"),
            table(("threshold", "answered", "share", "accuracy"), rows),
            tag("p", f"Area under the risk-coverage curve: {risk['aurc']:.3f}", class_="soft"),
        )
    )
    return tag("div", *parts, class_="grid2")


def _bins(calibrated: Mapping[str, Any]) -> Html:
    rows = [
        (f"{row['low']:.2f} to {row['high']:.2f}", row["num_videos"], ratio(row["confidence"]),
         ratio(row["accuracy"]))
        for row in calibrated["bins"]
        if row["num_videos"]
    ]  # fmt: skip
    return table(("probability", "videos x classes", "mean", "there"), rows)


def _temperature(calibrated: Mapping[str, Any]) -> str:
    if not calibrated["fitted_on"]:
        return "Not calibrated: the model had no validation split to fit a temperature on."
    before = calibrated["ece_uncalibrated"]
    return (
        f"Temperature {calibrated['temperature']:.2f}, fitted on {calibrated['fitted_on']} validation "
        f"videos. Expected calibration error {ratio(calibrated['ece'])}"
        + ("" if before is None else f", before {ratio(before)}")
        + ". On the dotted line a model is as often right as it says."
    )


def slices(scores: Mapping[str, Any]) -> Html:
    """Return accuracy by group, length and size, where there is more than one.

    Those with too few videos to say anything by themselves are one grey row, the last, and behind a fold.
    """
    parts = []
    for noun, key in (("group", "by_group"), ("length", "by_duration"), ("size", "by_resolution")):
        if len(scores[key]) > 1:
            head = (noun, "videos", "failed", _name_of_accuracy(scores), "95% interval")
            parts.append(_slices([Slice.from_dict(row) for row in scores[key]], noun, head))
    return tag("div", *parts, class_="grid2") if parts else Html("")


def _name_of_accuracy(scores: Mapping[str, Any]) -> str:
    return "all classes right" if "mean_average_precision" in scores else "top-1"


def _slices(rows: Sequence[Slice], noun: str, head: Sequence[str]) -> Html:
    large, others = merge_small(rows, noun)
    if others is None:
        return table(head, map(_slice_cells, large))
    small = [_slice_cells(row) for row in rows if row.is_small]
    merged = table(head, map(_slice_cells, (*large, others)), grey={len(large)})
    each = table(head, small, grey=range(len(small)))
    return tag("div", merged, tag("details", tag("summary", "each of the others"), each))


def _slice_cells(row: Slice) -> tuple[object, ...]:
    return row.name, row.num_videos, row.num_failed or "·", ratio(row.accuracy), interval(row.interval)


def data(
    num_videos: Mapping[str, Mapping[str, int]],
    num_all: Mapping[str, int],
    num_groups: Mapping[str, int],
    unusable: Sequence[tuple[str, str]],
) -> Html:
    """Return videos by class and split, and what was left out."""
    rows = [(name, *(counts.get(split, 0) for split in _SPLITS)) for name, counts in num_videos.items()]
    rows.append(("all", *(num_all.get(split, 0) for split in _SPLITS)))
    parts = [table(("class", *_SPLITS), rows)]
    if num_groups:
        counted = ", ".join(f"{num_groups.get(split, 0)} in {split}" for split in _SPLITS)
        parts.append(tag("p", f"Groups: {counted}; no group is in two splits.", class_="soft"))
    if unusable:
        parts.append(tag("h3", f"Left out of training: {len(unusable)}"))
        parts.append(table(("video", "why"), unusable[:_MAX_UNUSABLE], numbers=2))
        if len(unusable) > _MAX_UNUSABLE:
            parts.append(
                tag("p", f"… and {len(unusable) - _MAX_UNUSABLE} more in unusable.csv", class_="soft")
            )
    return join(parts)


def settings(values: Sequence[tuple[str, str, bool]], num_parameters: int) -> Html:
    """Return the settings that differ from the defaults, and behind a fold all of them."""
    changed = [(name, value) for name, value, differs in values if differs]
    everything = tag(
        "details", tag("summary", "all settings"), pairs((name, value) for name, value, _ in values)
    )
    return join(
        [
            tag("p", f"{num_parameters:,} parameters. What differs from the defaults:"),
            pairs(changed) if changed else tag("p", "nothing", class_="soft"),
            everything,
        ]
    )


def pairs(values: Iterable[tuple[str, str]]) -> Html:
    """Return names and what belongs to them."""
    return table(("", ""), values, numbers=2, class_="pairs")


def ratio(value: float | None) -> str:
    """Return a share such as 0.875; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float]) -> str:
    """Return an interval such as 0.593 to 0.769."""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
