"""A search for better settings: trials of Optuna, each scored by cross-validation.

    OUT/study.json               what is searched
    OUT/journal.log              the trials, in Optuna's journal of JSON lines
    OUT/trial-DIGEST/seed-0/     the answers of the folds of a trial; its models are not kept
    OUT/trials.csv, trials.png, best.yaml, tune.json

The first trial is the recipe as it is, where its values lie in the space. A trial whose score after a fold is
below the median of the others at that fold is given up. Videos of the test split are never used.

Sources: Akiba et al. 2019 (Optuna); the tree-structured Parzen estimator of Bergstra et al. 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vidcli.data.manifest import fingerprint
from vidcli.errors import ConfigError, TrainError
from vidcli.studies.fold_run import StudyEvent, TrialDone, forget_run
from vidcli.studies.fold_runner import FoldRunner
from vidcli.studies.folds import Fold, make_folds, read_studied
from vidcli.studies.pooled import RecipeScores
from vidcli.studies.study_folder import open_study
from vidcli.studies.tuning_plan import TuningPlan, trial_recipe
from vidcli.studies.tuning_result import TUNE_FILES, Trial, TuningResult, write_result

_JOURNAL_FILE = "journal.log"
_NUM_RANDOM = 8
"""Trials at random before the search learns from them."""
_FEWEST_FOR_IMPORTANCE = 10
_ERROR, _INTERVAL = "error", "interval"


def import_optuna() -> Any:
    """Return the library optuna, which says nothing but errors.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "vidcli tune needs optuna, which is not installed: pip install 'vidcli[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def tune(
    plan: TuningPlan, out: Path, device: torch.device, on_event: Callable[[StudyEvent], None]
) -> TuningResult:
    """Try settings until there are as many trials as asked for, going on with those that are there.

    Args:
        plan: what is searched.
        out: folder of the search, new or of the same search.
        device: where to compute.
        on_event: called with each event of the search and of its runs.

    Raises:
        ConfigError: the plan does not fit together, or optuna is not installed.
        DataError: the data cannot be divided or trained on.
        OutputError: the folder holds something else, or another search.
        TrainError: not one trial could be completed.
    """
    optuna = import_optuna()
    plan.check()
    data = plan.recipe.config.data
    items = read_studied(plan.data, plan.recipe.config, on_event, all_splits=False)
    folds = make_folds(items, plan.folds, data.split_seed, data.background)
    with open_study(out, plan.to_dict(fingerprint(items)), "tune", TUNE_FILES) as folder:
        backend = optuna.storages.journal.JournalFileBackend(str(out / _JOURNAL_FILE))
        search = _Search(optuna, plan, optuna.storages.JournalStorage(backend))
        runner = FoldRunner(out, folds, items, device, on_event, plan.num_trials * len(folds))
        search.run(runner, folds, on_event)
        result = search.result(FoldRunner(out, folds, items, device, lambda event: None, 0), folds)
        write_result(folder, result)
    return result


