"""Signature of `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.completion import complete_model
from vidcli.cli.options import DataRootOption, DeviceOption, OverwriteOption, SplitOption


@app.command()
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
    from vidcli.commands import report as command

    raise typer.Exit(command.report(open_terminal(ctx), run, split, out, device, data_root, overwrite))
