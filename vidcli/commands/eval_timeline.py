"""`vidcli eval --timeline`: timelines of recordings against the spans that a person labelled in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidcli.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from vidcli.commands.eval import EvalOptions
    from vidcli.console import Terminal
    from vidcli.data.items import VideoItem
    from vidcli.evaluate.measurement import LabelledVideos
    from vidcli.evaluate.recordings import LabelledRecording
    from vidcli.predict import Predictor
    from vidcli.predict.segments import Timeline
    from vidcli.runtime.outputs import OutputFolder

_MAX_PICTURES = 50


def run_timeline_eval(terminal: Terminal, options: EvalOptions) -> int:
    """Evaluate the timelines of recordings; return the exit code: 1 if one could not be decoded."""
    from vidcli.artifacts.run_folder import find_model
    from vidcli.commands.videos import clip_seconds_of
    from vidcli.console import print_json
    from vidcli.console.segment_tables import print_timeline_scores
    from vidcli.evaluate.measurement import LabelledVideos, describe_learnt
    from vidcli.evaluate.recordings import align, recordings_of, scores_to_dict
    from vidcli.evaluate.segment_scores import score_timelines
    from vidcli.predict import Predictor
    from vidcli.predict.predictor import with_boxes
    from vidcli.runtime.devices import choose_device

    _refuse_others(options)
    model_file = find_model(options.model)
    predictor = Predictor.load(model_file, choose_device(options.device))
    if options.boxes is not None:
        predictor = with_boxes(predictor, options.boxes)
    split = options.split or "test"
    is_named = options.split is not None
    videos = LabelledVideos(model_file, options.data, options.data_root, split, is_named, whole_spans=True)
    items = _select(terminal, videos, predictor)
    recordings = recordings_of(items)
    window = options.window or clip_seconds_of(predictor, model_file)
    with _open_folder(videos, recordings, options) or nullcontext() as folder:
        if options.data is not None and (learnt := describe_learnt(model_file, items)) is not None:
            terminal.warn(learnt)
        if (missing := videos.describe_missing(items)) is not None:
            terminal.warn(missing)
        num_videos = len({one.path for one in recordings})
        about = f"{len(recordings)} subjects of " if num_videos < len(recordings) else ""
        terminal.say(f"{model_file}: {len(items)} spans of {about}{num_videos} recordings")
        timelines, failures = _build_all(terminal, predictor, recordings, window, options)
        is_multi_label = predictor.config.data.multi_label
        names = predictor.class_names
        aligned = [
            align(recording, timeline, names, is_multi_label)
            for recording, timeline in zip(recordings, timelines, strict=True)
        ]
        scores = score_timelines(aligned)
        numbers = scores_to_dict(scores, names) | {
            "num_failed": len(failures),
            "model": str(model_file),
            "data": None if options.data is None else str(options.data),
            "split": split,
        }
        try:  # written before it is printed: nobody may be left to read the print
            _write(terminal, folder, numbers, recordings, timelines, is_multi_label)
        finally:
            if options.as_json:
                print_json(numbers)
            else:
                print_timeline_scores(terminal, scores, names)
    for failure in failures:
        terminal.fail(f"counted as wrong: {failure}")
    return 1 if failures else 0


def _select(terminal: Terminal, videos: LabelledVideos, predictor: Predictor) -> Sequence[VideoItem]:
    """Return the spans to compare with, in new data also what nobody labelled if the model has that class."""
    from vidcli.data.background import fill_background
    from vidcli.data.subjects import present_of

    items, background = videos.select(predictor, terminal.warn), predictor.config.data.background
    if videos.data is None or background is None or any(item.label == background for item in items):
        return items
    items, notes = fill_background(
        items, background, None, lambda row: present_of(row, predictor.config.subject)
    )
    for note in notes:
        terminal.warn(note)
    return items


def _refuse_others(options: EvalOptions) -> None:
    """Refuse options of the evaluation of single spans.

    Raises:
        ConfigError: one was given, or several processes were started.
    """
    from vidcli.runtime.launcher import num_processes

    for name, is_given in (
        ("--against", options.against is not None),
        ("--views-sweep", options.views_sweep),
    ):
        if is_given:
            raise ConfigError(f"{name}: compares answers to single spans; leave it or --timeline out")
    if options.split not in (None, "train", "val", "test", "all"):
        raise ConfigError(f"--split {options.split}: expected train, val, test or all")
    if options.data is not None and options.data_root is not None:
        raise ConfigError("--data-root: tells where the run's own data is now; leave it or DATA out")
    if num_processes() > 1:
        raise ConfigError("--timeline: follows one recording after the other; run it in one process")


def _open_folder(
    videos: LabelledVideos, recordings: Sequence[LabelledRecording], options: EvalOptions
) -> OutputFolder | None:
    """Return the folder for scores and pictures, after a look at it; None for a published model."""
    from vidcli.artifacts.run_folder import files_of_model
    from vidcli.runtime.outputs import OutputFolder

    usual = videos.folder
    folder = options.out or (usual and usual.with_name(usual.name.replace("eval-", "timeline-", 1)))
    if folder is None:
        return None
    names = ["eval.json", "segments.csv", *(_picture_name(n) for n in range(len(recordings[:_MAX_PICTURES])))]
    inputs: list[Path] = [*files_of_model(videos.model_file), *(one.path for one in recordings)]
    inputs += [] if videos.data is None else [videos.data]
    subject = "" if options.out is not None else videos.subject
    return OutputFolder(folder, "eval", names, subject=subject, inputs=inputs, overwrite=options.overwrite)


def _picture_name(number: int) -> str:
    return f"recording-{number + 1:02}.png"


def _build_all(
    terminal: Terminal,
    predictor: Predictor,
    recordings: Sequence[LabelledRecording],
    window: float,
    options: EvalOptions,
) -> tuple[list[Timeline | None], list[str]]:
    """Return the timeline of each recording, None where it could not be decoded, and why those could not."""
    from vidcli.predict.timeline import TimelineWork
    from vidcli.predict.window_plan import choose_plan, learnt_plan, plan_windows
    from vidcli.video import probe

    learnt = None if options.window else learnt_plan(predictor.config, predictor.rules)
    rules = None if options.window else predictor.rules
    length = predictor.config.clip.length
    timelines: list[Timeline | None] = []
    failures: list[str] = []
    for number, recording in enumerate(recordings, 1):
        label = f"recording {number} of {len(recordings)}"
        try:
            duration = probe(recording.path).duration_seconds
            usual = plan_windows(length, window) if options.window else choose_plan(length, window, duration)
            plan = learnt or usual
            work = TimelineWork(predictor, recording.video, plan, plan.window_seconds, rules)
            with terminal.counting(label, past="looked at", noun="second") as show:
                work.run(progress=lambda done, total, show=show: show(round(done), round(total)))  # type: ignore[misc]
            timelines.append(work.finish())
        except VideoError as error:
            timelines.append(None)
            failures.append(str(error))
    return timelines, failures


def _write(
    terminal: Terminal,
    folder: OutputFolder | None,
    numbers: dict[str, Any],
    recordings: Sequence[LabelledRecording],
    timelines: Sequence[Timeline | None],
    is_multi_label: bool,
) -> None:
    """Write the scores, the predicted segments and a picture of each recording."""
    from vidcli.predict.segments import SEGMENT_COLUMNS, segment_to_row
    from vidcli.report import draw_ethogram
    from vidcli.sheets import csv_text

    if folder is None:
        terminal.say("nothing written: a published model has no folder; --out DIR keeps all of this")
        return
    made = [one for one in timelines if one is not None]
    rows = [segment_to_row(one.video, segment, one.track) for one in made for segment in one.segments]
    folder.write_text("eval.json", json.dumps(numbers, indent=1) + "\n")
    folder.write_text("segments.csv", csv_text([SEGMENT_COLUMNS, *rows]))
    pairs = list(zip(recordings, timelines, strict=True))[:_MAX_PICTURES]
    for number, (recording, timeline) in enumerate(pairs):
        if timeline is not None:
            truth = recording.segments(timeline.duration_seconds, is_multi_label)
            folder.write(_picture_name(number), partial(draw_ethogram, truth, timeline))
    folder.remove_earlier()
    terminal.say(f"wrote eval.json, segments.csv and pictures to {folder.folder}")
    if len(recordings) > _MAX_PICTURES:
        terminal.warn(f"only the first {_MAX_PICTURES} of {len(recordings)} recordings have a picture")
