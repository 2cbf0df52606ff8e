"""The report of a run: one page that needs nothing beside it, no network and no script.

This module chooses what the page shows; the templates beside it hold the HTML. `report.html` is the page,
`sections.html` has a macro for each section, `style.css` the look.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from vidcli.arrays import Frames
from vidcli.data.items import LABEL_SEPARATOR, SPLITS
from vidcli.evaluate import CalibrationScores, Slice, merge_small
from vidcli.evaluate.comparison import is_better
from vidcli.evaluate.details import MIN_VIDEOS
from vidcli.evaluate.reliability import ReliabilityBin
from vidcli.names import visible
from vidcli.palette import Colour, Stripes, class_colours
from vidcli.report.curves import curve_charts
from vidcli.report.reliability_plot import build_reliability
from vidcli.report.svg import CHART_INCHES, Chart, page_chart

_NUM_CONFUSIONS = 30
_THUMBNAIL_HEIGHT = 112
_JPEG_QUALITY = 82
_STRIPE_ANGLES = {Stripes.RISING: 135, Stripes.FALLING: 45, Stripes.UPRIGHT: 90, Stripes.LEVEL: 0}
_SECTIONS = {
    "results": "By class",
    "confusion": "Confusion",
    "training": "Training",
    "calibration": "Calibration and abstention",
    "slices": "By group, length and size",
    "worst": "Wrong and sure",
    "undecided": "Least decided",
    "data": "Data",
    "settings": "Settings",
    "repeat": "Machine, versions and how to repeat",
}
"""Titles of the sections, in their order, by the name of their macro and of their place in the page."""


@dataclass(frozen=True)
class RunReport:
    """All that the page shows.

    Large because it is the content of one page, each attribute a line or a section of it.

    Attributes:
        run: name of the run.
        command: the command that repeats the run.
        settings: name, value, and whether it differs from the default.
        num_parameters: of the model.
        num_videos: class name to split to number of videos.
        num_all: split to number of videos.
        num_groups: split to number of groups; empty where no video names one.
        unusable: videos that training left out, and why.
        epochs: a mapping for each epoch, as in metrics.jsonl.
        best_epoch: the epoch of the model; None without validation.
        split: the split that was evaluated.
        evaluation: the object that `vidcli eval --json` prints.
        frames: uint8 frames (H, W, 3) that the model saw, by (video, start in seconds, subject).
        environment: versions and hardware by name; empty where the run does not say.
        trained, evaluated: when the last epoch and the evaluation were written; None where that is
            not known.
        unfinished: a sentence on how far an unfinished run came; None of a finished one.
    """

    run: str
    command: str
    settings: Sequence[tuple[str, str, bool]]
    num_parameters: int
    num_videos: Mapping[str, Mapping[str, int]]
    num_all: Mapping[str, int]
    num_groups: Mapping[str, int]
    unusable: Sequence[tuple[str, str]]
    epochs: Sequence[Mapping[str, Any]]
    best_epoch: int | None
    split: str
    evaluation: Mapping[str, Any]
    frames: Mapping[tuple[str, float, str | None], Sequence[Frames]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    trained: str | None = None
    evaluated: str | None = None
    unfinished: str | None = None


@dataclass(frozen=True)
class Thumbnail:
    """A small picture inside the page: the address that holds its bytes, and its size in pixels."""

    source: str
    width: int
    height: int


def render_report(report: RunReport) -> str:
    """Return the page as HTML."""
    scores = report.evaluation
    is_multi_label = "mean_average_precision" in scores  # a video may have several classes
    measure = "exact_match" if is_multi_label else "top1"
    dates = [f"{what} {when}" for what, when in _dates(report) if when is not None]
    context = {
        "report": report,
        "scores": scores,
        "is_multi_label": is_multi_label,
        "is_good": is_better(scores[f"{measure}_interval"], scores[f"baseline_{measure}"]),
        "dates": f"{', '.join(dates)} (dates of its files)" if dates else "Its files have no dates.",
        "colours": class_colours(scores["class_names"]),
        "splits": SPLITS,
        "min_videos": MIN_VIDEOS,
        "confusions": _commonest_confusions(scores),
        "num_confusions": _NUM_CONFUSIONS,
        "curves": curve_charts(report.epochs, report.best_epoch),
        "reliability": _reliability_chart(scores, is_multi_label),
        "slice_tables": _slices(scores),
    }
    templates = environment()
    macros = templates.get_template("sections.html").make_module(context)
    titles = _SECTIONS | ({"calibration": "Calibration"} if is_multi_label else {})
    bodies = {name: Markup(getattr(macros, name)().strip()) for name in titles}
    shown = [(name, titles[name], body) for name, body in bodies.items() if body]
    return templates.get_template("report.html").render(context, sections=shown)


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Return the templates of the page.

    They escape all text, and write characters that steer or hide text as visible escapes.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("vidcli.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "class_names": _class_names,
        "interval": lambda ends: f"{ends[0]:.3f} to {ends[1]:.3f}",
        "background": _background,
        "ratio": lambda value: "–" if value is None else f"{value:.3f}",
        "short_path": _short_path,
        "thumbnail": thumbnail,
    }
    return made


def _harmless(value: object) -> object:
    """Return text without control, bidi and broken characters, and anything else as it is."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value, keep="\n\t") if is_text else value  # type: ignore[arg-type]