class _Search:
    """A study of optuna, driven trial by trial."""

    def __init__(self, optuna: Any, plan: TuningPlan, storage: Any) -> None:
        self._optuna, self._plan = optuna, plan
        self._study = optuna.create_study(
            storage=storage, study_name="vidcli", direction="maximize", load_if_exists=True
        )
        states = optuna.trial.TrialState
        self._done = (states.COMPLETE, states.PRUNED)
        found = self._study.get_trials(deepcopy=False)
        # A sampler that began with the same seed again would repeat its first draws.
        seed = plan.recipe.config.train.seed + len(found)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=_NUM_RANDOM)
        self._study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
        if not found:
            present = {each.key: each.present(plan.recipe.config) for each in plan.space}
            if None not in present.values():
                self._study.enqueue_trial(present)
        for trial in found:
            if trial.state == states.RUNNING:  # stopped by force; its folds that are done are kept
                self._study.tell(trial.number, state=states.FAIL)
                self._study.enqueue_trial(trial.params)

    def run(self, runner: FoldRunner, folds: Sequence[Fold], on_event: Callable[[StudyEvent], None]) -> None:
        """Try until there are as many trials as the plan asks for."""
        states = self._optuna.trial.TrialState
        while len(self._finished()) < self._plan.num_trials:
            trial = self._study.ask()
            values = {each.key: each.suggest(trial) for each in self._plan.space}
            told = ", ".join(f"{key}={value}" for key, value in values.items())
            try:
                recipe = trial_recipe(self._plan.recipe, values)
                scores = runner.answer(recipe, 1, folds, partial(self._judge, trial, len(folds)))
            except self._optuna.TrialPruned:
                self._study.tell(trial, state=states.PRUNED)
                on_event(TrialDone(f"trial {trial.number + 1} given up: {told}"))
            except (ConfigError, TrainError) as error:
                trial.set_user_attr(_ERROR, str(error))
                self._study.tell(trial, state=states.FAIL)
                on_event(TrialDone(f"trial {trial.number + 1} failed: {told}: {error}"))
            else:
                score = scores.scores[self._plan.score]
                trial.set_user_attr(_INTERVAL, list(score.ends))
                self._study.tell(trial, score.value)
                on_event(TrialDone(f"trial {trial.number + 1} reached {score.value:.3f}: {told}"))

    def result(self, runner: FoldRunner, folds: Sequence[Fold]) -> TuningResult:
        """Return what was found; the answers of trials are read from disk."""
        trials = tuple(map(self._describe, self._finished()))
        complete = [trial for trial in trials if trial.state == "complete"]
        if not complete:
            errors = [trial.error for trial in trials if trial.error]
            raise TrainError(f"not one of {len(trials)} trials could be completed; the last: {errors[-1]}")
        best = max(complete, key=lambda trial: (trial.score or 0.0, -trial.number))
        present = {each.key: each.present(self._plan.recipe.config) for each in self._plan.space}
        gain = None
        if present == dict(trials[0].values) and trials[0].state == "complete" and best is not trials[0]:
            first, found = (self._answers(trial, runner, folds) for trial in (trials[0], best))
            gain = found.difference_from(first)
        return TuningResult(self._plan, trials, best, self._importances(len(complete)), gain)

    def _judge(self, trial: Any, num_folds: int, so_far: RecipeScores, place: Path) -> None:
        """Tell optuna how good a trial is after a fold, and forget the model of the fold."""
        forget_run(place)
        step = max(answer.fold for answer in so_far.answers)
        trial.report(so_far.scores[self._plan.score].value, step)
        if step < num_folds and trial.should_prune():
            raise self._optuna.TrialPruned

    def _answers(self, trial: Trial, runner: FoldRunner, folds: Sequence[Fold]) -> RecipeScores:
        values = {each.key: each.write(trial.values[each.key]) for each in self._plan.space}
        recipe = trial_recipe(self._plan.recipe, values)
        scores = runner.answer(recipe, 1, folds)
        scores.name = f"trial {trial.number}"
        return scores

    def _finished(self) -> list[Any]:
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state in self._done or _ERROR in trial.user_attrs
        ]

    def _describe(self, trial: Any) -> Trial:
        states = self._optuna.trial.TrialState
        state = {states.COMPLETE: "complete", states.PRUNED: "given up"}.get(trial.state, "failed")
        last = max(trial.intermediate_values, default=None)
        score = trial.value if state == "complete" else None
        if state == "given up" and last is not None:
            score = trial.intermediate_values[last]
        ends = trial.user_attrs.get(_INTERVAL)
        interval = None if ends is None else (ends[0], ends[1])
        error = trial.user_attrs.get(_ERROR)
        return Trial(trial.number + 1, state, score, interval, dict(trial.params), error)

    def _importances(self, num_complete: int) -> dict[str, float]:
        if num_complete < _FEWEST_FOR_IMPORTANCE or len(self._plan.space) < 2:
            return {}
        evaluator = self._optuna.importance.FanovaImportanceEvaluator(seed=0)
        try:
            found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (ImportError, RuntimeError, ValueError):  # without scikit-learn, or where all scores are equal
            return {}
        return {str(key): float(value) for key, value in found.items()}
