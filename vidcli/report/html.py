"""The report of a run: one page that needs nothing beside it, no network and no script.

`page` puts the sections together; what a section shows is in `sections` and `videos`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vidcli.palette import class_colours
from vidcli.report import sections, videos
from vidcli.report.markup import Html, join, tag, void
from vidcli.report.style import STYLE

# Whatever a name in the data may hold, the browser is told to run and fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class RunReport:
    """All that the page shows.

    Attributes:
        run: name of the run.
        command: what repeats the run.
        settings: name, value, and whether it differs from the default.
        num_parameters: of the model.
        num_videos: class name to split to number of videos.
        num_all: split to number of videos.
        num_groups: split to number of groups; empty where no video names one.
        unusable: videos that training left out, and why.
        epochs: a mapping an epoch, as in metrics.jsonl.
        best_epoch: the epoch of the model; None without validation.
        split: which was evaluated.
        evaluation: what `vidcli eval --json` prints.
        frames: uint8 frames (H, W, 3) that the model saw, by (video, start in seconds).
        environment: versions and hardware by name; empty where the run does not say.
        trained, evaluated: when the last epoch and the evaluation were written; None where that is
            not known.
        unfinished: how far a run came that did not finish; None of one that did.
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
    frames: Mapping[tuple[str, float], Sequence[npt.NDArray[np.uint8]]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    trained: str | None = None
    evaluated: str | None = None
    unfinished: str | None = None


def render_report(report: RunReport) -> str:
    """Return the page."""
    scores = report.evaluation
    colours = class_colours(scores["class_names"])
    curves = ("training", "Training", sections.training(report.epochs, report.best_epoch))
    if "mean_average_precision" in scores:  # videos of several classes each
        cards = sections.multi_label_cards(scores)
        measured = [
            ("results", "By class", sections.multi_label_classes(scores)),
            curves,
            ("calibration", "Calibration", sections.calibration(scores)),
        ]
    else:
        cards = sections.cards(scores)
        measured = [
            ("results", "By class", sections.classes(scores)),
            ("confusion", "Confusion", sections.confusion(scores)),
            curves,
            ("calibration", "Calibration and abstention", sections.calibration(scores)),
        ]
    measured += [
        ("slices", "By group, length and size", sections.slices(scores)),
        ("worst", "Wrong and sure", videos.examples(scores["worst"], report.frames, colours)),
        ("undecided", "Least decided", videos.examples(scores["most_confused"], report.frames, colours)),
    ]
    parts = [
        *measured,
        (
            "data",
            "Data",
            sections.data(report.num_videos, report.num_all, report.num_groups, report.unusable),
        ),
        ("settings", "Settings", sections.settings(report.settings, report.num_parameters)),
        ("repeat", "Machine, versions and how to repeat", _repeat(report)),
    ]
    shown = [(key, title, body) for key, title, body in parts if body]
    content = [
        tag("h1", report.run),
        tag("p", f"{scores['num_videos']} videos of the {report.split} split", class_="soft"),
        sections.history(report.trained, report.evaluated, report.unfinished),
        tag("nav", *(tag("a", title, href=f"#{key}") for key, title, _ in shown)),
        cards,
        *(tag("section", tag("h2", title), body, id=key) for key, title, body in shown),
        tag("footer", "Written by vidcli. This file is complete: it loads nothing and runs nothing."),
    ]
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{report.run} · vidcli"),
        tag("style", Html(STYLE)),
    )
    page = tag("html", head, tag("body", tag("main", *content)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _repeat(report: RunReport) -> Html:
    known = [(name, value) for name, value in report.environment.items()]
    versions = sections.pairs(known) if known else tag("p", "The run does not say.", class_="soft")
    return join(
        [
            tag("p", "The same settings, videos, splits and seed:"),
            tag("pre", report.command),
            tag("h3", "Trained with"),
            versions,
        ]
    )
