"""What `vidcli predict --timeline` does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vidcli.artifacts.run_folder import SPLITS_FILE
from vidcli.commands.annotation import annotate_with_timeline
from vidcli.console import Terminal
from vidcli.console.text import format_about
from vidcli.console.timelines import TimelineWriter, open_writer
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError, StreamError, VidcliError, VideoError
from vidcli.fonts import picture_names
from vidcli.predict import Predictor
from vidcli.predict.segments import FORMAT_OF_SUFFIX, SUBTITLES, Segment, Timeline
from vidcli.predict.timeline import MAX_WINDOWS, TimelineWork, WindowPlan, choose_plan, plan_windows
from vidcli.runtime.outputs import OutputFile
from vidcli.runtime.signals import undivided
from vidcli.video import probe

_NUM_PROBED = 20
_PACE_SECONDS = 2.0
"""What it takes to know how fast a video goes."""
_WORTH_SECONDS = 5.0
"""What is left to wait that is worth a line."""


@dataclass(frozen=True)
class TimelineOptions:
    """What the command line of `vidcli predict --timeline` says.

    Attributes:
        window_seconds: time of a window; None takes that of the clips the model was trained on.
        step_seconds: from one window to the next; None is a quarter of a window. Where both are None, a
            long video has fewer and longer windows; see `choose_plan`.
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
    num_failed, said = 0, ""
    with open_writer(terminal, form, outputs.results, predictor.class_names) as writer:
        for item in items:
            writer.begin(str(item.path))
            try:
                if item.start_seconds or item.end_seconds is not None:
                    raise VideoError(item.path, "is asked about as a span; --timeline reads whole videos")
                plan, sentence = _plan(predictor, item, window, options)
                if sentence != said:
                    terminal.say(sentence)
                    said = sentence
                min_seconds = plan.window_seconds if options.min_seconds is None else options.min_seconds
                work = TimelineWork(predictor, item.path, plan, min_seconds)
                _tell_video(terminal, predictor, item, outputs, work, writer)
            except VideoError as error:
                num_failed += 1
                writer.write_failure(error.reason)
                terminal.fail(str(error))
    return 1 if num_failed else 0


def _plan(
    predictor: Predictor, item: VideoItem, window: float, options: TimelineOptions
) -> tuple[WindowPlan, str]:
    """Return the windows of a video, and a sentence on them and why it is these."""
    once = "each frame computed once" if predictor.frame_network else "each window computed whole"
    usual = plan_windows(predictor.config.clip.length, window, options.step_seconds)
    plan, why = usual, ""
    if options.window_seconds is None:
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


def _tell_video(
    terminal: Terminal,
    predictor: Predictor,
    item: VideoItem,
    outputs: Outputs,
    work: TimelineWork,
    writer: TimelineWriter,
) -> None:
    """Tell what one video shows, as it is found; where a signal ends the work, what was found until then.

    Raises:
        VideoError: the video cannot be decoded to its end.
        StreamError: nobody reads standard output; other outputs are written all the same.
    """
    has_files = outputs.picture is not None or outputs.annotated is not None
    teller = _Teller(terminal, writer, has_files)
    try:
        with terminal.counting("seconds", hide=writer.tears_bars, past="looked at", noun="second") as show:

            def progress(done: float, total: float) -> None:
                teller.take_pace(done, total)
                show(round(done), round(total))

            work.run(teller.tell, progress)
            timeline = teller.end(work)
    except VideoError:
        teller.tell_held()
        raise
    except KeyboardInterrupt:
        timeline = teller.end(work)
        if timeline.covered_seconds is not None:
            covered, duration = timeline.covered_seconds, timeline.duration_seconds
            left_out = "; --picture and --annotate were not written" if has_files else ""
            terminal.warn(
                f"{item.path}: interrupted; what is told is of its first {covered:.1f} s"
                f"{f' of {duration:.1f} s' if duration > covered else ''}{left_out}"
            )
        raise
    _write_files(terminal, predictor, item, outputs, timeline)
    if teller.lost is not None:
        raise teller.lost


class _Teller:
    """Tell the segments of a video as they come, and once how long the whole of it takes.

    Attributes:
        lost: why nobody reads the segments any more, where there is other work to do.
    """

    def __init__(self, terminal: Terminal, writer: TimelineWriter, has_files: bool) -> None:
        self._terminal, self._writer, self._has_files = terminal, writer, has_files
        self.lost: StreamError | BrokenPipeError | None = None
        self._has_pace = False
        self._first: tuple[float, float] | None = None  # the time, and the seconds done
        self._held: list[Segment] = []  # a line on the pace would tear a table that has begun

    def tell(self, segment: Segment) -> None:
        """Tell a segment, at once or when the pace is known."""
        self._held.append(segment)
        if self._has_pace or not self._writer.is_torn_by_lines:
            self.tell_held()

    def take_pace(self, done: float, total: float) -> None:
        """Take how many seconds are done, of all; of what takes a short time nothing is told."""
        if self._has_pace:
            return
        now = time.monotonic()
        if self._first is None:  # how long that took tells little: much is done only once
            self._first = now, done
        started, first_done = self._first
        if now - started < _PACE_SECONDS or done <= first_done:
            return
        self._has_pace = True
        whole = (now - started) * total / (done - first_done)
        if whole * (total - done) / total > _WORTH_SECONDS:
            self._terminal.say(f"about {format_about(whole)} for {total:.0f} s of video")
        with undivided():
            self.tell_held()

    def end(self, work: TimelineWork) -> Timeline:
        """Tell what is left of the work that was done; return all of it."""
        with undivided():
            self._has_pace = True
            timeline = work.finish(self.tell)
            self.tell_held()
            self._try(lambda: self._writer.end(timeline))
        return timeline

    def tell_held(self) -> None:
        """Tell the segments that waited for the pace."""
        while self._held:
            segment = self._held.pop(0)
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


def window_of(predictor: Predictor, model_file: Path) -> float:
    """Return how many seconds the clips span that the model knows.

    Raises:
        ConfigError: nothing tells.
    """
    clip = predictor.config.clip
    if clip.sampling == "dense":
        return clip.length * clip.stride_seconds
    splits = model_file.parent / SPLITS_FILE
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
