"""Signature of `export`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DataRootOption, ModelOption


class ExportFormat(str, Enum):
    """What an exported model runs on."""

    onnx = "onnx"
    openvino = "openvino"
    torch_export = "torch-export"


@app.command()
def export(
    ctx: typer.Context,
    model: ModelOption = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="What to run it with.")
    ] = ExportFormat.openvino,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise, calibrated on the run's training videos.")
    ] = False,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Take clips of any number of frames.")] = False,
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="Top-1 accuracy that --int8 may lose on the val split.")
    ] = 0.005,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder or manifest to compare and calibrate on; without it, the run's own data."),
    ] = None,
    data_root: DataRootOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; without it, export-FORMAT in the run.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in the folder that no export wrote.")
    ] = False,
) -> None:
    """Write a model for other runtimes, checked against the original on real clips."""
    from vidcli.commands import export as command
    from vidcli.export import ExportOptions

    options = ExportOptions(form.value, int8, dynamic, max_drop)
    command.export(open_terminal(ctx), model, data, data_root, out, options, overwrite)
