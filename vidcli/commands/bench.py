"""`vidcli bench`: how fast the parts are, beside the best of others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.options import (
    CommandWithSettings,
    ConfigOption,
    DeviceOption,
    ModelOption,
    SetOption,
    path,
)

if TYPE_CHECKING:
    from vidcli.config import Config
    from vidcli.console import Terminal
    from vidcli.data.check import CheckedVideos

_bench = typer.Typer()
app.add_typer(
    _bench,
    name="bench",
    no_args_is_help=True,
    help="Measure how fast the parts are, beside the best of others.",
    rich_help_panel=LOOK_INSIDE,
    epilog=examples("vidcli bench decode clip.mp4", "vidcli bench train --json", "vidcli bench infer"),
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print an object a row, the summary last.")]


@_bench.command(
    epilog=examples("vidcli bench decode", "vidcli bench decode videos/ --rounds 3 --json"),
)
def decode(
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
    as_json: JsonOption = False,
) -> None:
    """Compare decoding with torchcodec, decord and OpenCV, and check every frame bit for bit."""
    from vidcli.bench.decode_speed import bench_decode
    from vidcli.bench.sample_videos import make_bench_videos, make_length_pair
    from vidcli.console import print_json
    from vidcli.console.bench_tables import describe_decode_row, print_decode_bench
    from vidcli.data.caches import open_cache
    from vidcli.predict import collect_videos
    from vidcli.runtime.memory import usual_memory

    terminal = open_terminal(ctx)
    short_and_long = None
    if not videos:
        terminal.say("no VIDEO given: measuring on videos made for this, which takes minutes at first")
        folder = open_cache("bench")
        videos = make_bench_videos(folder)
        short_and_long = make_length_pair(folder)
    rows = []
    with usual_memory():  # the other decoders run in programs that leave memory to the C library
        for row in bench_decode(collect_videos(videos), rounds, short_and_long=short_and_long):
            rows.append(row)
            if as_json:
                print_json(row)
            elif "video" in row:
                terminal.say(describe_decode_row(row))
    *measured, summary = rows
    if not as_json:
        print_decode_bench(terminal, measured, summary)
    has_failed = any("error" in row for row in measured)
    raise typer.Exit(1 if has_failed or summary["exact"] is False else 0)


@_bench.command(
    cls=CommandWithSettings,
    epilog=examples("vidcli bench train", "vidcli bench train videos/ --device cuda --clips 256"),
)
def train(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Data to train on, as `train` takes it; without it, the built-in motion videos.",
            show_default=False,
            parser=path,
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    clips: Annotated[
        int, typer.Option(min=2, help="Training videos an epoch, spread over the classes.")
    ] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Epochs of each part; medians count.")] = 3,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure decoding, loading, model and the whole of training, beside a plain loop."""
    from vidcli.bench.train_speed import bench_config, bench_train
    from vidcli.commands.demo import DEMO_RECIPE, prepare_motion_videos
    from vidcli.config import load_config
    from vidcli.console.bench_tables import print_train_bench
    from vidcli.runtime.devices import choose_device

    terminal = open_terminal(ctx)
    chosen = choose_device(device)
    recipe = config or (DEMO_RECIPE if data is None else None)
    settings = bench_config(load_config(recipe, assignments or []), rounds)
    if data is None:
        terminal.say("no DATA given: training on the built-in motion videos")
        data = prepare_motion_videos(terminal)
    checked = _read_videos(terminal, data, settings, clips)
    with (
        tempfile.TemporaryDirectory(prefix="vidcli-bench-") as folder,
        terminal.counting("measuring") as show,
    ):
        rows = bench_train(checked, settings, Path(folder), chosen, rounds, show)
    *measured, summary = _collect(rows, as_json)
    if not as_json:
        print_train_bench(terminal, measured, summary)


def _read_videos(terminal: Terminal, data: Path, config: Config, num_clips: int) -> CheckedVideos:
    """Return training videos spread over the classes, each read once, so that they are in the cache."""
    from vidcli.bench.train_speed import pick_videos
    from vidcli.data.check import check_videos
    from vidcli.data.splits import of_split
    from vidcli.train import plan_items

    items = plan_items(config, data, lambda event: None)
    videos = pick_videos(of_split(items, "train"), num_clips)
    with terminal.counting("reading videos", past="read") as show:
        checked = check_videos(videos, config, show)
    for notice in (*checked.notices, *(f"left out: {failure}" for failure in checked.failures)):
        terminal.warn(notice)
    return checked