def _dates(report: RunReport) -> list[tuple[str, str | None]]:
    first = "Evaluated" if report.trained is None else "evaluated"
    return [("Trained", report.trained), (first, report.evaluated)]


def _commonest_confusions(scores: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """Return how many videos of one class were taken for another, for each two classes, most first."""
    if "confusion" not in scores:
        return []
    names = scores["class_names"]
    pairs = [
        (count, names[true], names[guess])
        for true, row in enumerate(scores["confusion"])
        for guess, count in enumerate(row)
        if true != guess and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def _reliability_chart(scores: Mapping[str, Any], is_multi_label: bool) -> Chart | None:
    found = scores["calibration"]
    if not found:
        return None
    bins = tuple(ReliabilityBin(**row) for row in found["bins"])
    calibration = CalibrationScores(**{**found, "bins": bins})
    return page_chart(build_reliability(calibration, is_multi_label, (CHART_INCHES[0], 4.6)))


def _slices(scores: Mapping[str, Any]) -> list[tuple[str, tuple[Slice, ...], Slice | None, list[Slice]]]:
    """Return for group, length and size: the noun, the large slices, all others in one, and each of those.

    Slices with too few videos to say anything by themselves are the others.
    """
    found = []
    for noun, key in (("group", "by_group"), ("length", "by_duration"), ("size", "by_resolution")):
        rows = [Slice.from_dict(row) for row in scores[key]]
        if len(rows) > 1:
            large, others = merge_small(rows, noun)
            found.append((noun, large, others, [row for row in rows if row.is_small]))
    return found


def _class_names(label: str, colours: Mapping[str, Colour]) -> list[str]:
    """Return the classes of a label that may be several names with `|` between them.

    Args:
        label: as it is written; one with an unknown class is returned whole.
        colours: of all classes of the model.
    """
    names = [label] if label in colours else label.split(LABEL_SEPARATOR)
    return names if set(names) <= colours.keys() else [label]


def _background(colour: Colour) -> str:
    """Return a colour with its stripes, in CSS."""
    if colour.stripes is Stripes.NONE:
        return colour.hex
    angle = _STRIPE_ANGLES[colour.stripes]
    return f"repeating-linear-gradient({angle}deg, {colour.hex} 0 3px, {colour.stripe_hex} 3px 5px)"


def _short_path(video: str) -> str:
    """Return the name of a video after its last two folders."""
    parts = Path(video).parts
    return str(Path(*parts[-3:])) if len(parts) > 3 else str(Path(video))


def thumbnail(frame: Frames) -> Thumbnail:
    """Return a frame (H, W, 3) as a small picture inside the page."""
    small = shrink(frame, -(-frame.shape[0] // _THUMBNAIL_HEIGHT))
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, format="jpeg", quality=_JPEG_QUALITY)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(source, small.shape[1], small.shape[0])


def shrink(frame: Frames, step: int) -> Frames:
    """Return a frame made smaller by a whole number: each pixel is the mean of `step` x `step` pixels."""
    if step == 1:
        return np.ascontiguousarray(frame)
    height, width = frame.shape[0] // step, frame.shape[1] // step
    squares = frame[: height * step, : width * step].reshape(height, step, width, step, 3)
    return np.asarray(squares.mean(axis=(1, 3)).round(), dtype=np.uint8)
