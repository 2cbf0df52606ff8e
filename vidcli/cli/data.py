"""Signatures of `check` and `cache`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import ConfigOption, OverwriteOption, ReportFormat, SetOption
from vidcli.cli.settings_hint import CommandWithSettings


class CacheKind(str, Enum):
    """What a cache folder holds; see `vidcli.data.caches.CACHE_KINDS`."""

    frames = "frames"
    features = "features"
    bench = "bench"
    motion = "motion"


@app.command(cls=CommandWithSettings)
def check(
    ctx: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder or manifest, as for train.")],
    config: ConfigOption = None,
    assignments: SetOption = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to write.")] = ReportFormat.table,
    quarantine: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Manifest to write, without the videos that have errors."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw videos that may be copies side by side, a PNG a pair."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Decode every video of a data set and tell what is wrong with it."""
    from vidcli.commands import check as doctor

    terminal = open_terminal(ctx)
    raise typer.Exit(
        doctor.check(terminal, data, config, assignments or [], form.value, quarantine, overwrite, pictures)
    )


@app.command()
def cache(
    ctx: typer.Context,
    kinds: Annotated[
        list[CacheKind] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="Only these: frames (decoded videos), features (outputs of frozen backbones), bench (videos "
            "and models of vidcli bench), motion (built-in videos).",
            show_default=False,
        ),
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete these files. All can be made again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a folder.")] = False,
) -> None:
    """Show the files that vidcli keeps for later runs: where they are and how large, or delete them."""
    from vidcli.commands.cache import cache as run_cache

    run_cache(open_terminal(ctx), [kind.value for kind in kinds or []], clear, as_json)
