"""The built-in motion videos as commands use them, and what `vidcli demo` does."""

from __future__ import annotations

from pathlib import Path

from vidcli import config as settings
from vidcli.commands.outcome import tell_kept
from vidcli.console import Terminal
from vidcli.console.evaluation_tables import print_evaluation
from vidcli.console.training_view import TrainingView, print_demo_end
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.demo import DEMO_RECIPE, run_demo
from vidcli.errors import ConfigError
from vidcli.runtime.devices import choose_device
from vidcli.synthetic import MotionVideoOptions
from vidcli.train import refuse_taken


def demo(
    terminal: Terminal,
    keep: Path | None,
    out: Path | None,
    device: str,
    assignments: list[str],
    count: int,
    size: int,
    length: int,
    seed: int,
) -> None:
    """Run `vidcli demo`."""
    chosen = choose_device(device)
    config = settings.load_config(DEMO_RECIPE, assignments)
    try:
        look = MotionVideoOptions(size=(size, size), num_frames=length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    options = MotionDataOptions(num_train_per_class=count, seed=seed, video=look)
    if out is not None:
        refuse_taken(out)
    terminal.say("making motion videos of eight classes that only time can tell apart")
    data = prepare_motion_videos(terminal, keep, options)
    terminal.say(f"videos: {data}")
    with TrainingView(terminal, config.train.epochs) as view:
        result = run_demo(config, data, out, chosen, view)
    print_evaluation(terminal, result.scores, "test")
    print_demo_end(terminal, result)
    tell_kept(terminal, result.run)


def prepare_motion_videos(
    terminal: Terminal, folder: Path | None = None, options: MotionDataOptions | None = None
) -> Path:
    """Return a folder of motion videos, made first where they are not there yet."""
    with terminal.counting("writing videos", past="wrote") as show:
        return make_motion_data(folder, options or MotionDataOptions(), show)
