"""What a search found: its trials, its best recipe, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vidcli.config import config_to_yaml
from vidcli.report.trials_plot import draw_trials
from vidcli.runtime.outputs import OutputFolder
from vidcli.sheets import csv_text
from vidcli.studies.pooled import RecipeDifference
from vidcli.studies.tuning_plan import TuningPlan, change_config

BEST_FILE, TRIALS_FILE, PICTURE_FILE, RESULT_FILE = "best.yaml", "trials.csv", "trials.png", "tune.json"
TUNE_FILES = (BEST_FILE, TRIALS_FILE, PICTURE_FILE, RESULT_FILE)


@dataclass(frozen=True)
class Trial:
    """One set of values.

    Attributes:
        number: in the order of the search, from 1; one that was stopped by force leaves a gap.
        state: `complete`, `given up` after a fold, or `failed`.
        score: out-of-fold score; of a trial that was given up, of its first folds; None of a failed one.
        interval: 95% interval of the score, over groups; None where it is not complete.
        values: the value of each setting that is varied.
        error: why it failed; None of others.
    """

    number: int
    state: str
    score: float | None
    interval: tuple[float, float] | None
    values: Mapping[str, Any]
    error: str | None


@dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
        plan: what was searched.
        trials: in the order of the search.
        best: the complete trial with the largest score, the earliest of equals.
        importances: how much of the scores' variance each setting explains, 0 to 1; empty with few trials.
        gain: of the best trial over the recipe as it is; None where that was not tried, or is the best.
    """

    plan: TuningPlan
    trials: tuple[Trial, ...]
    best: Trial
    importances: Mapping[str, float]
    gain: RecipeDifference | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli tune --json` prints them."""
        return {
            "data": str(self.plan.data),
            "recipe": self.plan.recipe.name,
            "score": self.plan.score,
            "folds": self.plan.folds,
            "best": asdict(self.best),
            "gain": None if self.gain is None else self.gain.to_dict(),
            "importances": dict(self.importances),
            "trials": [asdict(trial) for trial in self.trials],
        }


def best_recipe(result: TuningResult) -> str:
    """Return the settings of the best trial as a recipe, with how they were found in its comments."""
    plan, best = result.plan, result.best
    values = {each.key: each.write(best.values[each.key]) for each in plan.space}
    config = change_config(plan.recipe.config, values)
    changed = ", ".join(f"{key}={value}" for key, value in values.items())
    interval = "" if best.interval is None else f" ({best.interval[0]:.3f} to {best.interval[1]:.3f})"
    return (
        f"# Found by vidcli tune from {plan.recipe.name}: the best of {len(result.trials)} trials.\n#\n"
        f"# {plan.score} {best.score:.3f}{interval} out of fold, by which it was chosen: too good by some.\n"
        f"# {changed}\n{config_to_yaml(config)}"
    )


def trials_csv(result: TuningResult) -> str:
    """Return the trials as CSV, one a row."""
    keys = [each.key for each in result.plan.space]
    rows: list[list[Any]] = [["trial", "state", result.plan.score, "low", "high", *keys, "error"]]
    for trial in result.trials:
        low, high = trial.interval or ("", "")
        score = "" if trial.score is None else trial.score
        values = [trial.values.get(key, "") for key in keys]
        rows.append([trial.number, trial.state, score, low, high, *values, trial.error or ""])
    return csv_text(rows)


def write_result(folder: OutputFolder, result: TuningResult) -> None:
    """Write the best recipe, the table and the picture of all trials.

    Args:
        folder: of the search.
        result: what was found.
    """
    folder.write_text(BEST_FILE, best_recipe(result))
    folder.write_text(TRIALS_FILE, trials_csv(result))
    folder.write_text(RESULT_FILE, json.dumps(result.to_dict(), indent=1) + "\n")
    points = [
        (trial.number, trial.score, dict(trial.values), trial.state == "complete") for trial in result.trials
    ]
    logs = {each.key: each.is_log for each in result.plan.space}
    folder.write(PICTURE_FILE, lambda path: draw_trials(points, logs, result.plan.score, path))
