"""What `vidcli predict` does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vidcli.artifacts.run_folder import describe_unfinished, files_of_model, find_model
from vidcli.commands.advice import watch_for_export
from vidcli.commands.annotation import annotate_with_prediction, check_annotation
from vidcli.commands.timeline import Outputs, TimelineOptions, choose_form, predict_timelines
from vidcli.console import Terminal
from vidcli.console.predictions import open_writer
from vidcli.console.text import count_noun
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, OutputError, StreamError
from vidcli.predict import Prediction, Predictor
from vidcli.predict.inputs import STDIN, collect_items, parse_shard, read_list, shard_of_launcher
from vidcli.predict.parquet import ParquetResults, import_pyarrow, partial_file
from vidcli.predict.results import FORMAT_OF_SUFFIX, CsvResults, JsonResults, ResultsFile, Source
from vidcli.predict.saved import FrameSaver
from vidcli.predict.segments import SUBTITLES
from vidcli.runtime.devices import choose_device
from vidcli.runtime.files import is_stream
from vidcli.runtime.outputs import OutputFile

Run: TypeAlias = Callable[[Sequence[VideoItem]], Generator[Prediction, None, None]]
"""Predicts videos in order."""


@dataclass(frozen=True)
class PredictOptions:
    """What the command line of `vidcli predict` says.

    Attributes:
        form: table, json, csv or parquet; None goes by the name of `output`.
        from_list: file that names videos, `-` for standard input.
        shard: such as 1/4; None goes by the launcher's environment.
        threshold: the probability below which a video is unknown.
        views, crops: clips a video and windows a clip; None keeps the model's.
        save_frames: folder for the frames that the model is shown.
        annotate: video to write, with labels and bars drawn into it.
        overwrite: replace files that are in the way of outputs.
        timeline: tell what each video shows when; None tells what it shows.
    """

    videos: Sequence[Path]
    model: Path | None
    top_k: int
    form: str | None
    output: Path | None
    device: str
    from_list: str | None = None
    shard: str | None = None
    threshold: float | None = None
    views: int | None = None
    crops: int | None = None
    save_frames: Path | None = None
    annotate: Path | None = None
    overwrite: bool = False
    timeline: TimelineOptions | None = None


def predict(terminal: Terminal, options: PredictOptions) -> int:
    """Run `vidcli predict`; return the exit code: 1 if a video failed."""
    form = _choose_form(options)
    items, output = _share(terminal, options, _named_items(terminal, options))
    if options.annotate is not None:
        check_annotation(options.annotate, items)
    device = choose_device(options.device)
    model_file = find_model(options.model)
    outputs = _check_outputs(options, items, output, form, model_file)
    predictor = Predictor.load(model_file, device)
    predictor.abstain_below(options.threshold)
    terminal.detail(f"model: {model_file}")
    if (unfinished := describe_unfinished(model_file, predictor.config)) is not None:
        terminal.warn(unfinished)
    if options.timeline is not None:
        return predict_timelines(terminal, predictor, model_file, items, form, outputs, options.timeline)
    num_own = predictor.config.clip.views * predictor.config.clip.crops
    predictor = predictor.with_views(options.views, options.crops)
    clip = predictor.config.clip
    saver = FrameSaver(options.save_frames, clip) if options.save_frames else None
    advised: list[str] = []

    def run(some: Sequence[VideoItem]) -> Generator[Prediction, None, None]:
        predictions = predictor.predict_many(some, saver.save if saver else None)
        if output is None and form != "table" and not terminal.err.is_terminal:
            return predictions  # nobody reads along
        # A sentence in the middle of a table would tear it.
        tell = advised.append if form == "table" else terminal.warn
        return watch_for_export(predictions, predictor, model_file, len(some), tell)

    started, code = time.perf_counter(), 0
    try:
        if outputs.results is None or form == "table":
            code = _predict_streaming(terminal, predictor, items, form, options.top_k, outputs.results, run)
        else:
            if options.overwrite:
                _empty(outputs.results, form)
            code = _predict_resuming(
                terminal, predictor, items, form, options.top_k, outputs.results.path, run
            )
        for sentence in advised:
            terminal.warn(sentence)
    except StreamError:  # nobody reads the results, but the annotated video is still wanted
        if outputs.annotated is not None:
            annotate_with_prediction(terminal, predictor, items[0], outputs.annotated)
        raise
    if outputs.annotated is not None and code == 0:
        annotate_with_prediction(terminal, predictor, items[0], outputs.annotated)
    if (options.views, options.crops) != (None, None):
        seconds = (time.perf_counter() - started) / max(1, len(items))
        terminal.say(
            f"{count_noun(clip.views, 'view')} x {count_noun(clip.crops, 'crop')}: {clip.views * clip.crops} "
            f"clips a video, {clip.views * clip.crops / num_own:g} times the model's work; "
            f"{seconds * 1000:.0f} ms a video"
        )
    return code


def _check_outputs(
    options: PredictOptions, items: Sequence[VideoItem], output: Path | None, form: str, model_file: Path
) -> Outputs:
    """Refuse outputs that would replace what must stay, before anything is computed.

    Raises:
        OutputError: one of them would, or two are the same file.
    """
    inputs = [*files_of_model(model_file), *options.videos, *(item.path for item in items)]
    if options.from_list is not None and options.from_list != STDIN:
        inputs.append(Path(options.from_list))
    is_continued = options.timeline is None and form != "table" and not options.overwrite

    def check(option: str, path: Path | None, is_continued: bool = False) -> OutputFile | None:
        return None if path is None else OutputFile(option, path, inputs, options.overwrite, is_continued)

    named = [output, options.annotate, options.timeline.picture if options.timeline else None]
    places = [os.path.realpath(path) for path in named if path is not None and not is_stream(path)]
    if len(set(places)) < len(places):
        raise OutputError(f"{places[0]}: is named as the place of two outputs; give each its own")
    return Outputs(
        check("--output", output, is_continued), *map(check, ("--annotate", "--picture"), named[1:])
    )


def _empty(results: OutputFile, form: str) -> None:
    """Begin results anew, whatever the file held."""
    results.open().close()
    if form == "parquet":
        OutputFile("--output", partial_file(results.path), overwrite=True).open().close()


def _choose_form(options: PredictOptions) -> str:
    if options.timeline is not None:
        return choose_form(options.form, options.output)
    by_name = FORMAT_OF_SUFFIX.get(options.output.suffix.lower(), "table") if options.output else "table"
    form = options.form or by_name
    if form in SUBTITLES:
        raise ConfigError(f"--format {form}: subtitles are of a --timeline")
    if form == "parquet":
        if options.output is None:
            raise ConfigError("--format parquet: is written to a file; name it with --output")
        import_pyarrow()
    return form


def _named_items(terminal: Terminal, options: PredictOptions) -> list[VideoItem]:
    listed = [] if options.from_list is None else read_list(options.from_list)
    return collect_items([*options.videos, *listed], terminal.warn)


def _share(
    terminal: Terminal, options: PredictOptions, items: list[VideoItem]
) -> tuple[Sequence[VideoItem], Path | None]:
    """Return this process's part of the items, and the file for its results."""
    launched = shard_of_launcher(os.environ)
    shard = parse_shard(options.shard) if options.shard is not None else launched
    if shard is None:
        return items, options.output
    part, output = shard.take(items), options.output
    if options.shard is None and output is not None:
        output = shard.name_file(output)  # processes of one launch share one command line
    place = f" to {output}" if output else ""
    terminal.say(f"part {shard.number} of {shard.count}: {len(part)} of {len(items)} videos{place}")
    return part, output


