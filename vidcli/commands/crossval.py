"""`vidcli crossval`: how good a recipe is, by videos that are held out of the training videos in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import TRAIN, app, examples, open_terminal
from vidcli.commands.completion import complete_recipe
from vidcli.commands.options import CommandWithSettings, DeviceOption, SetOption, path

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.studies import CrossvalPlan, Recipe

StudyDataArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Folder or manifest of labelled videos; with --resume: the folder of the study to go on with.",
        show_default=False,
        parser=path,
    ),
]
RecipesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="RECIPE",
        help="Recipe to train, as for `vidcli train`; several are compared on the same folds.",
        autocompletion=complete_recipe,
    ),
]
FoldsOption = Annotated[
    str, typer.Option("--folds", metavar="K|group", help="Number of folds, or group: hold out each in turn.")
]
SeedsOption = Annotated[
    int, typer.Option("--seeds", min=1, max=100, metavar="N", help="Trainings of each fold.")
]
AllSplitsOption = Annotated[
    bool, typer.Option("--all-splits", help="Use the test videos too, which are then spent.")
]
LearningCurveOption = Annotated[
    bool,
    typer.Option("--learning-curve", help="Train on 25% and 50% of the groups too: would more data help?"),
]
StudyResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the study in the folder that stands for DATA.")
]
StudyOutOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the study, new or to go on with; without it, one under runs/."),
]


class StudyOptions(NamedTuple):
    """What the command line of a study says.

    Attributes:
        data: folder or manifest; with `resume` the folder of the study.
        recipes: names or files of recipes; none is the defaults.
        assignments: settings as `KEY=VALUE`, for every recipe.
        folds: number of folds, or `group`.
        seeds: trainings of each fold.
        all_splits: use the test videos too.
        learning_curve: train on parts of the groups too.
        out: folder of the study; None is one under `runs/`.
        device: as --device says.
        resume: go on with a study.
    """

    data: Path | None
    recipes: Sequence[str]
    assignments: Sequence[str]
    folds: str
    seeds: int
    all_splits: bool
    learning_curve: bool
    out: Path | None
    device: str
    resume: bool


@app.command(
    cls=CommandWithSettings,
    rich_help_panel=TRAIN,
    epilog=examples(
        "vidcli crossval videos/ --config small-real",
        "vidcli crossval data.csv --folds group --seeds 3",
        "vidcli crossval --resume runs/crossval_videos",
    ),
)
def crossval(
    ctx: typer.Context,
    data: StudyDataArgument = None,
    config: RecipesOption = None,
    assignments: SetOption = None,
    folds: FoldsOption = "5",
    seeds: SeedsOption = 1,
    all_splits: AllSplitsOption = False,
    learning_curve: LearningCurveOption = False,
    out: StudyOutOption = None,
    device: DeviceOption = "auto",
    resume: StudyResumeOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a recipe once for each fold, and score the videos that were held out.

    Groups are kept whole, and the test split is not looked at. The same command goes on where it was stopped.
    """
    options = StudyOptions(
        data, config or [], assignments or [], folds, seeds, all_splits, learning_curve, out, device, resume
    )
    if data is None:
        raise typer.BadParameter("name DATA, or with --resume the folder of a study")
    if resume and (config or assignments or out or folds != "5" or seeds != 1 or all_splits):
        raise typer.BadParameter(
            "--resume takes all from the study: only --device, --json and --learning-curve"
        )
    run_crossval(open_terminal(ctx), options, data, as_json)


def run_crossval(terminal: Terminal, options: StudyOptions, data: Path, as_json: bool) -> None:
    """Cross-validate, and print what came out."""
    from dataclasses import replace

    from vidcli.console import print_json
    from vidcli.console.study_view import StudyView, print_crossval, print_study_end
    from vidcli.runtime.devices import choose_device
    from vidcli.studies import cross_validate, load_plan
    from vidcli.studies.crossval import ANSWERS_FILE, RESULT_FILE

    refuse_torchrun("crossval")
    chosen = choose_device(options.device)
    if options.resume:
        out = data
        plan = load_plan(out)
        plan = replace(plan, learning_curve=plan.learning_curve or options.learning_curve)
    else:
        out = options.out or study_folder("crossval", data)
        plan = plan_of(options, data)
    terminal.say(f"folder of the study: {out}")
    try:
        with StudyView(terminal) as view:
            result = cross_validate(plan, out, chosen, view)
    except KeyboardInterrupt:
        terminal.say(f"interrupted; go on with `vidcli crossval --resume {out}`")
        raise
    if as_json:
        print_json(result.to_dict())
    else:
        print_crossval(terminal, result)
    print_study_end(terminal, (ANSWERS_FILE, RESULT_FILE), out)


def plan_of(options: StudyOptions, data: Path) -> CrossvalPlan:
    """Return what the options ask for."""
    from vidcli.studies import CrossvalPlan

    return CrossvalPlan(
        data,
        tuple(read_recipes(options.recipes, options.assignments)),
        options.folds,
        options.seeds,
        options.all_splits,
        options.learning_curve,
    )


def read_recipes(recipes: Sequence[str], assignments: Sequence[str]) -> list[Recipe]:
    """Return the recipes of a study, each under a name that a folder can have.

    Args:
        recipes: names or files; none is the defaults.
        assignments: settings as `KEY=VALUE`, for every recipe.
    """
    from vidcli.config import load_config
    from vidcli.studies import Recipe

    found: list[Recipe] = []
    for recipe in recipes or (None,):
        stem = "defaults" if recipe is None else Path(recipe).stem
        name = wanted = re.sub(r"[^\w-]", "_", stem)
        taken = {other.name for other in found}
        number = 2
        while name in taken:
            name, number = f"{wanted}-{number}", number + 1
        found.append(Recipe(name, load_config(recipe, assignments)))
    return found


def study_folder(command: str, data: Path) -> Path:
    """Return the folder of a study for which none was named: the same one for the same data."""
    from vidcli.artifacts.run_folder import RUNS_FOLDER

    return RUNS_FOLDER / f"{command}_{data.resolve().stem}"


def refuse_torchrun(command: str) -> None:
    """Refuse to run as one of several processes, which would all train the same.

    Raises:
        ConfigError: `torchrun` started several processes.
    """
    from vidcli.errors import ConfigError
    from vidcli.runtime.launcher import num_processes

    if num_processes() > 1:
        raise ConfigError(
            f"vidcli {command}: {num_processes()} processes of torchrun would all train the same folds; "
            "start it without torchrun"
        )
