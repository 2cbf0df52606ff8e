"""`vidcli train`: train a model, go on with a run, or compare heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import typer

from vidcli.commands.app import TRAIN, app, examples, open_terminal
from vidcli.commands.completion import complete_backbone, complete_head, complete_score_split
from vidcli.commands.options import (
    BoxesOption,
    CommandWithSettings,
    ConfigOption,
    DataRootOption,
    DeviceOption,
    OutOption,
    SetOption,
    path,
)
from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.config import Config
    from vidcli.console import Terminal
    from vidcli.console.training_view import TrainingView
    from vidcli.runtime.processes import Group
    from vidcli.train import EpochRow

SPLITS_TO_SCORE = ("auto", "test")
AUTO_RECIPE = "auto"
_KEPT_BY_AUTO = {
    *("train.seed", "train.minutes", "train.contender", "train.plots", "train.class_balance"),
    *("clip.length", "clip.size", "clip.focus", "augment.flip"),
}
"""Settings that the recipe `auto` follows; all others are of training by steps."""

_FREQUENT = "Frequent settings, each the same as its --set"

DataArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Folder with one folder a class (also under train/ val/ test/), a manifest (.csv, .tsv, "
        ".parquet), or shards (.tar). Without it, the built-in motion videos. With --resume: the run to go "
        "on with.",
        show_default=False,
        parser=path,
    ),
]
EpochsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N", help="train.epochs: passes over the training videos.", rich_help_panel=_FREQUENT
    ),
]
BatchSizeOption = Annotated[
    str | None,
    typer.Option(metavar="N", help="train.batch_size: clips a step.", rich_help_panel=_FREQUENT),
]
LearningRateOption = Annotated[
    str | None,
    typer.Option("--lr", metavar="RATE", help="train.lr: learning rate.", rich_help_panel=_FREQUENT),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="model.backbone: the network that sees frames; `vidcli models` lists them.",
        rich_help_panel=_FREQUENT,
        autocompletion=complete_backbone,
    ),
]
HeadOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="model.head: what joins the frames of a clip.",
        rich_help_panel=_FREQUENT,
        autocompletion=complete_head,
    ),
]
MinutesOption = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="train.minutes: what the recipe auto may take, about; 0 for no limit.",
        rich_help_panel=_FREQUENT,
    ),
]
SeedOption = Annotated[
    str | None,
    typer.Option(metavar="N", help="train.seed: seed of all that is random.", rich_help_panel=_FREQUENT),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with a run; without DATA, the newest.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show splits, settings and size; do nothing.")]
CompareOption = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Train every head on the features of the frozen backbone, and tell whether time matters.",
    ),
]
ScoreSplitOption = Annotated[
    str | None,
    typer.Option(
        help="With --compare, whom to score: auto (val, or held-out folds of train) or test.",
        autocompletion=complete_score_split,
        show_default=False,
    ),
]
ComparisonJsonOption = Annotated[bool, typer.Option("--json", help="With --compare, print one JSON object.")]


class TrainOptions(NamedTuple):
    """What the command line of `vidcli train` says.

    Attributes:
        data: folder or manifest; None is the built-in motion videos, or with --resume the newest run.
        recipe: name or file of a recipe; None is what `usual_recipe` says, or the demo's without data.
        assignments: settings as `KEY=VALUE`.
        out: run directory to make; None is one under `runs/`.
        device: as --device says.
        data_root: folder that the data of a run to go on with has moved to.
        dry_run: show the plan and do nothing.
        split: the videos that --compare scores: `auto` or `test`.
        as_json: print the comparison as JSON.
    """

    data: Path | None
    recipe: str | None
    assignments: Sequence[str]
    out: Path | None
    device: str
    data_root: Path | None
    dry_run: bool
    split: str
    as_json: bool


class TrainCommand(CommandWithSettings):
    """The command, which has flags for its most frequent settings."""

    flags: ClassVar = {
        "train.epochs": "--epochs",
        "train.batch_size": "--batch-size",
        "train.lr": "--lr",
        "train.seed": "--seed",
        "train.minutes": "--minutes",
        "model.backbone": "--backbone",
        "model.head": "--head",
        "subject.boxes": "--boxes",
    }


@app.command(
    cls=TrainCommand,
    rich_help_panel=TRAIN,
    epilog=examples(
        "vidcli train videos/",
        "vidcli train videos/ --epochs 20 --head gru",
        "vidcli train --resume",
    ),
)
def train(
    ctx: typer.Context,
    data: DataArgument = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    lr: LearningRateOption = None,
    backbone: BackboneOption = None,
    head: HeadOption = None,
    seed: SeedOption = None,
    minutes: MinutesOption = None,
    boxes: BoxesOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
    data_root: DataRootOption = None,
    dry_run: DryRunOption = False,
    compare: CompareOption = False,
    split: ScoreSplitOption = None,
    as_json: ComparisonJsonOption = False,
) -> None:
    """Train a classifier on a folder or manifest of videos."""
    given = (epochs, batch_size, lr, seed, minutes, backbone, head, None if boxes is None else str(boxes))
    flags = dict(zip(TrainCommand.flags, given, strict=True))
    if (split is not None or as_json) and not compare:
        raise typer.BadParameter("--split and --json go with --compare")
    if data_root is not None and not resume:
        raise typer.BadParameter("--data-root tells where a run's data went; it goes with --resume")
    if resume and (config or assignments or any(flags.values()) or out or dry_run or compare):
        raise typer.BadParameter(
            "--resume takes settings and place from the run: no --config, --set, --out, --dry-run, --compare "
            "and no flag of a setting such as --epochs"
        )
    if compare and dry_run:
        raise typer.BadParameter("--compare and --dry-run do not go together")
    settings = join_settings(assignments or [], flags)
    options = TrainOptions(data, config, settings, out, device, data_root, dry_run, split or "auto", as_json)
    run = resume_run if resume else compare_heads if compare else train_model
    run(open_terminal(ctx), options)


def join_settings(assignments: Sequence[str], flags: Mapping[str, str | None]) -> list[str]:
    """Return the settings of `--set` and of the flags that are another spelling of them.

    Args:
        assignments: what `--set` says, each `KEY=VALUE`.
        flags: the value of each flag by its setting, such as `train.lr`; None where it was not given.

    Raises:
        typer.BadParameter: both set one setting, to different values.
    """
    settings = list(assignments)
    values = {key.strip(): value for key, _, value in (text.partition("=") for text in assignments)}
    for key, value in flags.items():
        if value is None:
            continue
        if key in values and not _is_same(values[key], value):
            raise typer.BadParameter(
                f"{TrainCommand.flags[key]} {value} and --set {key}={values[key]} give one setting two "
                "values; leave one out"
            )
        settings.append(f"{key}={value}")
    return settings


def _is_same(value: str, other: str) -> bool:
    try:
        return float(value) == float(other)
    except ValueError:
        return value.strip() == other.strip()


def usual_recipe(assignments: Sequence[str]) -> str | None:
    """Return the recipe that is taken where none is named.

    Args:
        assignments: settings as `KEY=VALUE`. One of a network or of its training by steps means the defaults,
            None, in place of the recipe that chooses for itself.
    """
    keys = [text.partition("=")[0].strip() for text in assignments]
    return (
        AUTO_RECIPE
        if all(key.startswith(("data.", "subject.")) or key in _KEPT_BY_AUTO for key in keys)
        else None
    )


def load_settings(recipe: str | None, assignments: Sequence[str]) -> Config:
    """Return the settings of a run.

    The recipe `auto` weighs videos by their class, which videos of several classes do not have; unless the
    user asks for it, nothing is weighed then.

    Args:
        recipe: name or file; None is the defaults.
        assignments: settings as `KEY=VALUE`.
    """
    from vidcli.config import load_config

    config = load_config(recipe, assignments)
    is_asked = any(text.partition("=")[0].strip() == "train.class_balance" for text in assignments)
    if recipe == AUTO_RECIPE and config.data.multi_label and not is_asked:
        return load_config(recipe, [*assignments, "train.class_balance=off"])
    return config


def train_model(terminal: Terminal, options: TrainOptions) -> None:
    """Train a model on the data that the options name, or show what would be done."""
    from vidcli import train as training
    from vidcli.commands.demo import DEMO_RECIPE, prepare_motion_videos
    from vidcli.commands.peers import join_peers
    from vidcli.config import config_to_yaml
    from vidcli.console.training_view import TrainingView, print_plan
    from vidcli.runtime.devices import describe_device
    from vidcli.runtime.launcher import num_restarts

    data, recipe, out = options.data, options.recipe, options.out
    with join_peers(options.device, terminal, "train") as (group, chosen, terminal):
        recipe = recipe or (DEMO_RECIPE if data is None else usual_recipe(options.assignments))
        config = group.from_main(lambda: load_settings(recipe, options.assignments))
        if recipe is None:
            terminal.warn(
                "settings of a network or of training by steps: the defaults with your changes, not the "
                "recipe auto, which finds out what fits the videos; --config auto keeps it"
            )
        if data is None:
            if out is not None and not options.dry_run and not num_restarts():
                place = out
                group.from_main(lambda: training.refuse_taken(place))
            terminal.say("no DATA given: training on the built-in motion videos")
            data = group.first_on_each_machine(lambda: prepare_motion_videos(terminal))
        if options.dry_run:
            if group.is_main:
                plan = training.plan_run(config, data, TrainingView(terminal, config.train.epochs))
                print_plan(terminal, plan, config_to_yaml(plan.config))
            return
        terminal.detail(f"device: {describe_device(str(chosen))}")
        folder = data
        _show(
            terminal,
            group,
            config.train.epochs,
            options.device,
            lambda view: training.start_run(config, folder, out, chosen, view, group),
        )


def resume_run(terminal: Terminal, options: TrainOptions) -> None:
    """Go on with the run that the options name, or with the newest one."""
    from vidcli import train as training
    from vidcli.artifacts.run_folder import RESUME_FILE, newest_run
    from vidcli.commands.peers import join_peers

    with join_peers(options.device, terminal, "train") as (group, chosen, terminal):
        run = group.from_main(lambda: options.data or newest_run(RESUME_FILE))
        terminal.say(f"going on with {run}")
        _show(
            terminal,
            group,
            group.from_main(lambda: training.epochs_of_run(run)),
            options.device,
            lambda view: training.resume_run(run, chosen, view, group, options.data_root),
        )


def _show(
    terminal: Terminal,
    group: Group,
    epochs: int,
    device: str,
    run: Callable[[TrainingView], tuple[Path, list[EpochRow]]],
) -> None:
    """Train while the terminal shows it, then say what came out."""
    from vidcli.commands.outcome import say_outcome
    from vidcli.console.training_view import TrainingView

    with TrainingView(terminal, epochs) as view:
        folder, rows = run(view)
    if group.is_main:
        say_outcome(terminal, folder, rows, device, is_alone=group.size == 1)


def compare_heads(terminal: Terminal, options: TrainOptions) -> None:
    """Train every head on the features of the frozen backbone, and tell whether time matters."""
    from vidcli import train as training
    from vidcli.commands.demo import DEMO_RECIPE, prepare_motion_videos
    from vidcli.config import load_config
    from vidcli.console import print_json
    from vidcli.console.training_view import CompareView, print_comparison
    from vidcli.runtime.devices import choose_device

    data, recipe, out = options.data, options.recipe, options.out
    if options.split not in SPLITS_TO_SCORE:
        raise ConfigError(f"--split {options.split}: expected {' or '.join(SPLITS_TO_SCORE)}")
    chosen = choose_device(options.device)
    if data is None:
        recipe = recipe or DEMO_RECIPE
    config = load_config(recipe, options.assignments)
    if data is None:
        if out is not None:
            training.refuse_taken(out)
        terminal.say("no DATA given: comparing on the built-in motion videos")
        data = prepare_motion_videos(terminal)
    with CompareView(terminal) as view:
        comparison = training.compare_heads(config, data, options.split, out, chosen, view)
    if options.as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(terminal, comparison)
    if out is not None:
        terminal.say(
            f"{comparison.best} on {comparison.backbone}, trained on all but the test videos, is in {out}. "
            f"Next: vidcli eval --model {out}"
        )
