"""`vidcli predict`: files in, answers out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.old_spellings import (
    HiddenFlag,
    HiddenPath,
    HiddenSeconds,
    HiddenStep,
    HiddenText,
    HiddenWindow,
    OldSpelling,
    run_old_spelling,
)
from vidcli.commands.options import (
    AnnotateOption,
    BoxesOption,
    DeviceOption,
    FromListOption,
    ModelOption,
    OverwriteOption,
    ThresholdOption,
    VideoOptions,
    VideosArgument,
    path,
)
from vidcli.errors import ConfigError, StreamError, VidcliError

if TYPE_CHECKING:
    from vidcli.commands.videos import Job
    from vidcli.console import Terminal
    from vidcli.data.items import VideoItem
    from vidcli.predict import Prediction, Predictor
    from vidcli.predict.ray_engine import RayEngine
    from vidcli.predict.results import ResultsFile
    from vidcli.runtime.outputs import OutputFile

    Run: TypeAlias = Callable[[Sequence[VideoItem]], Generator[Prediction, None, None]]
    """Predicts videos in order."""


class OutputFormat(str, Enum):
    """How answers are written; subtitles only with --timeline."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"
    srt = "srt"
    vtt = "vtt"


TopKOption = Annotated[int, typer.Option(min=1, help="Classes shown a video.")]
FormatOption = Annotated[
    OutputFormat | None,
    typer.Option(
        "--format",
        metavar="table|json|csv|parquet",
        help="How to write; without it, by the name of --output, else a table.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        help="File to write instead of stdout, or its address; what a run left undone is continued.",
        parser=path,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Take part I of N, or auto: as SLURM, Kubernetes or torchrun say. Without it, torchrun's rank.",
    ),
]
ViewsOption = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Clips a video, averaged; without it, the model's clip.views."),
]
CropsOption = Annotated[
    int | None,
    typer.Option(min=1, max=9, help="Windows a clip along its longer side, averaged; default clip.crops."),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        metavar="ray[://HOST:PORT]",
        help="Predict on the machines of a Ray cluster, or on all cores here.",
        show_default=False,
    ),
]
SaveFramesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write the frames that the model was shown as PNG.")
]


class PredictOptions(NamedTuple):
    """What the command line of `vidcli predict` says.

    Attributes:
        shared: the options that `timeline` has, too: videos, model, outputs.
        top_k: classes shown a video.
        views, crops: clips a video and windows a clip; None keeps the model's.
        save_frames: folder for the frames that the model is shown.
        engine: as --engine says; None predicts in this process.
    """

    shared: VideoOptions
    top_k: int
    views: int | None
    crops: int | None
    save_frames: Path | None
    engine: str | None = None


@app.command(
    rich_help_panel=USE,
    epilog=examples(
        "vidcli predict a.mp4 folder/",
        "vidcli predict folder/ --output answers.jsonl",
        "find . -name '*.mp4' | vidcli predict --from-list -",
    ),
)
def predict(
    ctx: typer.Context,
    videos: VideosArgument = None,
    from_list: FromListOption = None,
    model: ModelOption = None,
    top_k: TopKOption = 5,
    threshold: ThresholdOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
    shard: ShardOption = None,
    engine: EngineOption = None,
    device: DeviceOption = "auto",
    views: ViewsOption = None,
    crops: CropsOption = None,
    save_frames: SaveFramesOption = None,
    boxes: BoxesOption = None,
    annotate: AnnotateOption = None,
    overwrite: OverwriteOption = False,
    timeline: HiddenFlag = False,
    window: HiddenWindow = None,
    step: HiddenStep = None,
    min_seconds: HiddenSeconds = None,
    picture: HiddenPath = None,
    camera: HiddenText = None,
    raw: HiddenText = None,
    keep_state: HiddenFlag = False,
) -> None:
    """Classify videos: tell what each shows.

    For what a video shows when, see `vidcli timeline`; for a camera, `vidcli live`.
    """
    shared = VideoOptions(
        videos=videos or [],
        from_list=from_list,
        model=model,
        threshold=threshold,
        form=form.value if form else None,
        output=output,
        shard=shard,
        device=device,
        annotate=annotate,
        overwrite=overwrite,
        boxes=boxes,
    )
    options = PredictOptions(shared, top_k, views, crops, save_frames, engine)
    old = OldSpelling(timeline, window, step, min_seconds, picture, camera, raw, keep_state)
    terminal = open_terminal(ctx)
    code = run_old_spelling(terminal, options, old)
    raise typer.Exit(run_predict(terminal, options) if code is None else code)


