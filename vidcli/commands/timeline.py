"""What `vidcli predict --timeline` does."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidcli import checkpoint as files
from vidcli.commands.annotation import annotate_with_timeline
from vidcli.console import Terminal
from vidcli.console.timelines import open_writer
from vidcli.data.manifest import VideoItem, load_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError, VidcliError, VideoError
from vidcli.predict import Predictor
from vidcli.predict.segments import FORMAT_OF_SUFFIX, SUBTITLES
from vidcli.predict.timeline import WindowPlan, build_timeline, plan_windows
from vidcli.runtime.files import write_whole
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
        annotate: video to write, with labels and bars drawn into it.
    """

    window_seconds: float | None
    step_seconds: float | None
    min_seconds: float | None
    picture: Path | None
    annotate: Path | None = None


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
    output: Path | None,
    options: TimelineOptions,
) -> int:
    """Run `vidcli predict --timeline`; return the exit code: 1 if a video failed."""
    if len(items) > 1 and (form in SUBTITLES or options.picture is not None):
        what = f"--format {form}" if form in SUBTITLES else "--picture"
        raise ConfigError(f"{what}: is of one video, and {len(items)} were named; name one at a time")
    window = options.window_seconds or window_of(predictor, model_file)
    plan = plan_windows(predictor.config.clip.length, window, options.step_seconds)
    min_seconds = window if options.min_seconds is None else options.min_seconds
    terminal.say(_describe(predictor, plan, window))
    num_failed = 0
    with open_writer(terminal, form, output) as writer:
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
                if options.picture is not None:
                    from vidcli import report  # brings matplotlib

                    picture = options.picture
                    write_whole(picture, lambda temporary: report.draw_timeline(timeline, temporary))  # noqa: B023 (called at once)
                    terminal.say(f"wrote {picture}")
                if options.annotate is not None:
                    annotate_with_timeline(terminal, predictor, item, options.annotate, timeline)
            finally:  # printed last: who reads standard output may be gone
                writer.write(timeline)
    return 1 if num_failed else 0


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
