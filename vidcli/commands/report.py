"""`vidcli report`: all there is to know of a run, in one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.completion import complete_model
from vidcli.commands.options import DataRootOption, DeviceOption, OverwriteOption, SplitOption
from vidcli.errors import CheckpointError, ConfigError
from vidcli.runtime.outputs import OutputFile, OutputFolder

if TYPE_CHECKING:
    from vidcli.console import Terminal

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class ReportOptions:
    """What the command line of `vidcli report` says.

    Attributes:
        run: run directory or model file; None is the newest run.
        split: train, val, test or all.
        out: file to write; None is `report.html` in the run.
        data_root: folder that the run's own data has moved to.
        overwrite: replace a file in the way that this command did not write.
        device: as --device says.
    """

    run: Path | None
    split: str
    out: Path | None
    data_root: Path | None
    overwrite: bool
    device: str


@app.command(
    rich_help_panel=LOOK_INSIDE,
    epilog=examples("vidcli report", "vidcli report runs/mine --split val --out mine.html"),
)
def report(
    ctx: typer.Context,
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run directory; without it, the newest under runs/.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    split: SplitOption = "test",
    out: Annotated[
        Path | None, typer.Option(help="File to write; without it, report.html in the run.")
    ] = None,
    data_root: DataRootOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Write all there is to know of a run into one HTML file that needs no network."""
    options = ReportOptions(run, split, out, data_root, overwrite, device)
    raise typer.Exit(run_report(open_terminal(ctx), options))


def run_report(terminal: Terminal, options: ReportOptions) -> int:
    """Write the page; return the exit code: 1 if a video of the evaluation failed."""
    from vidcli.artifacts.model_file import load_checkpoint
    from vidcli.artifacts.run_folder import SPLITS_FILE, describe_unfinished, files_of_model, find_model
    from vidcli.commands.eval import evaluate_own_split
    from vidcli.data.items import SPLITS
    from vidcli.data.relocation import load_run_items
    from vidcli.report.gather import gather_report, read_evaluation
    from vidcli.report.html import render_report

    split = options.split
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: expected train, val, test or all")
    model_file = find_model(options.run)
    splits = model_file.parent / SPLITS_FILE
    checkpoint = load_checkpoint(model_file)
    if (unfinished := describe_unfinished(model_file, checkpoint.config)) is not None:
        terminal.warn(unfinished)
    if not splits.is_file():
        raise CheckpointError(f"{splits.parent}: holds no {SPLITS_FILE}; expected the directory of a run")
    items = load_run_items(splits, options.data_root)
    inputs = [*files_of_model(model_file), *(item.path for item in items)]
    write = _page_to_write(splits.parent, options, inputs)
    evaluation = read_evaluation(model_file, split)
    if evaluation is None:
        terminal.say(f"{model_file}: no evaluation of it on {split} yet; making one")
        evaluation = evaluate_own_split(terminal, model_file, split, options.device)
    with terminal.counting("frames", past="read frames of") as show:
        page = gather_report(model_file, checkpoint, items, split, evaluation, show)
    write(render_report(page))
    terminal.say(f"wrote {options.out or splits.parent / REPORT_FILE}: open it in a browser")
    return 1 if evaluation["num_failed"] else 0


def _page_to_write(run: Path, options: ReportOptions, inputs: Sequence[Path]) -> Callable[[str], None]:
    """Return what writes the page, after a look at what is in its place.

    Raises:
        OutputError: something that must not be replaced.
        WriteError: it cannot be written.
    """
    overwrite = options.overwrite
    if options.out is not None:
        return OutputFile("--out", options.out, inputs, overwrite).write_text
    folder = OutputFolder(
        run, "report", (REPORT_FILE,), option="report", inputs=inputs, overwrite=overwrite, is_shared=True
    )
    return lambda text: folder.write_text(REPORT_FILE, text)