def run_predict(terminal: Terminal, options: PredictOptions) -> int:
    """Predict, print or write the answers, and return the exit code: 1 if a video failed."""
    from vidcli.commands.videos import open_job
    from vidcli.console.text import count_noun
    from vidcli.predict.predictor import with_views

    form = _choose_form(options.shared)
    engine = _choose_engine(options)
    shared = options.shared if engine is None else options.shared._replace(device="cpu")
    job = open_job(terminal, shared, is_continued=form != "table")
    num_own = _num_clips(job.predictor)
    predictor = with_views(job.predictor, options.views, options.crops)
    job = replace(job, predictor=predictor)
    advice: list[str] = []
    run = _run_here(job, form, options.save_frames, advice) if engine is None else _run_afar(job, engine)
    started, code = time.perf_counter(), 0
    try:
        if job.results is None or form == "table":
            code = _predict_streaming(job, form, options.top_k, run)
        else:
            if options.shared.overwrite:
                _empty(job.results, form)
            code = _predict_resuming(job, job.results, _open_results(job, form, options.top_k), run)
        for sentence in advice:
            terminal.warn(sentence)
    except StreamError:  # nobody reads the results, but the annotated video is still wanted
        job.annotate_with_prediction()
        raise
    if code == 0:
        job.annotate_with_prediction()
    if (options.views, options.crops) != (None, None):
        seconds, clip = (time.perf_counter() - started) / max(1, len(job.items)), predictor.config.clip
        terminal.say(
            f"{count_noun(clip.views, 'view')} x {count_noun(clip.crops, 'crop')}: {_num_clips(predictor)} "
            f"clips a video, {_num_clips(predictor) / num_own:g} times the model's work; "
            f"{seconds * 1000:.0f} ms a video"
        )
    return code


def _choose_engine(options: PredictOptions) -> RayEngine | None:
    """Return the cluster that --engine names, once something answers there."""
    if options.engine is None:
        return None
    from vidcli.predict.ray_engine import RayEngine

    if options.save_frames is not None:
        raise ConfigError("--save-frames: other machines see the frames with --engine; leave one of them out")
    return RayEngine.parse(options.engine, options.shared.device)


def _run_here(job: Job, form: str, save_frames: Path | None, advice: list[str]) -> Run:
    """Return what predicts in this process.

    Args:
        job: the model and the outputs.
        form: how answers are written.
        save_frames: folder for the frames that the model is shown.
        advice: given what is to be said at the end.
    """
    from vidcli.predict.export_advice import watch_for_export
    from vidcli.predict.saved_frames import FrameSaver

    predictor, terminal = job.predictor, job.terminal
    saver = FrameSaver(save_frames, predictor.config.clip) if save_frames else None

    def run(some: Sequence[VideoItem]) -> Generator[Prediction, None, None]:
        predictions = predictor.predict_many(some, saver.save if saver else None)
        if job.results is None and form != "table" and not terminal.err.is_terminal:
            return predictions  # nobody reads along
        # A sentence in the middle of a table would tear it.
        tell = advice.append if form == "table" else terminal.warn
        return watch_for_export(predictions, predictor, job.model_file, len(some), tell)

    return run


