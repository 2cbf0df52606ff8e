"""Signature of `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DeviceOption, ModelOption, OutputFormat


@app.command()
def predict(
    ctx: typer.Context,
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Video files and folders of them.")
    ],
    model: ModelOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes shown a video.")] = 5,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to write.")] = OutputFormat.table,
    output: Annotated[Path | None, typer.Option(help="File to write instead of stdout.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Classify videos."""
    from vidcli.commands import prediction

    raise typer.Exit(prediction.predict(open_terminal(ctx), videos, model, top_k, form.value, output, device))
