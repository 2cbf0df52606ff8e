"""Signatures of `models` and `settings`."""

from __future__ import annotations

import typer

from vidcli.cli.app import app, open_terminal


@app.command()
def models(ctx: typer.Context) -> None:
    """List every backbone and head with its size and cost."""
    from vidcli.commands import listing

    listing.list_models(open_terminal(ctx))


@app.command()
def settings(ctx: typer.Context) -> None:
    """List every setting with its default, range and meaning, and the built-in recipes."""
    from vidcli.commands import listing

    listing.list_settings(open_terminal(ctx))
