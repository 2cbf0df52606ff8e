"""What `vidcli eval` does."""

from __future__ import annotations

import json
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidcli import report
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import (
    EXPORT_FILE,
    SPLITS_FILE,
    describe_unfinished,
    files_of_model,
    find_model,
)
from vidcli.commands.peers import join_peers
from vidcli.console import Terminal, print_json
from vidcli.console.evaluation import (
    print_abstention,
    print_comparison,
    print_details,
    print_evaluation,
    print_missing,
    print_multi_label,
    print_views,
)
from vidcli.data.items import SPLITS, VideoItem, class_names_of
from vidcli.data.manifest import load_items, read_data
from vidcli.data.relocation import find_learnt, load_run_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError, DataError
from vidcli.evaluate import Details, Evaluation, compare, find_details, predictions_csv
from vidcli.evaluate import evaluate as score
from vidcli.evaluate.details import is_right
from vidcli.evaluate.multilabel import MultiLabelEvaluation, evaluate_multi_label, targets_of
from vidcli.evaluate.views import ViewsRow, sweep_views
from vidcli.fonts import picture_names
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.devices import choose_device
from vidcli.runtime.outputs import OutputFolder, choose_folder
from vidcli.runtime.processes import ALONE, Group
from vidcli.runtime.threads import num_workers

_USUAL_SPLIT = "test"
_OUTPUT_FILES = ("predictions.csv", "eval.json", "confusion.png", "reliability.png")


@dataclass(frozen=True)
class EvalOptions:
    """What the command line of `vidcli eval` says.

    Attributes:
        data: folder or manifest; None is the run's own data.
        data_root: where the run's own data is now, if it moved.
        split: train, val, test or all; None is test, or all of data that has no splits.
        against: another model to compare with.
        views_sweep: measure 1 to 10 clips a video, too.
        out: folder to write; None is one in the run.
        overwrite: replace files in it that are not of an earlier evaluation of the same.
    """

    data: Path | None
    data_root: Path | None
    model: Path | None
    split: str | None
    against: Path | None
    views_sweep: bool
    device: str
    out: Path | None
    overwrite: bool
    as_json: bool


def evaluate(terminal: Terminal, options: EvalOptions) -> int:
    """Run `vidcli eval`; return the exit code: 1 if a video failed."""
    data, split = options.data, options.split or _USUAL_SPLIT
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: expected train, val, test or all")
    if data is not None and options.data_root is not None:
        raise ConfigError("--data-root: tells where the run's own data is now; leave it or DATA out")
    with join_peers(options.device, terminal, "evaluate") as (group, chosen, terminal), ExitStack() as stack:
        model_file = group.from_main(lambda: find_model(options.model))
        predictor = Predictor.load(model_file, chosen)
        items = group.from_main(
            lambda: _items_to_evaluate(
                terminal, data, options.data_root, model_file, split, predictor, options.split is not None
            )
        )
        folder = group.from_main(lambda: _folder_to_write(options, model_file, items))
        stack.enter_context(folder or nullcontext())
        if options.views_sweep:
            check_sweep(predictor, group)
        rival_file = None if options.against is None else group.from_main(lambda: find_model(options.against))
        rival = None if rival_file is None else _load_rival(rival_file, chosen, items, group)
        _name_missing(terminal, items, data)
        if (unfinished := describe_unfinished(model_file, predictor.config)) is not None:
            terminal.warn(unfinished)
        if data is not None:
            _name_training_videos(terminal, model_file, items)
        terminal.say(f"{model_file}: {len(items)} videos")
        predictions = _predict_all(terminal, predictor, items, "evaluating", group)
        of_rival = []
        if rival is not None and rival_file is not None:
            _name_training_videos(terminal, rival_file, items)
            of_rival = _predict_all(terminal, rival, items, f"evaluating {rival_file}", group)

        def finish() -> int:
            measured = _measure(predictor, items, predictions)
            told = _tell(measured, model_file, data, split)
            comparison = rows = None
            if rival_file is not None:
                comparison = compare(_right(items, predictions), _right(items, of_rival))
                told["against"] = {"model": str(rival_file), **comparison.to_dict()}
            if options.views_sweep:
                rows = _sweep_views(terminal, model_file, items, split, chosen)
                told["views_sweep"] = [row.to_dict() for row in rows]
            try:  # written before it is printed: who reads the print may leave, or be none
                _write_evaluation(terminal, folder, told, items, measured)
            finally:
                if options.as_json:
                    print_json(told)
                else:
                    _print(terminal, measured, split)
                    if comparison is not None:
                        print_comparison(terminal, comparison, str(model_file), str(rival_file))
                    if rows is not None:
                        print_views(terminal, rows)
            _name_failures(terminal, measured)
            return 1 if measured.scores.num_failed else 0

        # The others wait: torchrun stops all when one fails, and a failed video is told as failure.
        return group.from_main(finish)


