"""What `vidcli train` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vidcli import config as settings
from vidcli import train as training
from vidcli.artifacts.run_folder import RESUME_FILE, newest_run
from vidcli.commands.motion import prepare_motion_videos
from vidcli.commands.outcome import tell_outcome
from vidcli.commands.peers import join_peers
from vidcli.console import Terminal
from vidcli.console.training import TrainingView, print_plan
from vidcli.demo import DEMO_RECIPE
from vidcli.runtime.devices import describe_device
from vidcli.runtime.launcher import num_restarts
from vidcli.runtime.processes import Group


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
    with join_peers(device, terminal, "train") as (group, chosen, terminal):
        if data is None:
            recipe = recipe or DEMO_RECIPE
        config = group.from_main(lambda: settings.load_config(recipe, assignments))
        if data is None:
            if out is not None and not dry_run and not num_restarts():
                place = out
                group.from_main(lambda: training.refuse_taken(place))
            terminal.say("no DATA given: training on the built-in motion videos")
            data = group.first_on_each_machine(lambda: prepare_motion_videos(terminal))
        if dry_run:
            if group.is_main:
                plan = training.plan_run(config, data, TrainingView(terminal, config.train.epochs))
                print_plan(terminal, plan, settings.config_to_yaml(plan.config))
            return
        terminal.detail(f"device: {describe_device(str(chosen))}")
        folder = data
        _show(
            terminal,
            group,
            config.train.epochs,
            device,
            lambda view: training.start_run(config, folder, out, chosen, view, group),
        )


def resume(terminal: Terminal, run: Path | None, data_root: Path | None, device: str) -> None:
    """Run `vidcli train --resume`."""
    with join_peers(device, terminal, "train") as (group, chosen, terminal):
        run = group.from_main(lambda: run or newest_run(RESUME_FILE))
        terminal.say(f"going on with {run}")
        epochs = group.from_main(lambda: training.epochs_of_run(run))
        _show(
            terminal,
            group,
            epochs,
            device,
            lambda view: training.resume_run(run, chosen, view, group, data_root),
        )


def _show(
    terminal: Terminal,
    group: Group,
    epochs: int,
    device: str,
    run: Callable[[TrainingView], tuple[Path, list[training.EpochRow]]],
) -> None:
    with TrainingView(terminal, epochs) as view:
        folder, rows = run(view)
    if group.is_main:
        tell_outcome(terminal, folder, rows, device, is_alone=group.size == 1)
