"""`vidcli models`: what a model can be made of, and what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.completion import complete_model
from vidcli.commands.options import path

if TYPE_CHECKING:
    from vidcli.console import Terminal

_models = typer.Typer()
app.add_typer(_models, name="models")


@_models.callback(
    invoke_without_command=True,
    rich_help_panel=LOOK_INSIDE,
    help="List backbones, heads and published models, each with its size and cost.",
    epilog=examples("vidcli models", "vidcli models show runs/mine"),
)
def models(ctx: typer.Context) -> None:
    """List every backbone, head and published model, unless a command follows."""
    if ctx.invoked_subcommand is None:
        list_models(open_terminal(ctx))


@_models.command(epilog=examples("vidcli models show runs/mine", "vidcli models show model.safetensors"))
def show(
    model: Annotated[
        Path,
        typer.Argument(
            help="Run directory, model file or exported model.", autocompletion=complete_model, parser=path
        ),
    ],
) -> None:
    """Print all that a model file holds, as JSON: weights by name and shape, and the rest whole."""
    show_model(model)


def list_models(terminal: Terminal) -> None:
    """Print every backbone and head with its size and cost."""
    from vidcli.console.tables import print_rows
    from vidcli.models import describe_backbones, describe_encoders, describe_heads, describe_networks

    print_rows(
        terminal,
        "frame backbones (model.backbone), cost of one 224x224 frame; timm:NAME takes one of timm's as well",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_frame:.3f}", row.description)
            for row in describe_backbones()
        ],
    )
    print_rows(
        terminal,
        "encoders of transformers (model.backbone=hf:ORG/NAME or hf:FOLDER), by the model_type of their "
        "config.json; needs the extra hf",
        ("model_type", "takes", "what it is"),
        describe_encoders(),
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


def show_model(model: Path) -> None:
    """Print what a run directory, model file or exported model holds."""
    from vidcli.artifacts.description import describe_checkpoint
    from vidcli.artifacts.exported import read_export
    from vidcli.artifacts.model_file import load_checkpoint
    from vidcli.artifacts.run_folder import find_model

    path = find_model(model)
    if path.is_dir():
        print(json.dumps(_shortened(read_export(path)), indent=1))
        return
    checkpoint = load_checkpoint(path)
    weights = {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in checkpoint.weights.items()
    }
    print(json.dumps({**_shortened(describe_checkpoint(checkpoint)), "weights": weights}, indent=1))


def _shortened(about: dict[str, Any]) -> dict[str, Any]:
    """Return a description without the weights of a network over time, which nobody reads."""
    rules = about.get("timeline") or {}
    if rules.get("temporal") is None:
        return about
    temporal = rules["temporal"] | {"weights": f"{len(rules['temporal']['weights'])} characters"}
    return about | {"timeline": rules | {"temporal": temporal}}
