"""`vidcli export`: a model for other runtimes, checked against the original."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.options import DataRootOption, ModelOption
from vidcli.errors import ExportError

if TYPE_CHECKING:
    from vidcli.artifacts.model_file import Checkpoint
    from vidcli.console import Terminal
    from vidcli.data.items import VideoItem
    from vidcli.export import ExportOptions


class ExportFormat(str, Enum):
    """What an exported model runs on."""

    onnx = "onnx"
    openvino = "openvino"
    torch_export = "torch-export"


@dataclass(frozen=True)
class ExportPlaces:
    """What the command line of `vidcli export` says of files and folders.

    Attributes:
        model: run directory or model file; None is the usual one.
        data: folder or manifest to compare and calibrate on; None is the run's own data.
        data_root: folder that the run's own data has moved to.
        out: folder to write; None is one in the run.
        overwrite: replace files in it that no export wrote.
    """

    model: Path | None
    data: Path | None
    data_root: Path | None
    out: Path | None
    overwrite: bool


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
    from vidcli.export import ExportOptions

    options = ExportOptions(form.value, int8, dynamic, max_drop)
    run_export(open_terminal(ctx), ExportPlaces(model, data, data_root, out, overwrite), options)


def run_export(terminal: Terminal, places: ExportPlaces, options: ExportOptions) -> None:
    """Export a model and print how it compares with the original."""
    from vidcli.artifacts.model_file import load_checkpoint
    from vidcli.artifacts.run_folder import files_of_model, find_model
    from vidcli.console.export import print_export
    from vidcli.export import export_model

    model_file = find_model(places.model)
    if model_file.is_dir():
        raise ExportError(f"{model_file}: is an exported model already; name the run it came from")
    checkpoint = load_checkpoint(model_file)
    suffix = "-int8" if options.int8 else ""
    folder = places.out or model_file.parent / f"export-{options.form}{suffix}"
    items = _labelled_videos(places, model_file.parent, checkpoint)
    inputs = [*files_of_model(model_file), *([places.data] if places.data is not None else [])]
    report = export_model(checkpoint, items, folder, options, terminal.say, inputs, places.overwrite)
    print_export(terminal, report)


def _labelled_videos(places: ExportPlaces, run: Path, checkpoint: Checkpoint) -> list[VideoItem]:
    """Return the videos to compare and calibrate on, with their splits."""
    from vidcli.artifacts.run_folder import SPLITS_FILE
    from vidcli.data.manifest import load_items
    from vidcli.data.relocation import load_run_items
    from vidcli.data.splits import assign_splits

    settings = checkpoint.config.data
    if places.data is not None:
        return assign_splits(load_items(places.data, settings=settings), settings)
    splits = run / SPLITS_FILE
    if not splits.is_file():
        raise ExportError(
            f"{run}: holds no {SPLITS_FILE}, and an export is compared with its model on real videos; "
            "name some with --data"
        )
    return load_run_items(splits, places.data_root)