def check_sweep(predictor: Predictor, group: Group) -> None:
    """Refuse `--views-sweep` where it would measure nothing.

    Raises:
        ConfigError: a multi-label model, or several processes; in the main process.
        PeerError: in the others then.
    """
    if predictor.config.data.multi_label:
        raise group.of_all(
            ConfigError("--views-sweep: measures accuracy, which a multi-label model has none of")
        )
    if group.size > 1:
        raise group.of_all(
            ConfigError("--views-sweep: times one video after the other; run it in one process")
        )


def _print(terminal: Terminal, measured: _Measured, split: str) -> None:
    if isinstance(measured.scores, MultiLabelEvaluation):
        print_multi_label(terminal, measured.scores, split)
    else:
        print_evaluation(terminal, measured.scores, split)
        print_abstention(terminal, measured.scores.risk_coverage)
    if measured.num_missing:
        num_videos = measured.scores.num_videos
        print_missing(terminal, measured.num_missing, num_videos, measured.share_right_of_present)
    print_details(terminal, measured.details)


def evaluate_own_split(terminal: Terminal, model_file: Path, split: str, device: str) -> dict[str, Any]:
    """Evaluate a run on videos of its own and write that beside it; return what --json would print."""
    predictor = Predictor.load(model_file, choose_device(device))
    options = EvalOptions(None, None, model_file, split, None, False, device, None, False, True)
    items = _items_to_evaluate(terminal, None, None, model_file, split, predictor)
    folder = _folder_to_write(options, model_file, items)
    _name_missing(terminal, items, None)
    with folder or nullcontext():
        measured = _measure(predictor, items, _predict_all(terminal, predictor, items, "evaluating", ALONE))
        told = _tell(measured, model_file, None, split)
        _write_evaluation(terminal, folder, told, items, measured)
    _name_failures(terminal, measured)
    return told


def evaluation_folder(model_file: Path, split: str, data: Path | None = None) -> Path | None:
    """Return where the evaluation of a model goes when nothing else is said: into its run, or its export.

    What was measured on other data than the run's own lies in a folder of its own beside it. None where
    the model has no folder: a published one, that was asked for by its name.
    """
    run = _run_of(model_file)
    if run is None:
        return None
    folder = model_file if model_file.is_dir() else run
    if data is None:
        return folder / f"eval-{split}"
    return choose_folder(folder / f"eval-{split}-{data.resolve().stem}", "eval", _subject(data))


def _subject(data: Path | None) -> str:
    return "" if data is None else str(data.resolve())


def _folder_to_write(options: EvalOptions, model_file: Path, items: list[VideoItem]) -> OutputFolder | None:
    """Return the folder for an evaluation, after a look at what is in it.

    Raises:
        OutputError: it holds something that must not be replaced.
        WriteError: it cannot be written.
    """
    folder = options.out or evaluation_folder(model_file, options.split or _USUAL_SPLIT, options.data)
    if folder is None:
        return None
    subject = "" if options.out is not None else _subject(options.data)
    inputs = [*files_of_model(model_file), *(item.path for item in items)]
    inputs += [] if options.data is None else [options.data]
    return OutputFolder(
        folder, "eval", _OUTPUT_FILES, subject=subject, inputs=inputs, overwrite=options.overwrite
    )


