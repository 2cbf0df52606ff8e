"""What `vidcli models` and `vidcli settings` do."""

from __future__ import annotations

import json
from pathlib import Path

from vidcli import checkpoint as files
from vidcli import config as settings
from vidcli.console import Terminal
from vidcli.console.tables import print_rows
from vidcli.exported import read_export
from vidcli.models import describe_backbones, describe_heads, describe_networks


def list_models(terminal: Terminal) -> None:
    """Run `vidcli models`."""
    print_rows(
        terminal,
        "frame backbones (model.backbone), cost of one 224x224 frame",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_frame:.3f}", row.description)
            for row in describe_backbones()
        ],
    )
    print_rows(
        terminal,
        "whole video networks (model.backbone), cost of one clip, top-1 on Kinetics-400 with its published "
        "weights: predict --model kinetics400-NAME; kinetics400 alone is mvit_v2_s",
        ("name", "parameters", "GMACs", "top-1", "what it is"),
        [
            (
                row.name,
                f"{row.parameters:,}",
                f"{row.gmacs_per_clip:.2f}",
                f"{row.kinetics400_top1:.3f}",
                f"{row.description} {row.views} x {row.clip}.",
            )
            for row in describe_networks()
        ],
    )
    print_rows(
        terminal,
        "heads (model.head), cost of one clip with the default settings",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_clip:.6f}", row.description)
            for row in describe_heads()
        ],
    )


def list_settings(terminal: Terminal) -> None:
    """Run `vidcli settings`."""
    print_rows(terminal, "settings (--set KEY=VALUE)", settings.Setting._fields, settings.iter_settings())
    recipes = [(path.stem, settings.recipe_title(path)) for path in settings.builtin_recipes()]
    print_rows(terminal, "recipes (--config NAME)", ("name", "what it is for"), recipes)


def show_model(model: Path) -> None:
    """Run `vidcli models show`."""
    path = files.find_model(model)
    if path.is_dir():
        print(json.dumps(read_export(path), indent=1))
        return
    checkpoint = files.load_checkpoint(path)
    weights = {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in checkpoint.weights.items()
    }
    print(json.dumps({**files.describe_checkpoint(checkpoint), "weights": weights}, indent=1))
