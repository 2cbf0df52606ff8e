"""`vidcli tune`: search for better settings by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import TRAIN, app, examples, open_terminal
from vidcli.commands.completion import complete_setting
from vidcli.commands.crossval import (
    FoldsOption,
    StudyDataArgument,
    StudyOutOption,
    StudyResumeOption,
    read_recipes,
    refuse_torchrun,
    study_folder,
)
from vidcli.commands.options import CommandWithSettings, ConfigOption, DeviceOption, SetOption

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.studies.tuning_plan import TuningPlan

SpaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--space", metavar="NAME", help="Settings to vary: training (the default), augmentation, clip, head."
    ),
]
OverOption = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="KEY=LOW..HIGH",
        help="Another setting to vary, in a range or among values (KEY=A,B,C).",
        autocompletion=complete_setting,
    ),
]
TrialsOption = Annotated[
    int | None,
    typer.Option("--trials", min=1, metavar="N", help="Trials in all; without it 30.", show_default=False),
]
ScoreOption = Annotated[
    str,
    typer.Option("--score", metavar="NAME", help="What to raise: balanced_accuracy, top1 or macro_f1."),
]

_NUM_TRIALS = 30
_SCORE = "balanced_accuracy"


class TuneOptions(NamedTuple):
    """What the command line of `vidcli tune` says.

    Attributes:
        data: folder or manifest; with `resume` the folder of the search.
        recipe: name or file of a recipe; None is the defaults.
        assignments: settings as `KEY=VALUE`.
        spaces: names of presets.
        overs: settings to vary.
        folds: number of folds, or `group`.
        trials: in all; None is the usual number, or with `resume` that of the search.
        score: what is raised.
        out: folder of the search; None is one under `runs/`.
        device: as --device says.
        resume: go on with a search.
    """

    data: Path
    recipe: str | None
    assignments: Sequence[str]
    spaces: Sequence[str]
    overs: Sequence[str]
    folds: str
    trials: int | None
    score: str
    out: Path | None
    device: str
    resume: bool


@app.command(
    cls=CommandWithSettings,
    rich_help_panel=TRAIN,
    epilog=examples(
        "vidcli tune videos/ --config small-real --trials 20",
        "vidcli tune videos/ --over train.lr=1e-4..1e-2",
        "vidcli tune --resume runs/tune_videos --trials 50",
    ),
)
def tune(
    ctx: typer.Context,
    data: StudyDataArgument = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    space: SpaceOption = None,
    over: OverOption = None,
    folds: FoldsOption = "5",
    trials: TrialsOption = None,
    score: ScoreOption = _SCORE,
    out: StudyOutOption = None,
    device: DeviceOption = "auto",
    resume: StudyResumeOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search for better settings of a recipe, each trial scored by cross-validation.

    The test split is not looked at. The same command goes on where it was stopped. Needs the extra tune.
    """
    if data is None:
        raise typer.BadParameter("name DATA, or with --resume the folder of a search")
    if resume and (config or assignments or space or over or out or folds != "5" or score != _SCORE):
        raise typer.BadParameter("--resume takes all from the search: only --trials, --device and --json")
    options = TuneOptions(
        *(data, config, assignments or [], space or [], over or [], folds, trials, score, out),
        *(device, resume),
    )
    run_tune(open_terminal(ctx), options, as_json)


def run_tune(terminal: Terminal, options: TuneOptions, as_json: bool) -> None:
    """Search, and print what was found."""
    from vidcli.console import print_json
    from vidcli.console.study_view import StudyView
    from vidcli.console.tuning_view import print_tuning
    from vidcli.runtime.devices import choose_device
    from vidcli.studies.tuning import tune as search

    refuse_torchrun("tune")
    chosen = choose_device(options.device)
    out, plan = plan_of(options)
    terminal.say(f"folder of the search: {out}")
    try:
        with StudyView(terminal, tells_folds=False) as view:
            result = search(plan, out, chosen, view)
    except KeyboardInterrupt:
        terminal.say(f"interrupted; go on with `vidcli tune --resume {out}`")
        raise
    if as_json:
        print_json(result.to_dict())
    else:
        print_tuning(terminal, result, out)


def plan_of(options: TuneOptions) -> tuple[Path, TuningPlan]:
    """Return the folder of a search and what is searched."""
    from dataclasses import replace

    from vidcli.studies.search_space import read_space
    from vidcli.studies.tuning_plan import TuningPlan, load_tuning

    if options.resume:
        plan = load_tuning(options.data)
        return options.data, replace(plan, num_trials=options.trials or plan.num_trials)
    (recipe,) = read_recipes([options.recipe] if options.recipe else [], options.assignments)
    return options.out or study_folder("tune", options.data), TuningPlan(
        options.data,
        recipe,
        tuple(read_space(options.spaces, options.overs, recipe.config)),
        options.folds,
        options.trials or _NUM_TRIALS,
        options.score,
    )
