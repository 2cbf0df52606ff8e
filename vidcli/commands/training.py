"""What `vidcli train` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from vidcli import checkpoint as files
from vidcli import config as settings
from vidcli import train as training
from vidcli.commands.motion import prepare_motion_videos
from vidcli.console import Terminal, Verbosity
from vidcli.console.training import TrainingView, print_plan, print_run_summary
from vidcli.demo import DEMO_RECIPE
from vidcli.devices import choose_device, describe_device
from vidcli.errors import PeerError
from vidcli.train.distributed import Group, join_group


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
    with _group(device, terminal) as (group, chosen, terminal):
        if data is None:
            recipe = recipe or DEMO_RECIPE
        config = group.from_main(lambda: settings.load_config(recipe, assignments))
        if data is None:
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
            lambda view: training.start_run(config, folder, out, chosen, view, group),
        )


def resume(terminal: Terminal, run: Path | None, device: str) -> None:
    """Run `vidcli train --resume`."""
    with _group(device, terminal) as (group, chosen, terminal):
        run = group.from_main(lambda: run or files.newest_run(files.RESUME_FILE))
        terminal.say(f"going on with {run}")
        epochs = group.from_main(lambda: training.epochs_of_run(run))
        _show(terminal, group, epochs, lambda view: training.resume_run(run, chosen, view, group))


@contextmanager
def _group(device: str, terminal: Terminal) -> Iterator[tuple[Group, torch.device, Terminal]]:
    """Join the other processes of this run, if any; only the main one speaks.

    Yields:
        The processes, the device of this one, and a terminal that is quiet in all but the main one.
    """
    chosen = choose_device(device)
    with join_group(chosen) as group:
        if group.is_main:
            if group.size > 1:
                terminal.say(f"{group.size} processes train together")
            yield group, chosen, terminal
            return
        try:
            yield group, chosen, replace(terminal, verbosity=Verbosity.QUIET)
        except PeerError as error:
            raise SystemExit(error.exit_code) from None  # whoever failed has said so


def _show(
    terminal: Terminal,
    group: Group,
    epochs: int,
    run: Callable[[TrainingView], tuple[Path, list[training.EpochRow]]],
) -> None:
    with TrainingView(terminal, epochs) as view:
        folder, rows = run(view)
    if group.is_main:
        print_run_summary(terminal, folder, rows)
