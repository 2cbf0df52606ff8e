"""`vidcli eval`: how good a model is on labelled videos."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.completion import complete_model
from vidcli.commands.evaluation_files import write_evaluation
from vidcli.commands.options import (
    BoxesOption,
    DataRootOption,
    DeviceOption,
    ModelOption,
    NamedSplitOption,
    OverwriteOption,
    WindowOption,
    path,
)
from vidcli.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from vidcli.console import Terminal
    from vidcli.data.items import VideoItem
    from vidcli.evaluate.measurement import LabelledVideos, Measurement
    from vidcli.evaluate.views import ViewsRow
    from vidcli.predict import Prediction, Predictor
    from vidcli.runtime.outputs import OutputFolder
    from vidcli.runtime.processes import Group

_USUAL_SPLIT = "test"
_OUTPUT_FILES = ("predictions.csv", "eval.json", "confusion.png", "reliability.png")

DataArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Folder, manifest or shards; without it, the data of the run.", show_default=False, parser=path
    ),
]
AgainstOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        help="Another model to compare with, on the same videos.",
        autocompletion=complete_model,
    ),
]
ViewsSweepOption = Annotated[
    bool, typer.Option("--views-sweep", help="Measure accuracy and time for 1 to 10 clips a video, too.")
]
TimelineOption = Annotated[
    bool,
    typer.Option("--timeline", help="Follow whole recordings and compare with the spans labelled in them."),
]
OutFolderOption = Annotated[
    Path | None,
    typer.Option(help="Folder for predictions, scores and pictures; without it, eval-SPLIT in the run."),
]


class EvalOptions(NamedTuple):
    """What the command line of `vidcli eval` says.

    Attributes:
        data: folder or manifest; None is the run's own data.
        data_root: where the run's own data is now, if it moved.
        model: run directory, model file or exported model; None is the usual one.
        split: train, val, test or all; None is test, or all of data that has no splits.
        against: another model to compare with.
        views_sweep: measure 1 to 10 clips a video, too.
        timeline: follow whole recordings, of which the rows are labelled spans.
        window: seconds of a window of a timeline; None is that of the training clips.
        device: as --device says.
        out: folder to write; None is one in the run.
        overwrite: replace files in it that are not of an earlier evaluation of the same.
        as_json: print JSON instead of tables.
        boxes: file or folder with boxes of subjects; None takes those of the model's training.
    """

    data: Path | None
    data_root: Path | None
    model: Path | None
    split: str | None
    against: Path | None
    views_sweep: bool
    timeline: bool
    window: float | None
    device: str
    out: Path | None
    overwrite: bool
    as_json: bool
    boxes: Path | None = None


@app.command(
    "eval",
    rich_help_panel=LOOK_INSIDE,
    epilog=examples(
        "vidcli eval videos/ --model runs/mine",
        "vidcli eval --against runs/older --json",
        "vidcli eval days.csv --timeline",
    ),
)
def evaluate(
    ctx: typer.Context,
    data: DataArgument = None,
    model: ModelOption = None,
    split: NamedSplitOption = None,
    against: AgainstOption = None,
    views_sweep: ViewsSweepOption = False,
    timeline: TimelineOption = False,
    window: WindowOption = None,
    boxes: BoxesOption = None,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    out: OutFolderOption = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on labelled videos."""
    from vidcli.commands.eval_timeline import run_timeline_eval

    options = EvalOptions(
        data,
        data_root,
        model,
        split,
        against,
        views_sweep,
        timeline,
        window,
        device,
        out,
        overwrite,
        as_json,
        boxes,
    )
    if window is not None and not timeline:
        raise ConfigError("--window: is that of a timeline; give --timeline too")
    raise typer.Exit((run_timeline_eval if timeline else run_eval)(open_terminal(ctx), options))


@dataclass(frozen=True)
class _Answers:
    """The answers of a model and of its rival to the same videos; no rival has no answers."""

    videos: LabelledVideos
    predictor: Predictor
    items: Sequence[VideoItem]
    predictions: list[Prediction]
    rival_file: Path | None
    rival_predictions: list[Prediction]


