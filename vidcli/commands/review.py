"""`vidcli review`: the page where people label, correct and learn what to label next."""

from __future__ import annotations

import secrets
import tempfile
import webbrowser
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import PREPARE, app, examples, open_terminal
from vidcli.commands.completion import complete_model
from vidcli.commands.options import DeviceOption, NamedSplitOption
from vidcli.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from vidcli.console import Terminal
    from vidcli.review.clips import ClipList
    from vidcli.review.desk import Desk, Predictions
    from vidcli.review.run_answers import RunsSeen

_TIMEOUT_SECONDS = 5.0
"""How long the end of the server waits for requests; what was said is on disk before it is answered."""

ReviewDataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="Folder of videos, folder of class folders, manifest or run.", show_default=False
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="CSV",
        help="Manifest to write; without it DATA-labels.csv beside DATA. Its journal is beside it.",
        show_default=False,
    ),
]
ReviewModelOption = Annotated[
    Path | None,
    typer.Option(
        help="Run or model file whose answers are shown until there are labels to learn from.",
        autocompletion=complete_model,
    ),
]
ReviewAgainstOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Another run, or the folder of an evaluation, to compare with DATA (a run) or --model.",
        autocompletion=complete_model,
    ),
]
UnlabelledFoldersOption = Annotated[
    bool, typer.Option("--unlabelled", help="Folders in DATA are no classes.")
]
ReviewPortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
NoBrowserOption = Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")]
WhoOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Noted in the journal with each label.", show_default=False)
]


class ReviewOptions(NamedTuple):
    """What the command line of `vidcli review` says.

    Attributes:
        data: folder, manifest or run.
        output: manifest to write; None is beside `data`.
        model: whose answers are shown first; None shows none.
        against: whose answers stand beside those of `model`, or of `data` if it is a run; None compares none.
        split: whose evaluation is shown; None is test.
        unlabelled: folders are no classes.
        port: where to listen; 0 takes a free one.
        no_browser: open no browser.
        who: noted with each label; None notes nobody.
        device: as --device says.
    """

    data: Path
    output: Path | None
    model: Path | None
    against: Path | None
    split: str | None
    unlabelled: bool
    port: int
    no_browser: bool
    who: str | None
    device: str


