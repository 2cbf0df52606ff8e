"""What `vidcli export` does."""

from __future__ import annotations

from pathlib import Path

from vidcli.artifacts.model_file import Checkpoint, load_checkpoint
from vidcli.artifacts.run_folder import SPLITS_FILE, files_of_model, find_model
from vidcli.console import Terminal
from vidcli.console.export import print_export
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.data.relocation import load_run_items
from vidcli.data.splits import assign_splits
from vidcli.errors import ExportError
from vidcli.export import ExportOptions, export_model


def export(
    terminal: Terminal,
    model: Path | None,
    data: Path | None,
    data_root: Path | None,
    out: Path | None,
    options: ExportOptions,
    overwrite: bool,
) -> None:
    """Run `vidcli export`."""
    model_file = find_model(model)
    if model_file.is_dir():
        raise ExportError(f"{model_file}: is an exported model already; name the run it came from")
    checkpoint = load_checkpoint(model_file)
    suffix = "-int8" if options.int8 else ""
    folder = out or model_file.parent / f"export-{options.form}{suffix}"
    items = _labelled_videos(data, data_root, model_file.parent, checkpoint)
    inputs = [*files_of_model(model_file), *([data] if data is not None else [])]
    report = export_model(checkpoint, items, folder, options, terminal.say, inputs, overwrite)
    print_export(terminal, report)


def _labelled_videos(
    data: Path | None, data_root: Path | None, run: Path, checkpoint: Checkpoint
) -> list[VideoItem]:
    if data is not None:
        return assign_splits(load_items(data, settings=checkpoint.config.data), checkpoint.config.data)
    splits = run / SPLITS_FILE
    if not splits.is_file():
        raise ExportError(
            f"{run}: holds no {SPLITS_FILE}, and an export is compared with its model on real videos; "
            "name some with --data"
        )
    return load_run_items(splits, data_root)
