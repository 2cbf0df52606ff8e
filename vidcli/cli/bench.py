"""Signatures of the `bench` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.app import app, open_terminal
from vidcli.cli.options import ConfigOption, DeviceOption, ModelOption, SetOption
from vidcli.cli.settings_hint import CommandWithSettings

_bench = typer.Typer(no_args_is_help=True, help="Measure how fast the parts are, beside the best of others.")
app.add_typer(_bench, name="bench")


@_bench.command("decode")
def bench_decode(
    ctx: typer.Context,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Video files and folders of them; without any, videos made for this, half a gigabyte.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each decoder; medians count.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object a row, the summary last.")] = False,
) -> None:
    """Compare decoding with torchcodec, decord and OpenCV, and check every frame bit for bit."""
    from vidcli.commands import bench

    raise typer.Exit(bench.decode(open_terminal(ctx), videos or [], rounds, as_json))


@_bench.command("train", cls=CommandWithSettings)
def bench_train(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Data to train on, as `train` takes it; without it, the built-in motion videos.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    clips: Annotated[
        int, typer.Option(min=2, help="Training videos an epoch, spread over the classes.")
    ] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Epochs of each part; medians count.")] = 3,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print an object a row, the summary last.")] = False,
) -> None:
    """Measure decoding, loading, model and the whole of training, beside a plain loop."""
    from vidcli.commands import bench

    bench.train(open_terminal(ctx), data, config, assignments or [], clips, rounds, device, as_json)


@_bench.command("infer")
def bench_infer(
    ctx: typer.Context,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="Run directory, model file or exported model; may be given several times. Without it, a "
            "ResNet-18 and a ResNet-50 with random weights, exported for this.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each runtime; medians count.")] = 5,
    compile_too: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Measure torch.compile, which takes a while.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object a row, the summary last.")] = False,
) -> None:
    """Compare torch eager and compiled, ONNX Runtime and OpenVINO, in float and int8, on this CPU."""
    from vidcli.commands import bench

    raise typer.Exit(bench.infer(open_terminal(ctx), models or [], rounds, compile_too, as_json))


@_bench.command("predict")
def bench_predict(
    ctx: typer.Context,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Video files, folders of them and manifests; without any, 200 built-in motion videos.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each phase; medians count.")] = 5,
    device: DeviceOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object a round, the summary last.")
    ] = False,
) -> None:
    """Compare prediction with its two halves: decoding alone and the model alone."""
    from vidcli.commands import bench

    raise typer.Exit(bench.predict(open_terminal(ctx), videos or [], model, rounds, device, as_json))
