"""Signature of `explain`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DeviceOption, ModelOption, ReportFormat


class MapChoice(str, Enum):
    """How places in a frame are weighed."""

    gradients = "gradients"
    grad_cam = "grad-cam"


@app.command()
def explain(
    ctx: typer.Context,
    video: Annotated[Path, typer.Argument(help="Video file.")],
    model: ModelOption = None,
    label: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class to explain; without it, the predicted one.")
    ] = None,
    maps: Annotated[
        MapChoice, typer.Option(help="Integrated gradients, or Grad-CAM of a frame backbone.")
    ] = MapChoice.gradients,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to write.")] = ReportFormat.table,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the pictures; without it, explain-VIDEO here, or explain-VIDEO-2 and so on."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies in the folder under the same names.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Show which frames of a video, and what in them, an answer rests on."""
    from vidcli.commands import explain as command

    command.explain(open_terminal(ctx), video, model, label, maps.value, form.value, out, device, overwrite)
