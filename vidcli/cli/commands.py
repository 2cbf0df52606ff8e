"""What each command line does: hand arguments to the modules, and results to the console.

Imported only when a command runs, since it brings torch with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vidcli import checkpoint as files
from vidcli import config as settings
from vidcli import console, report
from vidcli import train as training
from vidcli.console import PredictionWriter, Terminal, TrainingView
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.data.manifest import SPLITS, VideoItem, class_names_of, load_items
from vidcli.data.splits import of_split
from vidcli.demo import DEMO_RECIPE, run_demo
from vidcli.devices import choose_device, describe_device
from vidcli.errors import ConfigError, DataError, VidcliError
from vidcli.evaluate import Evaluation, predictions_csv
from vidcli.evaluate import evaluate as score
from vidcli.models import describe_backbones, describe_heads
from vidcli.predict import Prediction, Predictor, collect_videos
from vidcli.synthetic import MotionVideoOptions


def train(
    terminal: Terminal,
    data: Path | None,
    recipe: str | None,
    assignments: list[str],
    out: Path | None,
    device: str,
    dry_run: bool,
) -> None:
    """Run `vidcli train`."""
    chosen = choose_device(device)
    if data is None:
        recipe = recipe or DEMO_RECIPE
    config = settings.load_config(recipe, assignments)
    if data is None:
        terminal.say("no DATA given: training on the built-in motion videos")
        data = _motion_data(terminal, None, MotionDataOptions())
    if dry_run:
        plan = training.plan_run(config, data, TrainingView(terminal, config.train.epochs))
        console.print_plan(terminal, plan, settings.config_to_yaml(config))
        return
    terminal.detail(f"device: {describe_device(str(chosen))}")
    with TrainingView(terminal, config.train.epochs) as view:
        run, rows = training.start_run(config, data, out, chosen, view)
    console.print_run_summary(terminal, run, rows)


def resume(terminal: Terminal, run: Path | None, device: str) -> None:
    """Run `vidcli train --resume`."""
    chosen = choose_device(device)
    run = run or files.newest_run(files.RESUME_FILE)
    terminal.say(f"going on with {run}")
    with TrainingView(terminal, training.epochs_of_run(run)) as view:
        run, rows = training.resume_run(run, chosen, view)
    console.print_run_summary(terminal, run, rows)


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
    items = _items_to_evaluate(data, model_file.parent, split, predictor.class_names)
    terminal.say(f"{model_file}: {len(items)} videos")
    predictions = _predict_all(terminal, predictor, items, "evaluating")
    scores = score(predictions, [item.label for item in items], predictor.class_names)
    if as_json:
        console.print_json(scores.to_dict())
    else:
        console.print_evaluation(terminal, scores, split)
    _write_evaluation(terminal, out or model_file.parent / f"eval-{split}", scores, items, predictions)
    for prediction in predictions:
        if prediction.error is not None:
            terminal.fail(f"counted as wrong: {prediction.video}: {prediction.error}")
    return 1 if scores.num_failed else 0


def predict(
    terminal: Terminal,
    videos: list[Path],
    model: Path | None,
    top_k: int,
    form: str,
    output: Path | None,
    device: str,
) -> int:
    """Run `vidcli predict`; return the exit code: 1 if a video failed."""
    chosen = choose_device(device)
    model_file = files.find_model(model)
    predictor = Predictor.load(model_file, chosen)
    paths = collect_videos(videos)
    terminal.detail(f"model: {model_file}")
    num_failed = 0
    with _opened(output) as stream:
        writer = PredictionWriter(terminal, form, top_k, stream)
        with terminal.counting("predicting", len(paths)) as show:
            for done, prediction in enumerate(predictor.predict_many(paths), start=1):
                writer.write(prediction)
                if prediction.error is not None:
                    num_failed += 1
                    terminal.fail(f"{prediction.video}: {prediction.error}")
                show(done, len(paths))
        writer.close()
    return 1 if num_failed else 0


def demo(
    terminal: Terminal,
    keep: Path | None,
    out: Path | None,
    device: str,
    assignments: list[str],
    count: int,
    size: int,
    length: int,
    seed: int,
) -> None:
    """Run `vidcli demo`."""
    chosen = choose_device(device)
    config = settings.load_config(DEMO_RECIPE, assignments)
    try:
        look = MotionVideoOptions(size=(size, size), num_frames=length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    options = MotionDataOptions(num_train_per_class=count, seed=seed, video=look)
    terminal.say("making motion videos of eight classes that only time can tell apart")
    data = _motion_data(terminal, keep, options)
    terminal.say(f"videos: {data}")
    with TrainingView(terminal, config.train.epochs) as view:
        result = run_demo(config, data, out, chosen, view)
    console.print_evaluation(terminal, result.scores, "test")
    console.print_demo_end(terminal, result)


def list_models(terminal: Terminal) -> None:
    """Run `vidcli models`."""
    console.print_rows(
        terminal,
        "frame backbones (model.backbone), cost of one 224x224 frame",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_frame:.3f}", row.description)
            for row in describe_backbones()
        ],
    )
    console.print_rows(
        terminal,
        "heads (model.head), cost of one clip with the default settings",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_clip:.6f}", row.description)
            for row in describe_heads()
        ],
    )


def list_settings(terminal: Terminal) -> None:
    """Run `vidcli settings`."""
    console.print_rows(
        terminal, "settings (--set KEY=VALUE)", settings.Setting._fields, settings.iter_settings()
    )
    recipes = [(path.stem, settings.recipe_title(path)) for path in settings.builtin_recipes()]
    console.print_rows(terminal, "recipes (--config NAME)", ("name", "what it is for"), recipes)


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO | None]:
    if output is None:
        yield None
        return
    try:
        with open(output, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
    except OSError as error:
        raise VidcliError(f"--output {output}: cannot be written ({error.strerror})") from error


def _motion_data(terminal: Terminal, folder: Path | None, options: MotionDataOptions) -> Path:
    with terminal.counting("writing videos") as show:
        return make_motion_data(folder, options, show)


def _predict_all(
    terminal: Terminal, predictor: Predictor, items: list[VideoItem], label: str
) -> list[Prediction]:
    predictions = []
    with terminal.counting(label, len(items)) as show:
        for prediction in predictor.predict_many(items):
            predictions.append(prediction)
            show(len(predictions), len(items))
    return predictions


def _items_to_evaluate(
    data: Path | None, run: Path, split: str, class_names: tuple[str, ...]
) -> list[VideoItem]:
    if data is None:
        data = run / files.SPLITS_FILE
        if not data.is_file():
            raise DataError(f"{run}: holds no {files.SPLITS_FILE}; name the DATA to evaluate on")
    # A test video that is gone since counts as wrong, like any other that cannot be decoded.
    items = load_items(data, missing_ok=data.name == files.SPLITS_FILE)
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


__all__ = ["demo", "evaluate", "list_models", "list_settings", "predict", "resume", "train"]