@_bench.command(epilog=examples("vidcli bench infer --no-compile", "vidcli bench infer --model runs/mine"))
def infer(
    ctx: typer.Context,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="Run directory, model file or exported model; may be given several times. Without it, "
            "ResNets with random weights, plain ones and one with temporal shift, exported for this.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each runtime; medians count.")] = 5,
    compile_too: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Measure torch.compile, which takes a while.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Compare torch eager and compiled, ONNX Runtime and OpenVINO, in float and int8, on this CPU."""
    from vidcli.bench.infer_speed import NETWORKS, bench_infer, make_bench_models
    from vidcli.console.bench_tables import print_infer_bench
    from vidcli.data.caches import open_cache

    terminal = open_terminal(ctx)
    if not models:
        terminal.say("no --model given: measuring random ResNets made for this, which takes minutes at first")
        models = make_bench_models(open_cache("bench-infer"), NETWORKS, 224, terminal.say)
    *measured, summary = _collect(bench_infer(models, rounds, compile_too), as_json)
    if not as_json:
        print_infer_bench(terminal, measured, summary)
    raise typer.Exit(1 if any("error" in row for row in measured) else 0)


@_bench.command(epilog=examples("vidcli bench predict", "vidcli bench predict videos/ --device cuda"))
def predict(
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
    as_json: JsonOption = False,
) -> None:
    """Compare prediction with its two halves: decoding alone and the model alone."""
    from vidcli.artifacts.run_folder import find_model
    from vidcli.bench.predict_speed import bench_predict
    from vidcli.console.bench_tables import print_predict_bench
    from vidcli.predict import Predictor
    from vidcli.predict.inputs import collect_items
    from vidcli.runtime.devices import choose_device

    terminal = open_terminal(ctx)
    model_file = find_model(model)
    predictor = Predictor.load(model_file, choose_device(device))
    items = collect_items(videos or [_motion_videos(terminal)])
    *measured, summary = _collect(bench_predict(predictor, items, rounds), as_json)
    if not as_json:
        print_predict_bench(terminal, str(model_file), measured, summary)
    raise typer.Exit(1 if summary["num_failed"] else 0)


@_bench.command(epilog=examples("vidcli bench serve", "vidcli bench serve videos/ --clients 50 --json"))
def serve(
    ctx: typer.Context,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Video files and folders of them; without any, 200 built-in motion videos.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Requests at a time.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; medians count.")] = 3,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Load a server, beside prediction without one, and send it broken and too large uploads."""
    from vidcli.artifacts.run_folder import find_model
    from vidcli.bench.serve_speed import bench_serve
    from vidcli.console.bench_tables import print_serve_bench
    from vidcli.predict import Predictor, collect_videos
    from vidcli.runtime.devices import choose_device
    from vidcli.serve import require_extra

    require_extra("vidcli bench serve")
    terminal = open_terminal(ctx)
    model_file = find_model(model)
    predictor = Predictor.load(model_file, choose_device(device))
    found = collect_videos(videos or [_motion_videos(terminal)])
    *measured, summary = _collect(bench_serve(predictor, model_file, found, clients, rounds), as_json)
    if not as_json:
        print_serve_bench(terminal, str(model_file), measured, summary)
    raise typer.Exit(0 if summary["same_bits"] and not summary["num_lost"] + summary["num_failed"] else 1)


@_bench.command(epilog=examples("vidcli bench gpu --json", "vidcli bench gpu --tiny"))
def gpu(
    ctx: typer.Context,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Tiny shapes, as always on a CPU: shows that all of it runs.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Tell whether a GPU waits for videos: CUDA tests, training, prediction, decoding, in 8 minutes."""
    from vidcli.bench.gpu_speed import bench_gpu
    from vidcli.console import print_json
    from vidcli.console.bench_tables import describe_gpu_row, print_gpu_bench
    from vidcli.runtime.devices import choose_device

    terminal = open_terminal(ctx)
    chosen = choose_device(device)
    rows = []
    for row in bench_gpu(chosen, tiny or chosen.type == "cpu"):
        rows.append(row)
        if as_json:
            print_json(row)
        elif "part" in row:
            terminal.say(describe_gpu_row(row))
    *measured, summary = rows
    if not as_json:
        print_gpu_bench(terminal, measured, summary)
    raise typer.Exit(1 if summary["num_failed"] else 0)


@_bench.command(epilog=examples("vidcli bench start", "vidcli bench start clip.mp4 --model export/ --json"))
def start(
    ctx: typer.Context,
    video: Annotated[
        Path | None,
        typer.Argument(
            metavar="[VIDEO]",
            help="A short video file; without one, a built-in motion video.",
            show_default=False,
            parser=path,
        ),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="Run directory, model file or exported model; may be given several times. Without it, the "
            "newest run.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; medians count.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Measure how long predicting one video takes from a cold start, beside importing torch."""
    from vidcli.artifacts.run_folder import find_model
    from vidcli.bench.start_speed import bench_start
    from vidcli.console.bench_tables import print_start_bench

    terminal = open_terminal(ctx)
    named = [*models] if models else [find_model(None)]
    measured_on = video or next(_motion_videos(terminal).rglob("*.mp4"))
    *measured, _ = _collect(bench_start(named, measured_on, rounds), as_json)
    if not as_json:
        print_start_bench(terminal, measured)


def _motion_videos(terminal: Terminal) -> Path:
    from vidcli.data.builtin import MotionDataOptions, make_motion_data

    terminal.say("no VIDEO given: measuring on 200 built-in motion videos")
    return make_motion_data(options=MotionDataOptions(1, 1, 25)) / "test"


def _collect(rows: Iterable[dict[str, Any]], as_json: bool) -> list[dict[str, Any]]:
    """Return all rows; with `as_json` each is printed as soon as it is there."""
    from vidcli.console import print_json

    collected = []
    for row in rows:
        collected.append(row)
        if as_json:
            print_json(row)
    return collected