def _run_afar(job: Job, engine: RayEngine) -> Run:
    """Return what predicts on the machines of a cluster."""
    from vidcli.predict.ray_engine import ray_workers
    from vidcli.predict.worker_pool import WorkerPool

    def run(some: Sequence[VideoItem]) -> Generator[Prediction, None, None]:
        if some:
            with ray_workers(engine, job.predictor, job.model_file, job.terminal.warn) as workers:
                yield from WorkerPool(workers, job.predictor, some).predictions()

    return run


def _num_clips(predictor: Predictor) -> int:
    return predictor.config.clip.views * predictor.config.clip.crops


def _choose_form(shared: VideoOptions) -> str:
    """Return how answers are written: as --format says, else by the name of the file, else as a table."""
    from vidcli.predict.results import FORMAT_OF_SUFFIX
    from vidcli.predict.segments import SUBTITLES

    by_name = FORMAT_OF_SUFFIX.get(shared.output.suffix.lower(), "table") if shared.output else "table"
    form = shared.form or by_name
    if form in SUBTITLES:
        raise ConfigError(f"--format {form}: subtitles are written by `vidcli timeline`")
    if form == "parquet" and shared.output is None:
        raise ConfigError("--format parquet: is written to a file; name it with --output")
    return form


def _predict_streaming(job: Job, form: str, top_k: int, run: Run) -> int:
    """Predict to standard output, or a table to a file, each video as it is ready."""
    from vidcli.console.prediction_writers import open_prediction_writer

    names = [str(item.path) for item in job.items]
    num_failed = 0
    with (
        open_prediction_writer(
            job.terminal, form, top_k, job.results, names, job.predictor.class_names
        ) as writer,
        job.terminal.counting("predicting", len(names), writer.tears_bars, "predicted") as show,
    ):
        for done, prediction in enumerate(run(job.items), start=1):
            writer.write(prediction)
            if prediction.error is not None:
                num_failed += 1
                writer.name_failure(prediction)
            show(done, len(names))
    return 1 if num_failed else 0


def _predict_resuming(job: Job, output: OutputFile, results: ResultsFile, run: Run) -> int:
    """Predict to a file the answers that it does not hold yet."""
    from vidcli.console.text import count_noun

    terminal, items = job.terminal, job.items
    is_complete, done = False, 0
    try:
        remaining, num_failed = results.split(items)
        done = num_there = len(items) - len(remaining)
        if num_there:
            failed = f", {count_noun(num_failed, 'failure')} among them" if num_failed else ""
            terminal.say(f"{output.named}: {num_there} of {len(items)} videos are there already{failed}")
        with terminal.counting("predicting", len(items), past=None if num_there else "predicted") as show:
            for prediction in run(remaining):
                results.write(prediction)
                done += 1
                if prediction.error is not None:
                    num_failed += 1
                    terminal.fail(f"{prediction.video}: {prediction.error}")
                show(done, len(items))
        is_complete = True
    except KeyboardInterrupt:
        terminal.warn(
            f"{output.named}: stopped after {done} of {len(items)} videos; the same command goes on"
        )
        raise
    finally:
        results.close(is_complete)
        output.deliver()
    terminal.say(f"wrote {output.named}: {count_noun(len(items), 'video')}, {num_failed} failed")
    return 1 if num_failed else 0


def _open_results(job: Job, form: str, top_k: int) -> ResultsFile:
    """Open the file of answers that a stopped command goes on with."""
    from vidcli.predict.parquet import ParquetResults
    from vidcli.predict.results import CsvResults, JsonResults, Source

    assert job.results is not None
    predictor, output = job.predictor, job.results
    source = Source.of(predictor, top_k)
    try:
        if form == "csv":
            return CsvResults(output.path, top_k, source, len(predictor.class_names), output.named)
        kind = ParquetResults if form == "parquet" else JsonResults
        return kind(output.path, top_k, source, output.named)
    except VidcliError:
        output.discard()
        raise


def _empty(results: OutputFile, form: str) -> None:
    """Begin results anew, whatever the file held."""
    from vidcli.runtime.outputs import OutputFile, partial_file

    results.open().close()
    if form == "parquet":
        OutputFile("--output", partial_file(results.path), overwrite=True).open().close()
