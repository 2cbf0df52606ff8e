"""What `vidcli train` does."""

from __future__ import annotations

from pathlib import Path

from vidcli import checkpoint as files
from vidcli import config as settings
from vidcli import train as training
from vidcli.commands.motion import prepare_motion_videos
from vidcli.console import Terminal
from vidcli.console.training import TrainingView, print_plan, print_run_summary
from vidcli.demo import DEMO_RECIPE
from vidcli.devices import choose_device, describe_device


def train(
    terminal: Terminal,
    data: Path | None,
    recipe: str | None,
    assignments: list[str],
    out: Path | None,
    device: str,
    dry_run: bool,
) -> None:
    """Run `vidcli train`."""
    chosen = choose_device(device)
    if data is None:
        recipe = recipe or DEMO_RECIPE
    config = settings.load_config(recipe, assignments)
    if data is None:
        terminal.say("no DATA given: training on the built-in motion videos")
        data = prepare_motion_videos(terminal)
    if dry_run:
        plan = training.plan_run(config, data, TrainingView(terminal, config.train.epochs))
        print_plan(terminal, plan, settings.config_to_yaml(plan.config))
        return
    terminal.detail(f"device: {describe_device(str(chosen))}")
    with TrainingView(terminal, config.train.epochs) as view:
        run, rows = training.start_run(config, data, out, chosen, view)
    print_run_summary(terminal, run, rows)


def resume(terminal: Terminal, run: Path | None, device: str) -> None:
    """Run `vidcli train --resume`."""
    chosen = choose_device(device)
    run = run or files.newest_run(files.RESUME_FILE)
    terminal.say(f"going on with {run}")
    with TrainingView(terminal, training.epochs_of_run(run)) as view:
        run, rows = training.resume_run(run, chosen, view)
    print_run_summary(terminal, run, rows)
