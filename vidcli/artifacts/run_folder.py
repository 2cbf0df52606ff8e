"""The run directory: the names of its files, which run a command means, and whether a run is finished.

Every file is written whole or not at all.

    RUN/model.safetensors    best epoch            RUN/config.yaml      settings, fully resolved
    RUN/last.safetensors     last epoch            RUN/metrics.jsonl    a row an epoch
    RUN/resume.pt            what goes on training RUN/splits.csv       every video used and its split
    RUN/spans.csv            labelled spans of recordings, where splits.csv holds clips cut from them
    RUN/smoothing.json       how timelines could be smoothed, and how good that was on validation recordings
    RUN/choice.json          what was tried by cross-validation, of a run in closed form
    RUN/unusable.csv         the videos left out and why; missing where there are none
    RUN/environment.json     versions and hardware it was trained with
    RUN/README.md            model card: data, scores, limits, recipe
    RUN/trackers.json        which runs of Weights & Biases and MLflow belong to it
    RUN/run.lock             locked while a process trains; stays where a run was stopped before its end
    RUN/curves.png, samples.png, confusion.png, events.out.tfevents.*    for people to look at
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidcli.config import Config, TrainConfig
from vidcli.data.fetched import fetch_file, fetch_together
from vidcli.errors import CheckpointError, did_you_mean
from vidcli.models.trained_elsewhere import is_published, published_names
from vidcli.runtime.files import read_regular
from vidcli.runtime.plain import is_number
from vidcli.storage.addresses import StoredPath, path_of
from vidcli.storage.connections import StorageError
from vidcli.storage.file_systems import list_afar

MODEL_FILE, LAST_FILE, RESUME_FILE = "model.safetensors", "last.safetensors", "resume.pt"
CONFIG_FILE, METRICS_FILE, SPLITS_FILE = "config.yaml", "metrics.jsonl", "splits.csv"
UNUSABLE_FILE, ENVIRONMENT_FILE = "unusable.csv", "environment.json"
CHOICE_FILE, SPANS_FILE, SMOOTHING_FILE = "choice.json", "spans.csv", "smoothing.json"
CARD_FILE, TRACKERS_FILE = "README.md", "trackers.json"
CURVES_FILE, SAMPLES_FILE, CONFUSION_FILE = "curves.png", "samples.png", "confusion.png"
RUN_FILES = (
    *(MODEL_FILE, LAST_FILE, RESUME_FILE, CONFIG_FILE, METRICS_FILE, SPLITS_FILE, UNUSABLE_FILE),
    *(ENVIRONMENT_FILE, CHOICE_FILE, SPANS_FILE, SMOOTHING_FILE, CARD_FILE, TRACKERS_FILE),
    *(CURVES_FILE, SAMPLES_FILE, CONFUSION_FILE),
)
_FETCHED_FILES = (MODEL_FILE, CONFIG_FILE, METRICS_FILE, SPLITS_FILE, SPANS_FILE, SMOOTHING_FILE)
"""What commands read of a run at an address."""
EVENTS_PREFIX = "events.out.tfevents."
LOCK_FILE = "run.lock"
EXPORT_FILE = "vidcli.json"
RUNS_FOLDER = Path("runs")

_MAX_METRICS_BYTES = 64 * 2**20


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """Return the path that a model is loaded from, for what `--model` names.

    Args:
        model: a run directory, a model file, the folder of an exported model, an address of one of these,
            or the name of a published model. None takes the environment's VIDCLI_MODEL, and without that
            the newest run in `runs/`.

    Returns:
        A model file, the folder of an exported model, or the name of a published model. A file or run of
        the same name comes before a published model.

    Raises:
        CheckpointError: there is no such model.
    """
    model = model or os.environ.get("VIDCLI_MODEL") or None
    if model is None:
        return newest_run(MODEL_FILE) / MODEL_FILE
    path = path_of(model)
    if isinstance(path, StoredPath):
        return _fetch_model(path)
    # Unlike the methods of Path, these raise no error for a name that is too long.
    if is_published(str(path)) and not os.path.isfile(path) and not os.path.isfile(path / MODEL_FILE):
        return path
    if os.path.isdir(path):
        if os.path.isfile(path / MODEL_FILE):
            return path / MODEL_FILE
        if os.path.isfile(path / EXPORT_FILE):
            return path
        raise CheckpointError(f"{path}: holds no {MODEL_FILE}; expected the directory of a finished epoch")
    if not os.path.exists(path):
        raise CheckpointError(
            f"{path}: no such run directory or model file"
            + (f".{near}" if (near := did_you_mean(str(path), published_names())) else "")
        )
    return path


def _fetch_model(path: StoredPath) -> Path:
    """Return the local copy of a model at an address, as `find_model` returns one.

    Raises:
        CheckpointError: there is no model, or it cannot be fetched.
    """
    is_web = path.parts[0] == "https:"  # which lists no folder
    try:
        if path.suffix == Path(MODEL_FILE).suffix:
            return fetch_file(path)
        if is_web:
            return fetch_file(path / MODEL_FILE)
        files = [file for file in list_afar(path) if file.parent == path]
        names = {file.name for file in files}
        if MODEL_FILE in names:
            return fetch_together([file for file in files if file.name in _FETCHED_FILES]) / MODEL_FILE
        if EXPORT_FILE in names:
            return fetch_together(files)
    except StorageError as error:
        raise CheckpointError(f"{path}: {error}") from error
    raise CheckpointError(f"{path}: holds no {MODEL_FILE} and no {EXPORT_FILE}; expected a run or a model")


def files_of_model(model_file: Path) -> list[Path]:
    """Return the files of a model and of its run, none of which an output may replace.

    Args:
        model_file: as `find_model` returns it.
    """
    if model_file.is_dir():
        return [path for path in model_file.iterdir() if path.is_file()]
    run_files = [model_file.with_name(name) for name in RUN_FILES] if model_file.name in RUN_FILES else []
    return [path for path in (model_file, *run_files) if path.exists()]


def newest_run(holding: str) -> Path:
    """Return the run in `runs/` whose file named `holding` was written last.

    For a model file, a finished run comes before newer runs that were stopped.

    Raises:
        CheckpointError: no run has such a file.
    """
    paths = sorted(RUNS_FOLDER.glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime)
    if holding == MODEL_FILE:
        paths = [path for path in paths if not _has_lock(path.parent)] or paths
    if not paths:
        raise CheckpointError(
            f"no run under {RUNS_FOLDER}/ holds a {holding}; train one with `vidcli train`, or name a "
            "model with --model"
        )
    return paths[-1].parent


def read_epochs(run: Path) -> list[dict[str, Any]]:
    """Return the rows of `metrics.jsonl`, one an epoch; none where the file is missing.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in read_regular(path, _MAX_METRICS_BYTES).splitlines()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is no object")
        return rows
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as lines of JSON ({error})") from error


