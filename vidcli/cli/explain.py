"""Signature of `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DeviceOption, ModelOption, ReportFormat


@app.command()
def explain(
    ctx: typer.Context,
    video: Annotated[Path, typer.Argument(help="Video file.")],
    model: ModelOption = None,
    label: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class to explain; without it, the predicted one.")
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to write.")] = ReportFormat.table,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; without it, explain-VIDEO here.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Show which frames of a video, and what in them, an answer rests on."""
    from vidcli.commands import explain as command

    command.explain(open_terminal(ctx), video, model, label, form.value, out, device)