def run_eval(terminal: Terminal, options: EvalOptions) -> int:
    """Evaluate a model; return the exit code: 1 if a video failed."""
    from vidcli.artifacts.run_folder import describe_unfinished, find_model
    from vidcli.commands.peers import join_peers
    from vidcli.data.items import SPLITS
    from vidcli.evaluate.measurement import LabelledVideos
    from vidcli.predict import Predictor
    from vidcli.predict.predictor import with_boxes

    data, split, against = options.data, options.split or _USUAL_SPLIT, options.against
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: expected train, val, test or all")
    if data is not None and options.data_root is not None:
        raise ConfigError("--data-root: tells where the run's own data is now; leave it or DATA out")
    with join_peers(options.device, terminal, "evaluate") as (group, chosen, terminal), ExitStack() as stack:
        model_file = group.from_main(lambda: find_model(options.model))
        predictor = Predictor.load(model_file, chosen)
        if options.boxes is not None:
            predictor = with_boxes(predictor, options.boxes)
        videos = LabelledVideos(model_file, data, options.data_root, split, options.split is not None)
        items = group.from_main(lambda: videos.select(predictor, terminal.warn))
        folder = group.from_main(lambda: _open_folder(videos, items, options.out, options.overwrite))
        stack.enter_context(folder or nullcontext())
        if options.views_sweep:
            check_sweep(predictor, group)
        rival_file = None if against is None else group.from_main(lambda: find_model(against))
        rival = None if rival_file is None else _load_rival(rival_file, chosen, items, group)
        if rival is not None and options.boxes is not None:
            rival = with_boxes(rival, options.boxes)
        if (missing := videos.describe_missing(items)) is not None:
            terminal.warn(missing)
        if (unfinished := describe_unfinished(model_file, predictor.config)) is not None:
            terminal.warn(unfinished)
        if data is not None:
            _warn_of_learnt(terminal, model_file, items)
        terminal.say(f"{model_file}: {len(items)} videos")
        predictions = _predict_all(terminal, predictor, items, "evaluating", group)
        rival_predictions = []
        if rival is not None and rival_file is not None:
            _warn_of_learnt(terminal, rival_file, items)
            rival_predictions = _predict_all(terminal, rival, items, f"evaluating {rival_file}", group)
        answers = _Answers(videos, predictor, items, predictions, rival_file, rival_predictions)
        # The others wait: torchrun stops all when one fails, and a failed video ends with code 1.
        return group.from_main(lambda: _finish(terminal, options, answers, folder, chosen))


def _finish(
    terminal: Terminal,
    options: EvalOptions,
    answers: _Answers,
    folder: OutputFolder | None,
    device: torch.device,
) -> int:
    """Score the answers, write the scores and print them; return the exit code: 1 if a video failed."""
    from vidcli.console import print_json
    from vidcli.console.evaluation_tables import print_comparison, print_views
    from vidcli.evaluate import compare
    from vidcli.evaluate.measurement import measure, right_answers

    items, model_file = answers.items, answers.videos.model_file
    measured = measure(answers.predictor, items, answers.predictions)
    numbers = measured.to_dict(answers.videos)
    comparison = rows = None
    if answers.rival_file is not None:
        right = right_answers(items, answers.predictions)
        comparison = compare(right, right_answers(items, answers.rival_predictions))
        numbers["against"] = {"model": str(answers.rival_file), **comparison.to_dict()}
    if options.views_sweep:
        rows = _sweep_views(terminal, answers, device)
        numbers["views_sweep"] = [row.to_dict() for row in rows]
    try:  # written before it is printed: nobody may be left to read the print
        write_evaluation(terminal, folder, numbers, items, measured)
    finally:
        if options.as_json:
            print_json(numbers)
        else:
            _print(terminal, measured, answers.videos.split)
            if comparison is not None:
                print_comparison(terminal, comparison, str(model_file), str(answers.rival_file))
            if rows is not None:
                print_views(terminal, rows)
    _name_failures(terminal, measured)
    return 1 if measured.scores.num_failed else 0


