"""One fold: an ordinary run that is trained, and its answers to the videos that were held out.

PLACE.csv     the manifest of the run; held-out videos are its test split
PLACE/        the run directory
PLACE.json    the answers, written last: a fold that has them is done
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from vidcli.artifacts.run_folder import EVENTS_PREFIX, LOCK_FILE, MODEL_FILE, RESUME_FILE, RUN_FILES
from vidcli.config import Config
from vidcli.data.manifest import manifest_text
from vidcli.errors import CheckpointError
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.files import read_regular, write_text
from vidcli.runtime.plain import parse_json
from vidcli.studies.folds import Fold
from vidcli.train import Event, Notice, resume_run, start_run

_MAX_BYTES = 2**30
_INTERRUPTED = "interrupted"
_CARD_RECORD = ".vidcli-card.json"


@dataclass(frozen=True)
class FoldStarted:
    """A training begins.

    Attributes:
        what: the recipe, seed and fold in words.
        number: of the training, from 1.
        total: number of all trainings.
        epochs: how many it has at most.
    """

    what: str
    number: int
    total: int
    epochs: int


@dataclass(frozen=True)
class FoldDone:
    """The held-out videos of a fold are answered.

    Attributes:
        what: the recipe, seed and fold in words.
        num_videos: held-out videos.
        top1: share of them that is right, 0 to 1.
        seconds: taken by training and answering, when that was done.
        was_there: an earlier call of the command had done it.
    """

    what: str
    num_videos: int
    top1: float
    seconds: float
    was_there: bool


@dataclass(frozen=True)
class TrialDone:
    """A trial of a search is complete, given up or failed; the text says which, and with what values."""

    text: str


StudyEvent: TypeAlias = Event | FoldStarted | FoldDone | TrialDone


@dataclass(frozen=True)
class FoldAnswers:
    """The answers to the held-out videos of a fold.

    Attributes:
        class_names: the classes that the model knows.
        predictions: one for each held-out video.
        seconds: taken by training and answering.
    """

    class_names: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    seconds: float


def run_fold(
    config: Config,
    fold: Fold,
    place: Path,
    device: torch.device,
    on_event: Callable[[Event], None],
) -> FoldAnswers:
    """Train on a fold and answer its held-out videos, going on where an earlier call stopped.

    Args:
        config: all settings.
        fold: what to train on and what to answer.
        place: the run directory; the manifest and the answers lie beside it.
        device: where to compute.
        on_event: called with each event of the run.

    Raises:
        DataError: the fold cannot be trained on.
        CheckpointError: what lies there cannot be gone on with.
    """
    started = time.monotonic()
    place.parent.mkdir(parents=True, exist_ok=True)
    manifest = place.with_name(f"{place.name}.csv")
    write_text(manifest, manifest_text(fold.manifest_items()))
    _train(config, manifest, place, device, on_event)
    predictor = Predictor.load(place / MODEL_FILE, device)
    predictions = tuple(predictor.predict_many(fold.held_out))
    answers = FoldAnswers(predictor.class_names, predictions, time.monotonic() - started)
    write_text(answers_file(place), json.dumps(_to_plain(answers)) + "\n")
    return answers


def answers_file(place: Path) -> Path:
    """Return the file with the answers of the fold whose run directory is `place`."""
    return place.with_name(f"{place.name}.json")


def load_answers(place: Path, fold: Fold) -> FoldAnswers | None:
    """Return the answers of a fold that is done; None for one that is not.

    Args:
        place: its run directory, which need not be there any more.
        fold: its videos.

    Raises:
        CheckpointError: the file of answers is damaged, or of other videos.
    """
    path = answers_file(place)
    if not path.is_file():
        return None
    try:
        told = parse_json(read_regular(path, _MAX_BYTES).decode())
        if [row["path"] for row in told["answers"]] != [str(item.path) for item in fold.held_out]:
            raise ValueError("its videos are not those that this fold holds out")
        return _from_plain(told, fold)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: cannot be used as the answers of a fold ({error}); remove it to train that fold again"
        ) from error


def forget_run(place: Path) -> None:
    """Remove the run directory of a fold that is done; of what is in it, only what a run writes."""
    if not place.is_dir():
        return
    for path in place.iterdir():
        if path.name in (*RUN_FILES, _CARD_RECORD) or path.name.startswith(EVENTS_PREFIX):
            path.unlink()
    if not any(place.iterdir()):
        place.rmdir()


def _train(
    config: Config, manifest: Path, run: Path, device: torch.device, on_event: Callable[[Event], None]
) -> None:
    """Train a run, or go on with it, unless it is finished."""

    def tell(event: Event) -> None:
        # How to go on with a single run would mislead: the study goes on by itself.
        if not (isinstance(event, Notice) and event.text.startswith(_INTERRUPTED)):
            on_event(event)

    is_stopped = (run / LOCK_FILE).exists()
    if (run / MODEL_FILE).is_file() and not is_stopped:
        return
    if (run / RESUME_FILE).is_file():
        resume_run(run, device, tell)
    else:
        start_run(config, manifest, run, device, tell)


def _to_plain(answers: FoldAnswers) -> dict[str, Any]:
    rows = [
        {
            "path": prediction.video,
            "probabilities": None if prediction.probabilities is None else prediction.probabilities.tolist(),
            "error": prediction.error,
        }
        for prediction in answers.predictions
    ]
    return {"class_names": answers.class_names, "seconds": answers.seconds, "answers": rows}


def _from_plain(told: Any, fold: Fold) -> FoldAnswers:
    names = tuple(str(name) for name in told["class_names"])
    predictions = []
    for row, item in zip(told["answers"], fold.held_out, strict=True):
        values = row["probabilities"]
        if values is not None and len(values) != len(names):
            raise ValueError(f"{len(values)} probabilities for {len(names)} classes")
        predictions.append(
            Prediction(
                str(item.path),
                names,
                None if values is None else np.array(values, dtype=np.float64),
                row["error"],
                start_seconds=item.start_seconds,
                end_seconds=item.end_seconds,
            )
        )
    return FoldAnswers(names, tuple(predictions), float(told["seconds"]))