@app.command(
    rich_help_panel=PREPARE,
    epilog=examples(
        "vidcli review clips/",
        "vidcli review labelled.csv -o corrected.csv",
        "vidcli review runs/mine --against runs/older",
    ),
)
def review(
    ctx: typer.Context,
    data: ReviewDataArgument,
    output: LabelsOption = None,
    model: ReviewModelOption = None,
    against: ReviewAgainstOption = None,
    split: NamedSplitOption = None,
    unlabelled: UnlabelledFoldersOption = False,
    port: ReviewPortOption = 0,
    no_browser: NoBrowserOption = False,
    who: WhoOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Label and correct clips on a local page, in the order that teaches most.

    Of runs that `vidcli eval` measured, a second page shows the clips behind each number.

    Every label is on disk at once. Ctrl-C ends the page; the same command goes on.
    """
    from vidcli.serve import require_extra

    require_extra("vidcli review")
    options = ReviewOptions(data, output, model, against, split, unlabelled, port, no_browser, who, device)
    _review(open_terminal(ctx), options)


def _review(terminal: Terminal, options: ReviewOptions) -> None:
    """Open the page and answer until a signal asks to end."""
    from vidcli.config import load_config
    from vidcli.console import Verbosity
    from vidcli.doctor import find_pairs
    from vidcli.review.clips import read_clips
    from vidcli.review.desk import Desk
    from vidcli.review.journal import Journal
    from vidcli.review.knowledge import SETTINGS, describe_clips
    from vidcli.review.pages import build_page
    from vidcli.review.playable import MediaShelf
    from vidcli.review.retrain import Training
    from vidcli.runtime.devices import choose_device
    from vidcli.serve.listening import address_of, build_server, listen

    device = choose_device(options.device)
    clips = read_clips(options.data, options.unlabelled, terminal.warn)
    runs = _see_runs(terminal, options, clips)
    manifest = options.output or _usual_manifest(options.data)
    if manifest.suffix.lower() != ".csv":
        raise ConfigError(f"-o {manifest}: expected a file that ends in .csv")
    arguments = [f"--device={options.device}", *(f"--set={text}" for text in SETTINGS)]
    with (
        listen("127.0.0.1", options.port) as listener,
        tempfile.TemporaryDirectory(prefix="vidcli-review-") as folder,
        closing(Journal(clips, manifest, options.who)) as journal,
        closing(
            Desk(
                clips,
                journal,
                MediaShelf(Path(folder)),
                lambda desk: Training(manifest, Path("runs"), arguments, desk.wake),
            )
        ) as desk,
    ):
        desk.begin(
            partial(describe_clips, clips.items, device, terminal.warn),
            None if options.model is None else partial(_predict, desk, options.model, device),
            lambda progress: find_pairs(clips.items, load_config(), manifest.parent, progress),
        )
        token = secrets.token_urlsafe(32)
        address = f"{address_of(listener)}/?token={token}"
        # Nothing else tells the address, so --quiet does not count.
        loud = replace(terminal, verbosity=max(terminal.verbosity, Verbosity.NORMAL))
        terminal.say(f"{len(clips.items)} clips; labels go to {manifest}; Ctrl-C ends")
        loud.say(address)
        if not options.no_browser:
            webbrowser.open(address)
        first = "/" if options.against is None else "/runs"
        page = build_page(desk, token, listener.getsockname()[1], runs, first)
        build_server(page, _TIMEOUT_SECONDS).run([listener])  # ends by raising the signal that asked for it


def _see_runs(terminal: Terminal, options: ReviewOptions, clips: ClipList) -> RunsSeen | None:
    """Return what the runs answered that the command line names; None where there is none.

    Raises:
        ConfigError: there is nothing to compare `--against` with.
        DataError: a run of a comparison was not evaluated.
    """
    from vidcli.artifacts.run_folder import MODEL_FILE
    from vidcli.review.run_answers import find_answers, see_runs

    is_run = (options.data / MODEL_FILE).is_file()
    own = options.model or (options.data if is_run else None)
    if own is None:
        if options.against is not None:
            raise ConfigError(
                f"--against {options.against}: {options.data} is no run; name the first one with --model"
            )
        return None
    named = [own] if options.against is None else [own, options.against]
    split = options.split or "test"
    tables = []
    for run in named:
        table = find_answers(run, options.data, split, or_own=is_run or len(named) > 1)
        if table is not None:
            tables.append((str(run), table))
        elif options.against is not None or options.split is not None:
            data = "" if is_run else f" {options.data}"
            part = "" if options.split is None else f" --split {split}"
            way_on = f"vidcli eval{data} --model {run}{part}"
            raise DataError(f"{run}: holds no evaluation of these videos ({split}); run `{way_on}`")
    return see_runs(clips, tables, terminal.warn) if tables else None


def _usual_manifest(data: Path) -> Path:
    place = data.absolute()
    return place.parent / f"{place.name if place.is_dir() else place.stem}-labels.csv"


def _predict(desk: Desk, model: Path, device: torch.device, predictions: Predictions) -> None:
    """Let a trained model say what the clips are, one after the other."""
    from vidcli.artifacts.run_folder import find_model
    from vidcli.predict import Predictor

    predictor = Predictor.load(find_model(model), device)
    predictions.class_names = predictor.class_names
    with closing(predictor.predict_many(desk.clips.items)) as answers:
        for position, prediction in enumerate(answers):
            desk.check_open()
            if prediction.probabilities is not None:
                predictions.probabilities[position] = prediction.probabilities
