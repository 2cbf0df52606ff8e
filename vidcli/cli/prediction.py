"""Signature of `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DeviceOption, ModelOption, OutputFormat


@app.command()
def predict(
    ctx: typer.Context,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="VIDEO...",
            help="Video files, folders of them, quoted patterns such as 'day*/*.mp4', and manifests (.csv).",
            show_default=False,
        ),
    ] = None,
    from_list: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File with more of these, one a line; - reads standard input."),
    ] = None,
    model: ModelOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes shown a video.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="P", help="Call a video unknown if no class is at least this probable."
        ),
    ] = None,
    form: Annotated[
        OutputFormat | None,
        typer.Option("--format", help="How to write; without it, by the name of --output, else a table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write instead of stdout; what a run left undone is continued."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Take part I of N; without it, the rank under torchrun."),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Classify videos."""
    from vidcli.commands.prediction import PredictOptions
    from vidcli.commands.prediction import predict as run

    if not videos and from_list is None:
        raise typer.BadParameter("name videos, folders or manifests, or give --from-list FILE")
    options = PredictOptions(
        videos=videos or [],
        model=model,
        top_k=top_k,
        form=form.value if form else None,
        output=output,
        device=device,
        from_list=from_list,
        shard=shard,
        threshold=threshold,
    )
    raise typer.Exit(run(open_terminal(ctx), options))
