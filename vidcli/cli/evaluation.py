"""Signature of `eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.completion import complete_model, complete_split
from vidcli.cli.options import DataRootOption, DeviceOption, ModelOption, OverwriteOption


@app.command("eval")
def evaluate(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder or manifest; without it, the data of the run.", show_default=False),
    ] = None,
    model: ModelOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, val, test, or all; without it test.",
            show_default=False,
            autocompletion=complete_split,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Another model to compare with, on the same videos.",
            autocompletion=complete_model,
        ),
    ] = None,
    views_sweep: Annotated[
        bool, typer.Option("--views-sweep", help="Measure accuracy and time for 1 to 10 clips a video, too.")
    ] = False,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions, scores and pictures; without it, eval-SPLIT in the run."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on labelled videos."""
    from vidcli.commands import evaluation

    options = evaluation.EvalOptions(
        data, data_root, model, split, against, views_sweep, device, out, overwrite, as_json
    )
    raise typer.Exit(evaluation.evaluate(open_terminal(ctx), options))
