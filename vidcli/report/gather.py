"""Gather what a run and its evaluation left on disk, for the page of `vidcli report`."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.run_folder import (
    CHOICE_FILE,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    SPLITS_FILE,
    UNUSABLE_FILE,
    epochs_of_unfinished,
    read_epochs,
)
from vidcli.config import Config, config_to_dict
from vidcli.data.frames import FrameSource
from vidcli.data.items import SPLITS, VideoItem, labels_of
from vidcli.errors import CheckpointError, DataError, VideoError
from vidcli.evaluate.measurement import evaluation_folder
from vidcli.report.page import RunReport
from vidcli.runtime.files import read_regular
from vidcli.runtime.plain import one_line, parse_json
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sheets import read_sheet, unescape_cell
from vidcli.storage.addresses import path_of
from vidcli.transforms import build_sampler

_NUM_FRAMES = 6
_MAX_JSON_BYTES = 64 * 2**20


def gather_report(
    model_file: Path,
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    split: str,
    evaluation: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> RunReport:
    """Return all that the page shows of a run.

    Args:
        model_file: of the run.
        checkpoint: what the model file holds.
        items: the videos of the run, with their splits.
        split: which was evaluated.
        evaluation: what `vidcli eval --json` prints.
        progress: called with the number of videos read and of all that are shown.

    Raises:
        CheckpointError: a file of the run is damaged.
    """
    folder = model_file.parent
    epochs = read_epochs(folder)
    return RunReport(
        run=folder.resolve().name,
        command=shlex.join(
            ["vidcli", "train", str(folder / SPLITS_FILE), "--config", str(folder / CONFIG_FILE)]
        ),
        settings=_settings(checkpoint.config),
        num_parameters=sum(weights.numel() for weights in checkpoint.build().parameters()),
        num_videos=_count_videos(checkpoint, items),
        num_all=Counter(item.split for item in items if item.split is not None),
        num_groups=count_groups(items),
        unusable=read_unusable(folder),
        epochs=epochs,
        best_epoch=_best_epoch(checkpoint),
        split=split,
        evaluation=evaluation,
        frames=_shown_frames(checkpoint.config, evaluation, progress),
        environment=_read_environment(folder),
        trained=_date_of(folder / METRICS_FILE) or _date_of(model_file),
        evaluated=_date_of(_evaluation_file(model_file, split)),
        unfinished=_unfinished(checkpoint.config, epochs, folder),
    )


def read_evaluation(model_file: Path, split: str) -> dict[str, Any] | None:
    """Return what `vidcli eval` wrote for a split; None if it is missing, older, or of other data."""
    path = _evaluation_file(model_file, split)
    if path is None:
        return None
    try:
        if path.stat().st_mtime < model_file.stat().st_mtime:
            return None
        told = json.loads(read_regular(path, _MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    is_whole = isinstance(told, dict) and (
        {"split", "data", "worst", "risk_coverage", "verdict"} <= told.keys()
        or {"split", "data", "worst", "mean_average_precision", "verdict"} <= told.keys()
    )
    return told if is_whole and told["data"] is None and told["split"] == split else None


def _evaluation_file(model_file: Path, split: str) -> Path | None:
    folder = evaluation_folder(model_file, split)
    return None if folder is None else folder / "eval.json"


def _date_of(path: Path | None) -> str | None:
    """Return when a file was last written, in UTC, so that the page is the same in every time zone."""
    try:
        seconds = path.stat().st_mtime if path is not None else None
    except OSError:
        return None
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"


def _unfinished(config: Config, epochs: Sequence[Mapping[str, Any]], run: Path) -> str | None:
    """Return how far a run came that is not finished; None of a finished run."""
    num_epochs = epochs_of_unfinished(run, config.train, epochs)
    if num_epochs is None:
        return None
    return (
        f"{num_epochs} of {config.train.epochs} epochs are done, and the run did not come to its end: all "
        f"scores here are of a model in the making. Go on with: vidcli train --resume {shlex.quote(str(run))}"
    )


def _settings(config: Config) -> list[tuple[str, str, bool]]:
    defaults = config_to_dict(Config())
    return [
        (f"{section}.{name}", _to_text(value), value != defaults[section][name])
        for section, values in config_to_dict(config).items()
        for name, value in values.items()
    ]


def _to_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _count_videos(checkpoint: Checkpoint, items: Sequence[VideoItem]) -> dict[str, dict[str, int]]:
    multi_label = checkpoint.config.data.multi_label
    counts = Counter((name, item.split) for item in items for name in labels_of(item.label, multi_label))
    return {name: {split: counts[(name, split)] for split in SPLITS} for name in checkpoint.class_names}


def count_groups(items: Sequence[VideoItem]) -> dict[str, int]:
    """Return the number of groups in each split; empty where no video names one."""
    groups = {(item.group, item.split) for item in items if item.group is not None}
    return dict(Counter(split for _, split in groups if split is not None))


def read_unusable(folder: Path) -> list[tuple[str, str]]:
    """Return the videos that the training of a run left out, and why.

    Raises:
        CheckpointError: the file that names them is damaged.
    """
    path = folder / UNUSABLE_FILE
    if not path.is_file():
        return []
    rows = read_sheet(path, ("video", "error")).rows
    try:
        return [(unescape_cell(row["video"]), unescape_cell(row["error"])) for _, row in rows]
    except KeyError as error:
        raise CheckpointError(f"{path}: has no column {error}; expected videos and errors") from error


def describe_expectation(folder: Path) -> str:
    """Return a sentence on what cross-validation lets expect of a run's model; nothing where none was made.

    Raises:
        CheckpointError: the file that tells it is damaged.
    """
    path = folder / CHOICE_FILE
    if not path.is_file():
        return ""
    try:
        told = parse_json(read_regular(path, _MAX_JSON_BYTES).decode("utf-8"))
        contender, expected = told.get("contender"), told.get("expected")
        if contender and contender["taken"]:
            scores = f"{contender['top1']:.3f} and a balanced one of {contender['balanced_accuracy']:.3f}"
            return (
                f"Of new videos expect an accuracy of {scores}: so it answered {contender['num_videos']} "
                "training videos while it had not learnt from them."
            )
        if not expected:
            return ""
        low, high = expected["top1_interval"]
        scores = f"{expected['top1']:.3f} (95% interval {low:.3f} to {high:.3f})"
        return (
            f"Of new videos expect an accuracy of {scores} and a balanced one of "
            f"{expected['balanced_accuracy']:.3f}: cross-validated on the training videos, without the luck "
            f"of having been chosen among {expected['num_candidates']}."
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is damaged ({one_line(error)})") from error


def _read_environment(folder: Path) -> dict[str, str]:
    path = folder / ENVIRONMENT_FILE
    if not path.is_file():
        return {}
    try:
        told = parse_json(read_regular(path, _MAX_JSON_BYTES).decode("utf-8"))
        return {str(name): str(value) for name, value in told.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error


def _best_epoch(checkpoint: Checkpoint) -> int | None:
    epoch = checkpoint.metrics.get("epoch")
    scores = (checkpoint.metrics.get("val_top1"), checkpoint.metrics.get("val_map"))
    return None if scores == (None, None) or epoch is None else int(epoch)


def _shown_frames(
    config: Config, evaluation: Mapping[str, Any], progress: Callable[[int, int], None]
) -> dict[tuple[str, float, str | None], list[npt.NDArray[np.uint8]]]:
    """Decode the videos that the page shows: frames of the first view, spread over the clip."""
    rows = {
        (row["video"], row["start_seconds"], row.get("track")): VideoItem(
            path_of(row["video"]),
            row["label"],
            start_seconds=row["start_seconds"],
            end_seconds=row["end_seconds"],
            track=row.get("track"),
        )
        for row in [*evaluation.get("worst", ()), *evaluation.get("most_confused", ())]
    }
    source, sampler = FrameSource(config), replace(build_sampler(config.clip), neighbours=False)
    length = config.clip.length
    chosen = np.unique(np.linspace(0, length - 1, min(length, _NUM_FRAMES)).round().astype(int))

    def load(item: VideoItem) -> list[npt.NDArray[np.uint8]]:
        try:
            frames = source.frames(item, sampler)
        except (VideoError, DataError):
            return []  # gone since it was evaluated, or its boxes
        return [frames[index] for index in chosen]

    workers = num_workers(config.data.workers)
    shown = {}
    loaded = map_ahead(load, rows.values(), workers, ahead=2 * workers)
    for key, frames in zip(rows, loaded, strict=True):
        shown[key] = frames
        progress(len(shown), len(rows))
    return shown
