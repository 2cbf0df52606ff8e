"""Signatures of `models` and `settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.completion import complete_model

_models = typer.Typer(invoke_without_command=True, help="List backbones, heads and published models.")
app.add_typer(_models, name="models")


@_models.callback()
def models(ctx: typer.Context) -> None:
    """List every backbone and head with its size and cost."""
    if ctx.invoked_subcommand is None:
        from vidcli.commands import listing

        listing.list_models(open_terminal(ctx))


@_models.command()
def show(
    ctx: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(help="Run directory, model file or exported model.", autocompletion=complete_model),
    ],
) -> None:
    """Print all that a model file holds, as JSON: weights by name and shape, and the rest whole."""
    from vidcli.commands import listing

    listing.show_model(model)


@app.command()
def settings(
    ctx: typer.Context,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]...",
            help="Only what has all of these in its name or meaning.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List every setting with its default, range and meaning, and the built-in recipes."""
    from vidcli.commands import listing

    listing.list_settings(open_terminal(ctx), patterns or [])
