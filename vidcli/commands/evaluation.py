"""What `vidcli eval` does."""

from __future__ import annotations

import json
from pathlib import Path

from vidcli import checkpoint as files
from vidcli import report
from vidcli.console import Terminal, print_json
from vidcli.console.evaluation import print_evaluation
from vidcli.data.manifest import SPLITS, VideoItem, class_names_of, load_items
from vidcli.data.splits import of_split
from vidcli.devices import choose_device
from vidcli.errors import ConfigError, DataError, VidcliError
from vidcli.evaluate import Evaluation, predictions_csv
from vidcli.evaluate import evaluate as score
from vidcli.predict import Prediction, Predictor


def evaluate(
    terminal: Terminal,
    data: Path | None,
    model: Path | None,
    split: str,
    device: str,
    out: Path | None,
    as_json: bool,
) -> int:
    """Run `vidcli eval`; return the exit code: 1 if a video failed."""
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: expected train, val, test or all")
    model_file = files.find_model(model)
    predictor = Predictor.load(model_file, choose_device(device))
    items = _items_to_evaluate(data, model_file.parent, split, predictor)
    terminal.say(f"{model_file}: {len(items)} videos")
    predictions = _predict_all(terminal, predictor, items, "evaluating")
    scores = score(predictions, [item.label for item in items], predictor.class_names)
    if as_json:
        print_json(scores.to_dict())
    else:
        print_evaluation(terminal, scores, split)
    _write_evaluation(terminal, out or model_file.parent / f"eval-{split}", scores, items, predictions)
    for prediction in predictions:
        if prediction.error is not None:
            terminal.fail(f"counted as wrong: {prediction.video}: {prediction.error}")
    return 1 if scores.num_failed else 0


def _predict_all(
    terminal: Terminal, predictor: Predictor, items: list[VideoItem], label: str
) -> list[Prediction]:
    predictions = []
    with terminal.counting(label, len(items)) as show:
        for prediction in predictor.predict_many(items):
            predictions.append(prediction)
            show(len(predictions), len(items))
    return predictions


def _items_to_evaluate(data: Path | None, run: Path, split: str, predictor: Predictor) -> list[VideoItem]:
    class_names = predictor.class_names
    if data is None:
        data = run / files.SPLITS_FILE
        if not data.is_file():
            raise DataError(f"{run}: holds no {files.SPLITS_FILE}; name the DATA to evaluate on")
    # A test video that is gone since counts as wrong, like any other that cannot be decoded.
    items = load_items(data, data.name == files.SPLITS_FILE, predictor.config.data)
    splits = {item.split for item in items} - {None}
    # Data without splits, such as a folder of new videos, is evaluated whole.
    chosen = items if split == "all" or not splits else of_split(items, split)
    if not chosen:
        there = ", ".join(name for name in SPLITS if name in splits)
        raise DataError(f"{data}: has no {split} split; there is {there}. Choose with --split")
    strangers = sorted(set(class_names_of(chosen)) - set(class_names))
    if strangers:
        raise DataError(
            f"{data}: classes that the model was not trained on: {', '.join(strangers)}. It knows "
            f"{', '.join(class_names)}"
        )
    return chosen


def _write_evaluation(
    terminal: Terminal,
    folder: Path,
    scores: Evaluation,
    items: list[VideoItem],
    predictions: list[Prediction],
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VidcliError(f"--out {folder}: cannot be written ({error.strerror})") from error
    files.write_text(folder / "predictions.csv", predictions_csv(items, predictions, scores.class_names))
    files.write_text(folder / "eval.json", json.dumps(scores.to_dict(), indent=1) + "\n")
    files.write_atomically(
        folder / "confusion.png", lambda temporary: report.draw_confusion(scores, temporary)
    )
    terminal.say(f"wrote predictions.csv, eval.json and confusion.png to {folder}")
