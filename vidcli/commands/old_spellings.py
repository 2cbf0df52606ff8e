"""`predict --timeline` and `predict --camera`: the spelling of `timeline` and `live` before these existed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.options import path, refuse_pipe, require_videos

if TYPE_CHECKING:
    from vidcli.commands.predict import PredictOptions
    from vidcli.console import Terminal

HiddenFlag = Annotated[bool, typer.Option(hidden=True)]
HiddenSeconds = Annotated[float | None, typer.Option(hidden=True, min=0)]
HiddenWindow = Annotated[float | None, typer.Option(hidden=True, min=0.01)]
HiddenStep = Annotated[float | None, typer.Option(hidden=True, min=0.001)]
HiddenText = Annotated[str | None, typer.Option(hidden=True)]
HiddenPath = Annotated[Path | None, typer.Option(hidden=True, parser=path)]


class OldSpelling(NamedTuple):
    """The options of `predict` that belong to a timeline or a camera; see `timeline` and `live`."""

    timeline: bool
    window: float | None
    step: float | None
    min_seconds: float | None
    picture: Path | None
    camera: str | None
    raw: str | None
    keep_state: bool


def run_old_spelling(terminal: Terminal, options: PredictOptions, old: OldSpelling) -> int | None:
    """Run `timeline` or `live` where the options of `predict` say so; return the exit code, else None.

    Raises:
        typer.BadParameter: options do not go together, or no video is named.
    """
    shared = options.shared
    refuse_pipe(shared.videos)
    of_timeline = (old.step, old.min_seconds, old.picture)
    if old.camera is not None:
        return _run_live(terminal, options, old)
    if old.raw is not None or old.keep_state:
        raise typer.BadParameter("--raw and --keep-state belong to `vidcli live`")
    require_videos(shared)
    if not old.timeline:
        if (old.window, *of_timeline) != (None,) * 4:
            raise typer.BadParameter(
                "--window, --step, --min-seconds and --picture belong to `vidcli timeline`, --window to "
                "`vidcli live` too"
            )
        return None
    if (shared.shard, options.views, options.crops, options.save_frames, options.engine) != (None,) * 5:
        raise typer.BadParameter(
            "--shard, --views, --crops, --save-frames and --engine do not go with --timeline"
        )
    from vidcli.commands.timeline import TimelineOptions, run_timeline

    return run_timeline(terminal, TimelineOptions(shared, old.window, *of_timeline, bouts=None))


def _run_live(terminal: Terminal, options: PredictOptions, old: OldSpelling) -> int:
    from vidcli.commands.live import LiveOptions, run_live

    shared = options.shared
    others = (
        *(shared.videos or None, shared.from_list, shared.output, shared.shard, shared.annotate),
        *(options.views, options.crops, options.save_frames, options.engine),
        *(old.step, old.min_seconds, old.picture),
    )
    if old.timeline or shared.overwrite or any(value is not None for value in others):
        raise typer.BadParameter(
            "--camera goes with --model, --device, --top-k, --threshold, --format, --window, --raw and "
            "--keep-state alone; its results go to standard output"
        )
    assert old.camera is not None
    return run_live(
        terminal,
        LiveOptions(
            camera=old.camera,
            raw=old.raw,
            window_seconds=old.window,
            keeps_state=old.keep_state,
            model=shared.model,
            device=shared.device,
            form=shared.form,
            top_k=options.top_k,
            threshold=shared.threshold,
        ),
    )
