"""Signature of `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DeviceOption, OutOption, SetOption
from vidcli.cli.settings_hint import CommandWithSettings


@app.command(cls=CommandWithSettings)
def demo(
    ctx: typer.Context,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Leave the videos in this folder.")] = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    assignments: SetOption = None,
    count: Annotated[int, typer.Option(min=1, help="Training videos a class.")] = 240,
    size: Annotated[int, typer.Option(min=32, max=512, help="Height and width of the videos, even.")] = 64,
    length: Annotated[int, typer.Option(min=2, max=1000, help="Frames a video.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the videos.")] = 0,
) -> None:
    """Make motion videos, train on them, evaluate and predict: the main job in minutes."""
    from vidcli.commands import motion

    motion.demo(open_terminal(ctx), keep, out, device, assignments or [], count, size, length, seed)