def _run_of(model_file: Path) -> Path | None:
    """Return the folder that a model file or an exported model lies in; None for a published model."""
    is_exported = (model_file / EXPORT_FILE).is_file()
    return model_file.parent if is_exported or model_file.is_file() else None


@dataclass(frozen=True)
class _Measured:
    """What a model said of labelled videos, and how good that is.

    Attributes:
        num_missing: videos whose files are not there; they count as wrong in the scores.
        share_right_of_present: share of the other videos whose classes are all right.
    """

    predictions: list[Prediction]
    scores: Evaluation | MultiLabelEvaluation
    details: Details
    num_missing: int
    share_right_of_present: float


def _measure(predictor: Predictor, items: list[VideoItem], predictions: list[Prediction]) -> _Measured:
    scores: Evaluation | MultiLabelEvaluation
    if predictor.config.data.multi_label:
        targets_NK = targets_of(items, predictor.class_names)
        scores = evaluate_multi_label(predictions, targets_NK, predictor.calibration)
    else:
        labels = [item.label for item in items]
        scores = score(predictions, labels, predictor.class_names, predictor.calibration)
    details = find_details(items, predictions, num_workers(predictor.config.data.workers))
    right = [
        is_right
        for item, is_right in zip(items, _right(items, predictions), strict=True)
        if item.path.exists()
    ]
    share_right = sum(right) / len(right) if right else 0.0
    return _Measured(predictions, scores, details, len(items) - len(right), share_right)


def _tell(measured: _Measured, model_file: Path, data: Path | None, split: str) -> dict[str, Any]:
    about: dict[str, Any] = {
        "model": str(model_file),
        "data": None if data is None else str(data),
        "split": split,
    }
    if measured.num_missing:
        about["num_missing"] = measured.num_missing
        about["share_right_of_present"] = measured.share_right_of_present
    return measured.scores.to_dict() | measured.details.to_dict() | about


def _name_failures(terminal: Terminal, measured: _Measured) -> None:
    for prediction in measured.predictions:
        if prediction.error is not None:
            terminal.fail(f"counted as wrong: {prediction.video}: {prediction.error}")


def _predict_all(
    terminal: Terminal, predictor: Predictor, items: list[VideoItem], label: str, group: Group
) -> list[Prediction]:
    """Predict this process's share of the videos, and return what all of them predicted, in order."""
    own = group.share(items)
    predictions: list[Prediction] = []
    with terminal.counting(label, len(own), past="predicted") as show:
        for prediction in predictor.predict_many(own):
            predictions.append(prediction)
            show(len(predictions), len(own))
    return group.gather_shares(predictions)


def _items_to_evaluate(
    terminal: Terminal,
    data: Path | None,
    data_root: Path | None,
    model_file: Path,
    split: str,
    predictor: Predictor,
    is_chosen: bool = True,
) -> list[VideoItem]:
    """Return the videos to evaluate; `is_chosen` says that a person asked for the split."""
    moved = "" if data is not None else ". If the data moved, name its folder with --data-root"
    if data is None:
        if not model_file.exists():
            raise DataError(
                f"--model {model_file}: was published without videos; name the DATA to evaluate on"
            )
        run = model_file.parent
        data = run / SPLITS_FILE
        if not data.is_file():
            raise DataError(f"{run}: holds no {SPLITS_FILE}; name the DATA to evaluate on")
        items = load_run_items(data, data_root)
    else:
        listing = read_data(data, data.name == SPLITS_FILE, predictor.config.data)
        for text in listing.notes:
            terminal.warn(text)
        items = listing.items
    splits = {item.split for item in items} - {None}
    if not splits and is_chosen and split != "all":
        raise ConfigError(
            f"--split {split}: {data} has no splits, so that its videos are one set; leave --split out to "
            "evaluate all of them"
        )
    # Data without splits, such as a folder of new videos, is evaluated whole.
    chosen = items if split == "all" or not splits else of_split(items, split)
    if not chosen:
        there = ", ".join(name for name in SPLITS if name in splits)
        raise DataError(f"{data}: has no {split} split; there is {there}. Choose with --split")
    class_names = predictor.class_names
    strangers = sorted(set(class_names_of(chosen, predictor.config.data.multi_label)) - set(class_names))
    if strangers:
        raise DataError(
            f"{data}: classes that the model was not trained on: {', '.join(strangers)}. It knows "
            f"{', '.join(class_names)}"
        )
    if not any(item.path.exists() for item in chosen):
        raise DataError(
            f"{data}: not one of its {len(chosen)} {split} videos is there, such as {chosen[0].path}; "
            f"nothing was measured{moved}"
        )
    return chosen


