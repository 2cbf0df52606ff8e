"""What `vidcli predict` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidcli import checkpoint as files
from vidcli.console import Terminal
from vidcli.console.predictions import open_writer
from vidcli.console.text import count_noun
from vidcli.data.manifest import VideoItem
from vidcli.devices import choose_device
from vidcli.errors import ConfigError
from vidcli.predict import Predictor
from vidcli.predict.inputs import collect_items, parse_shard, read_list, shard_of_launcher
from vidcli.predict.parquet import ParquetResults, import_pyarrow
from vidcli.predict.results import FORMAT_OF_SUFFIX, CsvResults, JsonResults, ResultsFile, Source


@dataclass(frozen=True)
class PredictOptions:
    """What the command line of `vidcli predict` says.

    Attributes:
        form: table, json, csv or parquet; None goes by the name of `output`.
        from_list: file that names videos, `-` for standard input.
        shard: such as 1/4; None goes by the launcher's environment.
        threshold: the probability below which a video is unknown.
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


def predict(terminal: Terminal, options: PredictOptions) -> int:
    """Run `vidcli predict`; return the exit code: 1 if a video failed."""
    form = _choose_form(options)
    items, output = _share(terminal, options, _named_items(options))
    device = choose_device(options.device)
    model_file = files.find_model(options.model)
    predictor = Predictor.load(model_file, device)
    if options.threshold is not None and predictor.calibration.thresholds is not None:
        raise ConfigError(
            "--threshold: this is a multi-label model, whose classes have thresholds of their own; a video "
            "that reaches none of them has no label"
        )
    predictor.threshold = options.threshold
    terminal.detail(f"model: {model_file}")
    if output is None or form == "table":
        return _predict_streaming(terminal, predictor, items, form, options.top_k, output)
    return _predict_resuming(terminal, predictor, items, form, options.top_k, output)


def _choose_form(options: PredictOptions) -> str:
    by_name = FORMAT_OF_SUFFIX.get(options.output.suffix.lower(), "table") if options.output else "table"
    form = options.form or by_name
    if form == "parquet":
        if options.output is None:
            raise ConfigError("--format parquet: is written to a file; name it with --output")
        import_pyarrow()
    return form


def _named_items(options: PredictOptions) -> list[VideoItem]:
    listed = [] if options.from_list is None else read_list(options.from_list)
    return collect_items([*options.videos, *listed])


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
    output: Path | None,
) -> int:
    """Predict to stdout, or a table to a file, each video as it is ready."""
    names = [str(item.path) for item in items]
    num_failed = 0
    with (
        open_writer(terminal, form, top_k, output, names, predictor.class_names) as writer,
        # Results that scroll by in a terminal are their own progress.
        terminal.counting("predicting", len(items), hide=writer.is_on_terminal) as show,
    ):
        for done, prediction in enumerate(predictor.predict_many(items), start=1):
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
        with terminal.counting("predicting", len(items)) as show:
            for done, prediction in enumerate(predictor.predict_many(remaining), start=num_there + 1):
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
    source = Source(predictor.identity(), f"top-k={top_k}{threshold}")
    if form == "csv":
        return CsvResults(output, top_k, source, len(predictor.class_names))
    return (ParquetResults if form == "parquet" else JsonResults)(output, top_k, source)
