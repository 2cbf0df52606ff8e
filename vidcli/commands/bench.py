"""What each `vidcli bench` command does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vidcli import config as settings
from vidcli.artifacts.run_folder import find_model
from vidcli.bench.decode import bench_decode
from vidcli.bench.infer import bench_infer, make_bench_models
from vidcli.bench.predict import bench_predict
from vidcli.bench.training import bench_config, bench_train, pick_videos
from vidcli.bench.videos import make_bench_videos, make_length_pair
from vidcli.commands.motion import prepare_motion_videos
from vidcli.console import Terminal, print_json
from vidcli.console.bench import (
    describe_decode_row,
    print_decode_bench,
    print_infer_bench,
    print_predict_bench,
    print_train_bench,
)
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.data.caches import open_cache
from vidcli.data.check import check_videos
from vidcli.data.splits import of_split
from vidcli.demo import DEMO_RECIPE
from vidcli.predict import Predictor, collect_videos
from vidcli.predict.inputs import collect_items
from vidcli.runtime.devices import choose_device
from vidcli.runtime.memory import usual_memory
from vidcli.train import plan_items


def decode(terminal: Terminal, videos: list[Path], rounds: int, as_json: bool) -> int:
    """Run `vidcli bench decode`; return the exit code: 1 if a video failed or a frame differed."""
    short_and_long = None
    if not videos:
        terminal.say("no VIDEO given: measuring on videos made for this, which takes minutes at first")
        folder = open_cache("bench")
        videos = make_bench_videos(folder)
        short_and_long = make_length_pair(folder)
    rows = []
    with usual_memory():  # the others come from programs that leave memory to the C library
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
    return 1 if has_failed or summary["exact"] is False else 0


def train(
    terminal: Terminal,
    data: Path | None,
    recipe: str | None,
    assignments: list[str],
    clips: int,
    rounds: int,
    device: str,
    as_json: bool,
) -> None:
    """Run `vidcli bench train`."""
    chosen = choose_device(device)
    recipe = recipe or (DEMO_RECIPE if data is None else None)
    config = bench_config(settings.load_config(recipe, assignments), rounds)
    if data is None:
        terminal.say("no DATA given: training on the built-in motion videos")
        data = prepare_motion_videos(terminal)
    items = plan_items(config, data, lambda event: None)
    videos = pick_videos(of_split(items, "train"), clips)
    with terminal.counting("reading videos", past="read") as show:
        checked = check_videos(videos, config, show)
    for notice in (*checked.notices, *(f"left out: {failure}" for failure in checked.failures)):
        terminal.warn(notice)
    with (
        tempfile.TemporaryDirectory(prefix="vidcli-bench-") as folder,
        terminal.counting("measuring") as show,
    ):
        *rows, summary = bench_train(checked, config, Path(folder), chosen, rounds, show)
    if as_json:
        for row in (*rows, summary):
            print_json(row)
    else:
        print_train_bench(terminal, rows, summary)


def infer(terminal: Terminal, models: list[Path], rounds: int, with_compile: bool, as_json: bool) -> int:
    """Run `vidcli bench infer`; return the exit code: 1 if a model failed."""
    if not models:
        terminal.say("no --model given: measuring random ResNets made for this, which takes minutes at first")
        folder = open_cache("bench-infer")
        models = make_bench_models(folder, ("resnet18", "resnet50"), 224, terminal.say)
    rows = []
    for row in bench_infer(models, rounds, with_compile):
        rows.append(row)
        if as_json:
            print_json(row)
    *measured, summary = rows
    if not as_json:
        print_infer_bench(terminal, measured, summary)
    return 1 if any("error" in row for row in measured) else 0


def predict(
    terminal: Terminal, videos: list[Path], model: Path | None, rounds: int, device: str, as_json: bool
) -> int:
    """Run `vidcli bench predict`; return the exit code: 1 if a video failed."""
    model_file = find_model(model)
    predictor = Predictor.load(model_file, choose_device(device))
    if not videos:
        terminal.say("no VIDEO given: measuring on 200 built-in motion videos")
        videos = [make_motion_data(options=MotionDataOptions(1, 1, 25)) / "test"]
    rows = []
    for row in bench_predict(predictor, collect_items(videos), rounds):
        rows.append(row)
        if as_json:
            print_json(row)
    if not as_json:
        print_predict_bench(terminal, str(model_file), rows[:-1], rows[-1])
    return 1 if rows[-1]["num_failed"] else 0
