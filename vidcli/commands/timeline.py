"""What `vidcli predict --timeline` does."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vidcli import checkpoint as files
from vidcli.commands.annotation import annotate_with_timeline
from vidcli.console import Terminal
from vidcli.console.timelines import open_writer
from vidcli.data.manifest import VideoItem, load_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError, VidcliError, VideoError
from vidcli.fonts import picture_names
from vidcli.predict import Predictor
from vidcli.predict.segments import FORMAT_OF_SUFFIX, SUBTITLES, Timeline
from vidcli.predict.timeline import WindowPlan, build_timeline, plan_windows
from vidcli.runtime.outputs import OutputFile
from vidcli.video import probe

_NUM_PROBED = 20


@dataclass(frozen=True)
class TimelineOptions:
    """What the command line of `vidcli predict --timeline` says.

    Attributes:
        window_seconds: time of a window; None takes that of the clips the model was trained on.
        step_seconds: from one window to the next; None is a quarter of a window.
        min_seconds: shortest segment; None is a window.
        picture: PNG to draw.
    """

    window_seconds: float | None
    step_seconds: float | None
    min_seconds: float | None
    picture: Path | None


@dataclass(frozen=True)
class Outputs:
    """The files that `vidcli predict` was asked to write, checked; None for those it was not.

    Attributes:
        results: what else goes to standard output.
        annotated: the video with labels and bars drawn in.
        picture: a timeline, drawn.
    """

    results: OutputFile | None
    annotated: OutputFile | None
    picture: OutputFile | None


def choose_form(form: str | None, output: Path | None) -> str:
    """Return what is written: as asked, else by the name of the file, else a table.

    Raises:
        ConfigError: there is no such form of a timeline.
    """
    form = form or (FORMAT_OF_SUFFIX.get(output.suffix.lower(), "table") if output else "table")
    if form == "parquet":
        raise ConfigError("--format parquet: --timeline writes table, json, csv, srt or vtt")
    return form


def predict_timelines(
    terminal: Terminal,
    predictor: Predictor,
    model_file: Path,
    items: Sequence[VideoItem],
    form: str,
    outputs: Outputs,
    options: TimelineOptions,
) -> int:
    """Run `vidcli predict --timeline`; return the exit code: 1 if a video failed."""
    if len(items) > 1 and (form in SUBTITLES or outputs.picture is not None):
        what = f"--format {form}" if form in SUBTITLES else "--picture"
        raise ConfigError(f"{what}: holds one video, but {len(items)} were named; name one at a time")
    window = options.window_seconds or window_of(predictor, model_file)
    plan = plan_windows(predictor.config.clip.length, window, options.step_seconds)
    min_seconds = window if options.min_seconds is None else options.min_seconds
    terminal.say(_describe(predictor, plan, window))
    num_failed = 0
    with open_writer(terminal, form, outputs.results) as writer:
        for item in items:
            try:
                if item.start_seconds or item.end_seconds is not None:
                    raise VideoError(item.path, "is asked about as a span; --timeline reads whole videos")
                with terminal.counting("seconds") as show:
                    timeline = build_timeline(
                        predictor,
                        item.path,
                        plan,
                        min_seconds,
                        lambda done, total, show=show: show(int(done), int(total)),  # type: ignore[misc]
                    )
            except VideoError as error:
                num_failed += 1
                writer.write_failure(str(item.path), error.reason)
                terminal.fail(str(error))
                continue
            try:
                _write_files(terminal, predictor, item, outputs, timeline)
            finally:  # printed last: who reads standard output may be gone
                writer.write(timeline)
    return 1 if num_failed else 0


def _write_files(
    terminal: Terminal, predictor: Predictor, item: VideoItem, outputs: Outputs, timeline: Timeline
) -> None:
    """Draw a timeline, and into its video, as far as that was asked for."""
    if outputs.picture is not None:
        from vidcli import report  # brings matplotlib

        outputs.picture.write(partial(report.draw_timeline, timeline))
        terminal.say(f"wrote {outputs.picture.path}")
        if (note := picture_names(timeline.class_names).note) is not None:
            terminal.warn(note)
    if outputs.annotated is not None:
        annotate_with_timeline(terminal, predictor, item, outputs.annotated, timeline)


def _describe(predictor: Predictor, plan: WindowPlan, window: float) -> str:
    once = "each frame computed once" if predictor.frame_network else "each window computed whole"
    return f"windows of {window:.3g} s, one every {plan.cell_seconds:.3g} s; {once}"


def window_of(predictor: Predictor, model_file: Path) -> float:
    """Return how many seconds the clips span that the model knows.

    Raises:
        ConfigError: nothing tells.
    """
    clip = predictor.config.clip
    if clip.sampling == "dense":
        return clip.length * clip.stride_seconds
    splits = model_file.parent / files.SPLITS_FILE
    lengths = []
    try:
        items = of_split(load_items(splits, missing_ok=True), "train") if splits.is_file() else []
    except VidcliError:
        items = []
    for item in items[:: max(1, len(items) // _NUM_PROBED)]:
        try:
            end = probe(item.path).duration_seconds if item.end_seconds is None else item.end_seconds
        except VideoError:
            continue  # gone since; others tell as much
        lengths.append(end - item.start_seconds)
    if not lengths:
        raise ConfigError(
            "this model samples whole videos, and those it was trained on are not here to tell how long they "
            "were; give that as --window SECONDS"
        )
    return statistics.median(lengths)