def _predict_streaming(
    terminal: Terminal,
    predictor: Predictor,
    items: Sequence[VideoItem],
    form: str,
    top_k: int,
    output: OutputFile | None,
    run: Run,
) -> int:
    """Predict to stdout, or a table to a file, each video as it is ready."""
    names = [str(item.path) for item in items]
    num_failed = 0
    with (
        open_writer(terminal, form, top_k, output, names, predictor.class_names) as writer,
        terminal.counting("predicting", len(items), writer.tears_bars, "predicted") as show,
    ):
        for done, prediction in enumerate(run(items), start=1):
            writer.write(prediction)
            if prediction.error is not None:
                num_failed += 1
                writer.name_failure(prediction)
            show(done, len(items))
    return 1 if num_failed else 0


def _predict_resuming(
    terminal: Terminal,
    predictor: Predictor,
    items: Sequence[VideoItem],
    form: str,
    top_k: int,
    output: Path,
    run: Run,
) -> int:
    """Predict to a file what is not there yet."""
    results = _open_results(output, form, top_k, predictor)
    is_complete = False
    try:
        remaining, num_failed = results.split(items)
        num_there = len(items) - len(remaining)
        if num_there:
            told = f", {count_noun(num_failed, 'failure')} among them" if num_failed else ""
            terminal.say(f"{output}: {num_there} of {len(items)} videos are there already{told}")
        with terminal.counting("predicting", len(items), past=None if num_there else "predicted") as show:
            for done, prediction in enumerate(run(remaining), start=num_there + 1):
                results.write(prediction)
                if prediction.error is not None:
                    num_failed += 1
                    terminal.fail(f"{prediction.video}: {prediction.error}")
                show(done, len(items))
        is_complete = True
    finally:
        results.close(is_complete)
    terminal.say(f"wrote {output}: {count_noun(len(items), 'video')}, {num_failed} failed")
    return 1 if num_failed else 0


def _open_results(output: Path, form: str, top_k: int, predictor: Predictor) -> ResultsFile:
    threshold = "" if predictor.threshold is None else f" threshold={predictor.threshold!r}"
    clip = predictor.config.clip
    views = f"views={clip.views} crops={clip.crops}"
    source = Source(predictor.identity(), f"top-k={top_k} {views}{threshold}")
    if form == "csv":
        return CsvResults(output, top_k, source, len(predictor.class_names))
    return (ParquetResults if form == "parquet" else JsonResults)(output, top_k, source)
