"""`vidcli report`: all there is to know of a run, in one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.completion import complete_model
from vidcli.commands.options import DataRootOption, DeviceOption, OverwriteOption, SplitOption, path
from vidcli.errors import CheckpointError, ConfigError

REPORT_FILE = "report.html"


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
        Path | None, typer.Option(help="File to write; without it, report.html in the run.", parser=path)
    ] = None,
    data_root: DataRootOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Write all there is to know of a run into one HTML file that needs no network."""
    from vidcli.artifacts.model_file import load_checkpoint
    from vidcli.artifacts.run_folder import SPLITS_FILE, describe_unfinished, files_of_model, find_model
    from vidcli.commands.eval import evaluate_own_split
    from vidcli.data.items import SPLITS
    from vidcli.data.relocation import load_run_items
    from vidcli.report.gather import gather_report, read_evaluation
    from vidcli.report.page import render_report

    terminal = open_terminal(ctx)
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: expected train, val, test or all")
    model_file = find_model(run)
    splits = model_file.parent / SPLITS_FILE
    checkpoint = load_checkpoint(model_file)
    if (unfinished := describe_unfinished(model_file, checkpoint.config)) is not None:
        terminal.warn(unfinished)
    if not splits.is_file():
        raise CheckpointError(f"{splits.parent}: holds no {SPLITS_FILE}; expected the directory of a run")
    items = load_run_items(splits, data_root)
    inputs = [*files_of_model(model_file), *(item.path for item in items)]
    write = _page_to_write(splits.parent, out, inputs, overwrite)
    evaluation = read_evaluation(model_file, split)
    if evaluation is None:
        terminal.say(f"{model_file}: no evaluation of it on {split} yet; making one")
        evaluation = evaluate_own_split(terminal, model_file, split, device)
    with terminal.counting("frames", past="read frames of") as show:
        page = gather_report(model_file, checkpoint, items, split, evaluation, show)
    write(render_report(page))
    terminal.say(f"wrote {out or splits.parent / REPORT_FILE}: open it in a browser")
    raise typer.Exit(1 if evaluation["num_failed"] else 0)


def _page_to_write(
    run: Path, out: Path | None, inputs: Sequence[Path], overwrite: bool
) -> Callable[[str], None]:
    """Return what writes the page, after a look at what is in its place.

    Raises:
        OutputError: something that must not be replaced.
        WriteError: it cannot be written.
    """
    from vidcli.data.outputs_afar import open_output
    from vidcli.runtime.outputs import OutputFolder

    if out is not None:
        return open_output("--out", out, inputs, overwrite).write_text
    folder = OutputFolder(
        run, "report", (REPORT_FILE,), option="report", inputs=inputs, overwrite=overwrite, is_shared=True
    )
    return lambda text: folder.write_text(REPORT_FILE, text)
