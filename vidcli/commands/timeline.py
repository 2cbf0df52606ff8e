"""`vidcli timeline`: what a video shows when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.options import (
    AnnotateOption,
    BoxesOption,
    DeviceOption,
    FromListOption,
    ModelOption,
    OverwriteOption,
    ThresholdOption,
    TrackOption,
    VideoOptions,
    VideosArgument,
    WindowOption,
    path,
    refuse_pipe,
    require_videos,
)
from vidcli.errors import ConfigError, StreamError, VideoError
from vidcli.runtime.signals import undivided

if TYPE_CHECKING:
    from vidcli.commands.videos import Job
    from vidcli.console import Terminal
    from vidcli.console.timeline_writers import TimelineWriter
    from vidcli.data.items import VideoItem
    from vidcli.predict import Predictor
    from vidcli.predict.segments import Segment, Timeline
    from vidcli.predict.timeline import TimelineWork
    from vidcli.predict.window_plan import WindowPlan

_PACE_SECONDS = 2.0
"""How long it takes to know how fast the work goes."""
_WORTH_SECONDS = 5.0
"""How much waiting must be left for a line on it to be worth printing."""


class TimelineFormat(str, Enum):
    """How segments are written."""

    table = "table"
    json = "json"
    csv = "csv"
    srt = "srt"
    vtt = "vtt"


FormatOption = Annotated[
    TimelineFormat | None,
    typer.Option("--format", help="How to write; without it, by the name of --output, else a table."),
]
OutputOption = Annotated[
    Path | None, typer.Option(help="File to write instead of stdout, or its address.", parser=path)
]
StepOption = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds from window to window; without it, a quarter of one."),
]
MinSecondsOption = Annotated[
    float | None,
    typer.Option(
        min=0, help="Seconds of the shortest segment; without it, as the model learnt, or those of a window."
    ),
]
PictureOption = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Draw the timeline into this file.", parser=path)
]
BoutsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV", help="Write number, lengths, rate and order of the bouts of each class.", parser=path
    ),
]


class TimelineOptions(NamedTuple):
    """What the command line of `vidcli timeline` says.

    Attributes:
        shared: the options that `predict` has, too: videos, model, outputs.
        window_seconds: time of a window; None takes that of the clips the model was trained on.
        step_seconds: from one window to the next; None is a quarter of a window. Where both are None, a
            long video has fewer and longer windows; see `choose_plan`.
        min_seconds: shortest segment; None is a window.
        picture: PNG to draw.
        bouts: table of bouts to write.
    """

    shared: VideoOptions
    window_seconds: float | None
    step_seconds: float | None
    min_seconds: float | None
    picture: Path | None
    bouts: Path | None

    @property
    def leaves_all_to_model(self) -> bool:
        """Whether windows and smoothing are as the model learnt them, if it did."""
        return self.window_seconds is None and self.step_seconds is None and self.min_seconds is None


@app.command(
    rich_help_panel=USE,
    epilog=examples(
        "vidcli timeline day.mp4",
        "vidcli timeline day.mp4 --window 2 --output day.srt",
        "vidcli timeline days/ --bouts bouts.csv --boxes tracks/",
    ),
)
def timeline(
    ctx: typer.Context,
    videos: VideosArgument = None,
    from_list: FromListOption = None,
    model: ModelOption = None,
    window: WindowOption = None,
    step: StepOption = None,
    min_seconds: MinSecondsOption = None,
    threshold: ThresholdOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
    picture: PictureOption = None,
    bouts: BoutsOption = None,
    boxes: BoxesOption = None,
    track: TrackOption = None,
    annotate: AnnotateOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Tell what each video, or each subject in it, shows when: segments from its start to its end."""
    shared = VideoOptions(
        videos=videos or [],
        from_list=from_list,
        model=model,
        threshold=threshold,
        form=form.value if form else None,
        output=output,
        shard=None,
        device=device,
        annotate=annotate,
        overwrite=overwrite,
        boxes=boxes,
        track=track,
    )
    if track is not None and boxes is None:
        raise typer.BadParameter("--track: is a subject of --boxes; give them too")
    refuse_pipe(shared.videos)
    require_videos(shared)
    options = TimelineOptions(shared, window, step, min_seconds, picture, bouts)
    raise typer.Exit(run_timeline(open_terminal(ctx), options))


