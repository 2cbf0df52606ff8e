"""Signature of `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import ConfigOption, OverwriteOption, ReportFormat, SetOption
from vidcli.cli.settings_hint import CommandWithSettings


@app.command(cls=CommandWithSettings)
def check(
    ctx: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder or manifest, as for train.")],
    config: ConfigOption = None,
    assignments: SetOption = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to write.")] = ReportFormat.table,
    quarantine: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Manifest to write, without the videos that have errors."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw videos that may be copies side by side, a PNG a pair."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Decode every video of a data set and tell what is wrong with it."""
    from vidcli.commands import check as doctor

    terminal = open_terminal(ctx)
    raise typer.Exit(
        doctor.check(terminal, data, config, assignments or [], form.value, quarantine, overwrite, pictures)
    )