def rank_epoch(number: int, row: Mapping[str, object]) -> tuple[float, float]:
    """Return what epochs are compared by: the best epoch has the largest value, the earliest of equals.

    The accuracy counts, or the mean average precision of a multi-label model, and the smaller loss where
    those are equal. Without validation the last epoch is the best.

    Args:
        number: of the epoch, in the order of training.
        row: its row of `metrics.jsonl`.
    """
    accuracy, precision, loss = (row.get(name) for name in ("val_top1", "val_map", "val_loss"))
    score = accuracy if is_number(accuracy) else precision
    if not (is_number(score) and is_number(loss)):
        return float(number), 0.0
    return float(score), -float(loss)


def is_over(settings: TrainConfig, num_epochs: int, num_stale: int) -> bool:
    """Tell whether a run has no epoch left to train.

    Args:
        settings: the most epochs, and the patience.
        num_epochs: epochs done.
        num_stale: epochs done since the best one.
    """
    return num_epochs >= settings.epochs or (bool(settings.patience) and num_stale >= settings.patience)


def epochs_of_unfinished(run: Path, settings: TrainConfig, rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Return how many epochs are done of a run that is not finished; None of a finished run.

    A run is not finished while its lock file is there, or where it has epochs left and did not stop early.

    Args:
        run: its directory.
        settings: of the run.
        rows: of `read_epochs`.
    """
    if _has_lock(run):
        return len(rows)
    ranks = [rank_epoch(number, row) for number, row in enumerate(rows)]
    num_stale = len(ranks) - 1 - ranks.index(max(ranks)) if ranks else 0
    return len(rows) if rows and not is_over(settings, len(rows), num_stale) else None


def describe_unfinished(model_file: Path, config: Config) -> str | None:
    """Return a sentence on the run of a model, if that run is not finished.

    Args:
        model_file: as `find_model` returns it.
        config: all settings of the model.
    """
    run = model_file.parent
    if model_file.name not in (MODEL_FILE, LAST_FILE):
        return None
    try:
        rows = read_epochs(run)
    except CheckpointError:  # the model can be used without its metrics
        rows = []
    num_epochs = epochs_of_unfinished(run, config.train, rows)
    if num_epochs is None:
        return None
    reached = f"after {num_epochs} of {config.train.epochs} epochs"
    return (
        f"{run}: this run did not finish, and its model is what it was "
        f"{reached if num_epochs else 'before its first epoch ended'}; if it was stopped, go on "
        f"with `vidcli train --resume {run}`"
    )


def _has_lock(run: Path) -> bool:
    return os.path.lexists(run / LOCK_FILE)