def run_timeline(terminal: Terminal, options: TimelineOptions) -> int:
    """Tell what each video shows when; return the exit code: 1 if a video failed."""
    from vidcli.commands.videos import clip_seconds_of, open_job
    from vidcli.console.timeline_writers import open_timeline_writer
    from vidcli.predict.segments import SUBTITLES
    from vidcli.predict.timeline import TimelineWork

    form = _choose_form(options.shared)
    job = open_job(terminal, options.shared, picture=options.picture, bouts=options.bouts)
    predictor = job.predictor
    if len(job.items) > 1 and (form in SUBTITLES or job.picture is not None):
        what = f"--format {form}" if form in SUBTITLES else "--picture"
        way_on = "; --track NAME takes one subject" if job.items[0].track is not None else ""
        raise ConfigError(
            f"{what}: holds one video, but {len(job.items)} were named; name one at a time{way_on}"
        )
    window = options.window_seconds or clip_seconds_of(predictor, job.model_file)
    num_failed, said = 0, ""
    with (
        _keeping_bouts(job) as whole,
        open_timeline_writer(terminal, form, job.results, predictor.class_names) as writer,
    ):
        for item in job.items:
            writer.begin(str(item.path), item.track)
            try:
                if item.start_seconds or item.end_seconds is not None:
                    raise VideoError(item.path, "is asked about as a span; a timeline is of a whole video")
                plan, sentence = _plan(predictor, item, window, options)
                if sentence != said:
                    terminal.say(sentence)
                    said = sentence
                min_seconds = plan.window_seconds if options.min_seconds is None else options.min_seconds
                rules = predictor.rules if options.leaves_all_to_model else None
                work = TimelineWork(predictor, item, plan, min_seconds, rules)
                _segment_video(job, item, work, writer, whole)
            except VideoError as error:
                num_failed += 1
                writer.write_failure(error.reason)
                terminal.fail(str(error))
    return 1 if num_failed else 0


@contextmanager
def _keeping_bouts(job: Job) -> Iterator[list[Timeline]]:
    """Give a list for timelines; at the end, whatever ends the work, write the bouts of those in it."""
    from vidcli.predict.bouts import bouts_text

    whole: list[Timeline] = []
    try:
        yield whole
    finally:
        if job.bouts is not None and whole:
            job.bouts.write_text(bouts_text(whole))
            job.terminal.say(
                f"wrote {job.bouts.named}: bouts of {len(whole)} of {len(job.items)} {_what(job)}"
            )


def _what(job: Job) -> str:
    from vidcli.data.items import have_tracks

    return "subjects" if have_tracks(job.items) else "videos"


def _choose_form(shared: VideoOptions) -> str:
    """Return how segments are written: as --format says, else by the name of the file, else as a table.

    Raises:
        ConfigError: Parquet, which holds no timelines.
    """
    from vidcli.predict.segments import FORMAT_OF_SUFFIX

    by_name = FORMAT_OF_SUFFIX.get(shared.output.suffix.lower(), "table") if shared.output else "table"
    form = shared.form or by_name
    if form == "parquet":
        raise ConfigError("--format parquet: `vidcli timeline` writes table, json, csv, srt or vtt")
    return form


def _plan(
    predictor: Predictor, item: VideoItem, window: float, options: TimelineOptions
) -> tuple[WindowPlan, str]:
    """Return the windows of a video, and a sentence on them and why it is these."""
    from vidcli.predict.timeline import shares_frames
    from vidcli.predict.window_plan import MAX_WINDOWS, choose_plan, learnt_plan, plan_windows
    from vidcli.video import probe

    once = "each frame computed once" if shares_frames(predictor) else "each window computed whole"
    usual = plan_windows(predictor.config.clip.length, window, options.step_seconds)
    plan, why = usual, ""
    learnt = learnt_plan(predictor.config, predictor.rules)
    if options.window_seconds is None and learnt is not None:
        plan = learnt if options.step_seconds is None else usual
        why = "; as the clips that the model learnt"
    elif options.window_seconds is None:
        why = "; as long as the clips that the model learnt"
        if options.step_seconds is None:
            duration = probe(item.path).duration_seconds
            plan = choose_plan(usual.length, window, duration)
            if plan != usual:
                why = (
                    f"; {MAX_WINDOWS} at most, unless asked for: --window {window:.3g}, as long as the clips "
                    f"that the model learnt, makes {duration / usual.cell_seconds:.0f}"
                )
    return plan, f"windows of {plan.window_seconds:.3g} s, one every {plan.cell_seconds:.3g} s; {once}{why}"


