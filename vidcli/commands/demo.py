"""`vidcli demo`: the main job from end to end on the built-in motion videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import PREPARE, app, examples, open_terminal
from vidcli.commands.options import CommandWithSettings, DeviceOption, OutOption, SetOption
from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.data.builtin import MotionDataOptions

DEMO_RECIPE = "demo"


@app.command(
    cls=CommandWithSettings,
    rich_help_panel=PREPARE,
    epilog=examples(
        "vidcli demo", "vidcli demo --count 40 --set train.epochs=5", "vidcli demo --keep motion/"
    ),
)
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
    from vidcli.commands.outcome import say_kept
    from vidcli.config import load_config
    from vidcli.console.evaluation_tables import print_evaluation
    from vidcli.console.training_view import TrainingView, print_demo_end
    from vidcli.data.builtin import MotionDataOptions
    from vidcli.data.items import class_names_of
    from vidcli.data.manifest import load_items
    from vidcli.data.splits import of_split
    from vidcli.evaluate import evaluate
    from vidcli.predict import Predictor
    from vidcli.runtime.devices import choose_device
    from vidcli.synthetic import MotionVideoOptions
    from vidcli.train import refuse_taken, start_run

    terminal = open_terminal(ctx)
    chosen = choose_device(device)
    config = load_config(DEMO_RECIPE, assignments or [])
    try:
        look = MotionVideoOptions(size=(size, size), num_frames=length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if out is not None:
        refuse_taken(out)
    terminal.say("making motion videos of eight classes that only time can tell apart")
    of_videos = MotionDataOptions(num_train_per_class=count, seed=seed, video=look)
    data = prepare_motion_videos(terminal, keep, of_videos)
    terminal.say(f"videos: {data}")
    with TrainingView(terminal, config.train.epochs) as view:
        run, _ = start_run(config, data, out, chosen, view)
        items = of_split(load_items(data), "test")
        labels = [item.label for item in items]
        predictor = Predictor.load(run, chosen)
        predictions = list(predictor.predict_many(items))
        shuffled = list(Predictor.load(run, chosen, shuffle_seed=0).predict_many(items))
    names, calibration = predictor.class_names, predictor.calibration
    scores = evaluate(predictions, labels, names, calibration)
    print_evaluation(terminal, scores, "test")
    shuffled_top1 = evaluate(shuffled, labels, names, calibration).top1
    first_of_class = [predictions[labels.index(name)] for name in class_names_of(items)]
    print_demo_end(terminal, run, first_of_class, scores.top1, shuffled_top1)
    say_kept(terminal, run)


def prepare_motion_videos(
    terminal: Terminal, folder: Path | None = None, options: MotionDataOptions | None = None
) -> Path:
    """Return a folder of motion videos, made first where they are not there yet.

    Args:
        terminal: to show progress on.
        folder: to make them in; None is the cache.
        options: their number, size and seed; None is the usual ones.
    """
    from vidcli.data.builtin import MotionDataOptions, make_motion_data

    with terminal.counting("writing videos", past="wrote") as show:
        return make_motion_data(folder, options or MotionDataOptions(), show)
