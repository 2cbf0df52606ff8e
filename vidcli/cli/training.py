"""Signature of `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.completion import complete_score_split
from vidcli.cli.options import ConfigOption, DataRootOption, DeviceOption, OutOption, SetOption
from vidcli.cli.settings_hint import CommandWithSettings


@app.command(cls=CommandWithSettings)
def train(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with one folder a class (also under train/ val/ test/), or a CSV or TSV manifest. "
            "Without it, the built-in motion videos. With --resume: the run to go on with.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run; without DATA, the newest.")
    ] = False,
    data_root: DataRootOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show splits, settings and size; do nothing.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Train every head on the features of the frozen backbone, and tell whether time matters.",
        ),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="With --compare, whom to score: auto (val, or held-out folds of train) or test.",
            autocompletion=complete_score_split,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --compare, print one JSON object.")] = False,
) -> None:
    """Train a classifier on a folder or manifest of videos."""
    from vidcli.commands import compare as comparing
    from vidcli.commands import training

    terminal = open_terminal(ctx)
    if (split is not None or as_json) and not compare:
        raise typer.BadParameter("--split and --json go with --compare")
    if data_root is not None and not resume:
        raise typer.BadParameter("--data-root tells where a run's data went; it goes with --resume")
    if resume:
        if config or assignments or out or dry_run or compare:
            raise typer.BadParameter(
                "--resume takes settings and place from the run: no --config, --set, --out, --dry-run, "
                "--compare"
            )
        training.resume(terminal, data, data_root, device)
    elif compare:
        if dry_run:
            raise typer.BadParameter("--compare and --dry-run do not go together")
        comparing.compare(terminal, data, config, assignments or [], out, device, split or "auto", as_json)
    else:
        training.train(terminal, data, config, assignments or [], out, device, dry_run)