def _segment_video(
    job: Job, item: VideoItem, work: TimelineWork, writer: TimelineWriter, whole: list[Timeline]
) -> None:
    """Find the segments of one video, write each as soon as it is found, and add all of them to `whole`.

    Where a signal ends the work, the segments that were found until then are written.

    Raises:
        VideoError: the video cannot be decoded to its end.
        StreamError: nobody reads standard output; other outputs are written all the same.
    """
    terminal = job.terminal
    has_files = any(one is not None for one in (job.picture, job.annotated, job.bouts))
    printer = _SegmentPrinter(terminal, writer, has_files)
    try:
        with terminal.counting("seconds", hide=writer.tears_bars, past="looked at", noun="second") as show:

            def progress(done: float, total: float) -> None:
                printer.note_progress(done, total)
                show(round(done), round(total))

            work.run(printer.add, progress)
            timeline = printer.end(work)
    except VideoError:
        printer.flush()
        raise
    except KeyboardInterrupt:
        timeline = printer.end(work)
        if timeline.covered_seconds is not None:
            covered, duration = timeline.covered_seconds, timeline.duration_seconds
            left_out = "; --picture and --annotate were not written" if has_files else ""
            terminal.warn(
                f"{item.name}: interrupted; the segments cover its first {covered:.1f} s"
                f"{f' of {duration:.1f} s' if duration > covered else ''}{left_out}"
            )
        raise
    whole.append(timeline)
    _write_files(job, timeline)
    if printer.lost is not None:
        raise printer.lost


class _SegmentPrinter:
    """Write the segments of a video as they are found, and say once how long the whole video takes.

    Attributes:
        lost: the error of a reader of the segments that left, while files are still to be written.
    """

    def __init__(self, terminal: Terminal, writer: TimelineWriter, has_files: bool) -> None:
        self._terminal, self._writer, self._has_files = terminal, writer, has_files
        self.lost: StreamError | BrokenPipeError | None = None
        self._has_pace = False
        self._first: tuple[float, float] | None = None  # the time, and the seconds done
        self._waiting: list[Segment] = []  # a line on the pace would tear a table that has begun

    def add(self, segment: Segment) -> None:
        """Write a segment, at once or as soon as the pace is known."""
        self._waiting.append(segment)
        if self._has_pace or not self._writer.is_torn_by_lines:
            self.flush()

    def note_progress(self, done: float, total: float) -> None:
        """Learn the pace, and say how long the whole video takes if that is long.

        Args:
            done: seconds of the video that were looked at.
            total: seconds of the video.
        """
        from vidcli.console.text import format_about

        if self._has_pace:
            return
        now = time.monotonic()
        if self._first is None:  # the first step says little: much of its work is done only once
            self._first = now, done
        started, first_done = self._first
        if now - started < _PACE_SECONDS or done <= first_done:
            return
        self._has_pace = True
        whole = (now - started) * total / (done - first_done)
        if whole * (total - done) / total > _WORTH_SECONDS:
            self._terminal.say(f"about {format_about(whole)} for {total:.0f} s of video")
        with undivided():
            self.flush()

    def end(self, work: TimelineWork) -> Timeline:
        """Write the segments that are left, and return the whole timeline."""
        with undivided():
            self._has_pace = True
            timeline = work.finish(self.add)
            self.flush()
            self._try(lambda: self._writer.end(timeline))
        return timeline

    def flush(self) -> None:
        """Write the segments that waited for the pace."""
        while self._waiting:
            segment = self._waiting.pop(0)
            self._try(lambda segment=segment: self._writer.write(segment))  # type: ignore[misc]

    def _try(self, write: Callable[[], None]) -> None:
        if self.lost is not None:
            return
        try:
            write()
        except (StreamError, BrokenPipeError) as error:
            if not self._has_files:
                raise
            self.lost = error


def _write_files(job: Job, timeline: Timeline) -> None:
    """Write the picture of a timeline and the annotated video, where these were asked for."""
    if job.picture is not None:
        from vidcli import report  # brings matplotlib
        from vidcli.fonts import picture_names

        job.picture.write(partial(report.draw_timeline, timeline))
        job.terminal.say(f"wrote {job.picture.named}")
        if (note := picture_names(timeline.class_names).note) is not None:
            job.terminal.warn(note)
    job.annotate_with_timeline(timeline)
