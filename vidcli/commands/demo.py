"""`vidcli demo`: the main job from end to end on generated videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import PREPARE, app, examples, open_terminal
from vidcli.commands.options import CommandWithSettings, DeviceOption, OutOption, SetOption
from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.config import Config
    from vidcli.console import Terminal
    from vidcli.data.builtin import MotionDataOptions

DEMO_RECIPE = "demo"


@app.command(
    cls=CommandWithSettings,
    rich_help_panel=PREPARE,
    epilog=examples(
        "vidcli demo",
        "vidcli demo --keep motion/",
        "vidcli demo --long --recordings 4 --minutes 2",
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
    long: Annotated[
        bool, typer.Option("--long", help="Long recordings with labelled spans, and timelines of them.")
    ] = False,
    recordings: Annotated[
        int, typer.Option(min=3, max=1000, help="With --long, the number of recordings.")
    ] = 10,
    minutes: Annotated[float, typer.Option(min=0.5, help="With --long, the length of a recording.")] = 10,
) -> None:
    """Make motion videos, train on them, evaluate and predict: the main job in minutes."""
    _refuse_idle(ctx, long)
    if long:
        from vidcli.commands.demo_long import LongDemoOptions, run_long_demo

        options = LongDemoOptions(keep, out, device, assignments or [], recordings, minutes, seed)
        raise typer.Exit(run_long_demo(open_terminal(ctx), options))
    from vidcli.config import load_config
    from vidcli.data.builtin import MotionDataOptions
    from vidcli.synthetic import MotionVideoOptions

    config = load_config(DEMO_RECIPE, assignments or [])
    try:
        look = MotionVideoOptions(size=(size, size), num_frames=length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    of_videos = MotionDataOptions(num_train_per_class=count, seed=seed, video=look)
    _run_motion_demo(open_terminal(ctx), config, of_videos, keep, out, device)


def _run_motion_demo(
    terminal: Terminal,
    config: Config,
    of_videos: MotionDataOptions,
    keep: Path | None,
    out: Path | None,
    device: str,
) -> None:
    """Make motion videos, train on them, evaluate and predict.

    Args:
        terminal: to print on.
        config: all settings.
        of_videos: how many videos, and how they look.
        keep: folder for them; None is the cache.
        out: run directory to make; None is one under `runs/`.
        device: as --device says.
    """
    from vidcli.commands.outcome import say_kept
    from vidcli.console.evaluation_tables import print_evaluation
    from vidcli.console.training_view import TrainingView, print_demo_end
    from vidcli.data.items import class_names_of
    from vidcli.data.manifest import load_items
    from vidcli.data.splits import of_split
    from vidcli.evaluate import evaluate
    from vidcli.predict import Predictor
    from vidcli.runtime.devices import choose_device
    from vidcli.train import refuse_taken, start_run

    chosen = choose_device(device)
    if out is not None:
        refuse_taken(out)
    terminal.say("making motion videos of eight classes that only time can tell apart")
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


def _refuse_idle(ctx: typer.Context, long: bool) -> None:
    """Refuse options of the other kind of demo.

    Raises:
        typer.BadParameter: one was given.
    """
    for name in ("count", "size", "length") if long else ("recordings", "minutes"):
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            way_out = "leave it or --long out" if long else "add --long, or leave it out"
            raise typer.BadParameter(f"--{name} {'does not go' if long else 'goes'} with --long; {way_out}")


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