def _name_missing(terminal: Terminal, items: list[VideoItem], data: Path | None) -> None:
    """Tell how many videos are not there, before the others are looked at."""
    missing = [item.path for item in items if not item.path.exists()]
    if missing:
        way_on = "" if data is not None else "; if the data moved, name its folder with --data-root"
        terminal.warn(
            f"{len(missing)} of {len(items)} videos are not there and count as wrong, such as "
            f"{missing[0]}{way_on}"
        )


def _load_rival(model_file: Path, device: torch.device, items: list[VideoItem], group: Group) -> Predictor:
    rival = Predictor.load(model_file, device)
    multi_label = rival.config.data.multi_label
    strangers = sorted(set(class_names_of(items, multi_label)) - set(rival.class_names))
    if strangers:
        raise group.of_all(
            DataError(
                f"--against {model_file}: was not trained on {', '.join(strangers)}, which occur in these "
                f"videos; a comparison needs two models of the same classes. It knows "
                f"{', '.join(rival.class_names)}"
            )
        )
    return rival


def _name_training_videos(terminal: Terminal, model_file: Path, items: list[VideoItem]) -> None:
    """Tell where a model is asked about videos that it learnt from, as far as its run says."""
    run = _run_of(model_file)
    if run is None:
        return
    splits = run / SPLITS_FILE
    if not splits.is_file():
        return
    learnt = [item for item in load_items(splits, missing_ok=True) if item.split in ("train", "val")]
    num_learnt = len(find_learnt(items, learnt))
    if num_learnt:
        terminal.warn(
            f"{num_learnt} of these {len(items)} videos are among those that {run} learnt from (train or "
            "val in its splits.csv): its numbers on them are too good. If this is the run's own data that "
            "moved, --data-root DIR in place of DATA evaluates its own split"
        )


def _right(items: list[VideoItem], predictions: list[Prediction]) -> list[bool]:
    return [is_right(item, prediction) for item, prediction in zip(items, predictions, strict=True)]


def _sweep_views(
    terminal: Terminal, model_file: Path, items: list[VideoItem], split: str, device: torch.device
) -> list[ViewsRow]:
    if split == "test":
        terminal.warn("choosing clip.views by these numbers tunes on the test split; --split val does not")
    rows = []
    with terminal.counting("numbers of views") as show:
        for row in sweep_views(load_checkpoint(model_file), items, device):
            rows.append(row)
            show(len(rows), len(rows))
    return rows


def _write_evaluation(
    terminal: Terminal,
    folder: OutputFolder | None,
    told: dict[str, Any],
    items: list[VideoItem],
    measured: _Measured,
) -> None:
    scores, predictions = measured.scores, measured.predictions
    if folder is None:
        terminal.say("nothing written: a published model has no folder; --out DIR keeps all of this")
        return
    folder.write_text("predictions.csv", predictions_csv(items, predictions, scores.class_names))
    folder.write_text("eval.json", json.dumps(told, indent=1) + "\n")
    is_multi_label = isinstance(scores, MultiLabelEvaluation)
    if not isinstance(scores, MultiLabelEvaluation):
        folder.write("confusion.png", lambda path: report.draw_confusion(scores, path))
        if (note := picture_names(scores.class_names).note) is not None:
            terminal.warn(note)
    if (calibration := scores.calibration) is not None:
        folder.write(
            "reliability.png", lambda path: report.draw_reliability(calibration, path, is_multi_label)
        )
    folder.remove_earlier()
    terminal.say(f"wrote predictions.csv, eval.json and pictures to {folder.folder}")
