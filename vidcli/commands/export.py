"""`vidcli export`: a model for other runtimes, checked against the original."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.options import DataRootOption, ModelOption, path
from vidcli.errors import ExportError

if TYPE_CHECKING:
    from vidcli.artifacts.description import Checkpoint
    from vidcli.data.items import VideoItem


class ExportFormat(str, Enum):
    """What an exported model runs on."""

    onnx = "onnx"
    openvino = "openvino"
    torch_export = "torch-export"


@app.command(
    rich_help_panel=USE,
    epilog=examples(
        "vidcli export", "vidcli export --int8", "vidcli export --model runs/mine --format onnx --dynamic"
    ),
)
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
        typer.Option(
            help="Folder or manifest to compare and calibrate on; without it, the run's own data.",
            parser=path,
        ),
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
    from vidcli.artifacts.model_file import load_checkpoint
    from vidcli.artifacts.run_folder import files_of_model, find_model
    from vidcli.console.model_tables import print_export
    from vidcli.export import ExportOptions, export_model

    terminal = open_terminal(ctx)
    model_file = find_model(model)
    if model_file.is_dir():
        raise ExportError(f"{model_file}: is an exported model already; name the run it came from")
    checkpoint = load_checkpoint(model_file)
    suffix = "-int8" if int8 else ""
    folder = out or model_file.parent / f"export-{form.value}{suffix}"
    items = _labelled_videos(data, data_root, model_file.parent, checkpoint)
    inputs = [*files_of_model(model_file), *([data] if data is not None else [])]
    options = ExportOptions(form.value, int8, dynamic, max_drop)
    report = export_model(checkpoint, items, folder, options, terminal.say, inputs, overwrite)
    print_export(terminal, report)


def _labelled_videos(
    data: Path | None, data_root: Path | None, run: Path, checkpoint: Checkpoint
) -> Sequence[VideoItem]:
    """Return the videos to compare and calibrate on, with their splits."""
    from vidcli.artifacts.run_folder import SPLITS_FILE
    from vidcli.data.manifest import load_items
    from vidcli.data.relocation import load_run_items
    from vidcli.data.splits import assign_splits

    settings = checkpoint.config.data
    if data is not None:
        return assign_splits(load_items(data, settings=settings), settings)
    splits = run / SPLITS_FILE
    if not splits.is_file():
        raise ExportError(
            f"{run}: holds no {SPLITS_FILE}, and an export is compared with its model on real videos; "
            "name some with --data"
        )
    return load_run_items(splits, data_root)
