"""Signature of `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import DeviceOption, ModelOption, OutputFormat, OverwriteOption


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
    views: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Clips a video, averaged; without it, the model's clip.views."),
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(
            min=1, max=9, help="Windows a clip along its longer side, averaged; default clip.crops."
        ),
    ] = None,
    save_frames: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the frames that the model was shown as PNG.")
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="VIDEO", help="Write the video with labels and bars of confidence drawn in."),
    ] = None,
    overwrite: OverwriteOption = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Tell what each video shows when: segments from its start on.")
    ] = False,
    window: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Timeline: seconds of a window; without it, those of the training clips."
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Timeline: seconds from window to window; without it, a quarter of one."
        ),
    ] = None,
    min_seconds: Annotated[
        float | None, typer.Option(min=0, help="Timeline: shortest segment; without it, a window.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Timeline: draw it into this file.")
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="CAMERA",
            help="Answer live: a camera's number, device or name, or - for a video piped in (MPEG-TS, "
            "Matroska, Y4M).",
        ),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="WxH@FPS[:PIXELS]",
            help="Live: the pipe holds bare pictures of this size, such as 640x480@30:yuv420p; else rgb24.",
        ),
    ] = None,
    keep_state: Annotated[
        bool,
        typer.Option("--keep-state", help="Live: answer of all seen so far, with a one-way recurrent head."),
    ] = False,
) -> None:
    """Classify videos: files, hours of video in a timeline, or a camera live.

    vidcli predict a.mp4 folder/      what each shows
    vidcli predict --timeline a.mp4   what it shows when
    vidcli predict --camera 0         what a camera shows now
    ffmpeg ... -f mpegts - | vidcli predict --camera -
    """
    from vidcli.commands.prediction import PredictOptions
    from vidcli.commands.prediction import predict as run
    from vidcli.commands.timeline import TimelineOptions

    if Path("-") in (videos or []):
        raise typer.BadParameter("-: a piped video is --camera -, piped names are --from-list -")
    if camera is not None:
        elsewhere = (videos or None, from_list, output, shard, views, crops, save_frames, annotate)
        if timeline or overwrite or (*elsewhere, step, min_seconds, picture) != (None,) * 11:
            raise typer.BadParameter(
                "--camera goes with --model, --device, --top-k, --threshold, --format, --window, --raw and "
                "--keep-state alone; its results go to standard output"
            )
        from vidcli.commands.live import LiveOptions, predict_live

        live = LiveOptions(
            camera, raw, window, keep_state, model, device, form.value if form else None, top_k, threshold
        )
        raise typer.Exit(predict_live(open_terminal(ctx), live))
    if raw is not None or keep_state:
        raise typer.BadParameter("--raw and --keep-state belong to --camera")
    if not videos and from_list is None:
        raise typer.BadParameter("name videos, folders or manifests, or give --from-list FILE")
    if not timeline and (window, step, min_seconds, picture) != (None,) * 4:
        raise typer.BadParameter(
            "--window, --step, --min-seconds and --picture belong to --timeline, --window to --camera too"
        )
    if timeline and (shard, views, crops, save_frames) != (None,) * 4:
        raise typer.BadParameter("--shard, --views, --crops and --save-frames do not go with --timeline")
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
        views=views,
        crops=crops,
        save_frames=save_frames,
        annotate=annotate,
        overwrite=overwrite,
        timeline=TimelineOptions(window, step, min_seconds, picture) if timeline else None,
    )
    raise typer.Exit(run(open_terminal(ctx), options))