def evaluate_own_split(terminal: Terminal, model_file: Path, split: str, device: str) -> dict[str, Any]:
    """Evaluate a run on videos of its own and write the scores beside it.

    Args:
        terminal: to show progress on.
        model_file: of the run.
        split: train, val, test or all.
        device: as --device says.

    Returns:
        What `vidcli eval --json` prints.
    """
    from vidcli.evaluate.measurement import LabelledVideos, measure
    from vidcli.predict import Predictor
    from vidcli.runtime.devices import choose_device
    from vidcli.runtime.processes import ALONE

    predictor = Predictor.load(model_file, choose_device(device))
    videos = LabelledVideos(model_file, None, None, split, is_split_named=True)
    items = videos.select(predictor, terminal.warn)
    folder = _open_folder(videos, items, None, overwrite=False)
    if (missing := videos.describe_missing(items)) is not None:
        terminal.warn(missing)
    with folder or nullcontext():
        predictions = _predict_all(terminal, predictor, items, "evaluating", ALONE)
        measured = measure(predictor, items, predictions)
        numbers = measured.to_dict(videos)
        write_evaluation(terminal, folder, numbers, items, measured)
    _name_failures(terminal, measured)
    return numbers


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


def _open_folder(
    videos: LabelledVideos, items: Sequence[VideoItem], out: Path | None, overwrite: bool
) -> OutputFolder | None:
    """Return the folder for an evaluation, after a look at what is in it; None for a published model.

    Raises:
        OutputError: it holds something that must not be replaced.
        WriteError: it cannot be written.
    """
    from vidcli.artifacts.run_folder import files_of_model
    from vidcli.runtime.outputs import OutputFolder

    folder = out or videos.folder
    if folder is None:
        return None
    subject = "" if out is not None else videos.subject
    inputs = [*files_of_model(videos.model_file), *(item.path for item in items)]
    inputs += [] if videos.data is None else [videos.data]
    return OutputFolder(folder, "eval", _OUTPUT_FILES, subject=subject, inputs=inputs, overwrite=overwrite)


def _load_rival(
    model_file: Path, device: torch.device, items: Sequence[VideoItem], group: Group
) -> Predictor:
    """Load the model that the first one is compared with; it must know all classes of the videos."""
    from vidcli.evaluate.measurement import unknown_classes
    from vidcli.predict import Predictor

    rival = Predictor.load(model_file, device)
    if strangers := unknown_classes(rival, items):
        raise group.of_all(
            DataError(
                f"--against {model_file}: was not trained on {', '.join(strangers)}, which occur in these "
                f"videos; a comparison needs two models of the same classes. It knows "
                f"{', '.join(rival.class_names)}"
            )
        )
    return rival


def _warn_of_learnt(terminal: Terminal, model_file: Path, items: Sequence[VideoItem]) -> None:
    from vidcli.evaluate.measurement import describe_learnt

    if (learnt := describe_learnt(model_file, items)) is not None:
        terminal.warn(learnt)


def _predict_all(
    terminal: Terminal, predictor: Predictor, items: Sequence[VideoItem], label: str, group: Group
) -> list[Prediction]:
    """Predict this process's share of the videos, and return what all of them predicted, in order."""
    own = group.share(items)
    predictions: list[Prediction] = []
    with terminal.counting(label, len(own), past="predicted") as show:
        for prediction in predictor.predict_many(own):
            predictions.append(prediction)
            show(len(predictions), len(own))
    return group.gather_shares(predictions)


def _sweep_views(terminal: Terminal, answers: _Answers, device: torch.device) -> list[ViewsRow]:
    from vidcli.artifacts.model_file import load_checkpoint
    from vidcli.evaluate.views import sweep_views

    if answers.videos.split == "test":
        terminal.warn("choosing clip.views by these numbers tunes on the test split; --split val does not")
    rows = []
    with terminal.counting("numbers of views") as show:
        for row in sweep_views(load_checkpoint(answers.videos.model_file), answers.items, device):
            rows.append(row)
            show(len(rows), len(rows))
    return rows


def _print(terminal: Terminal, measured: Measurement, split: str) -> None:
    from vidcli.console import evaluation_tables as console
    from vidcli.evaluate.multilabel import MultiLabelEvaluation

    if isinstance(measured.scores, MultiLabelEvaluation):
        console.print_multi_label(terminal, measured.scores, split)
    else:
        console.print_evaluation(terminal, measured.scores, split)
        console.print_abstention(terminal, measured.scores.risk_coverage)
    if measured.num_missing:
        num_videos = measured.scores.num_videos
        console.print_missing(terminal, measured.num_missing, num_videos, measured.share_right_of_present)
    console.print_details(terminal, measured.details)


def _name_failures(terminal: Terminal, measured: Measurement) -> None:
    for prediction in measured.predictions:
        if prediction.error is not None:
            terminal.fail(f"counted as wrong: {prediction.name}: {prediction.error}")
