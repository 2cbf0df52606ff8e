"""Write and tell what cross-validation chose, how sure that is, and what would help most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vidcli.arrays import Float64
from vidcli.artifacts.run_folder import CHOICE_FILE
from vidcli.evaluate import evaluate
from vidcli.evaluate.what_helps import iter_what_helps
from vidcli.predict import Prediction
from vidcli.runtime.files import write_text
from vidcli.train.events import ChoiceMade
from vidcli.train.record import RunRecord
from vidcli.train.stream_solver import Learnt


def tell_choice(
    learnt: Learnt, run: Path, record: RunRecord, groups_are_named: bool, is_last: bool
) -> ChoiceMade:
    """Write `choice.json`, draw the confusion of videos not learnt from, and return what to tell.

    Args:
        learnt: what was chosen.
        run: the run directory.
        record: draws its pictures.
        groups_are_named: whether the data says which videos belong together.
        is_last: whether to say what would help; nothing better comes.
    """
    advice: tuple[str, ...] = ()
    if learnt.trials[0].top1 is not None:
        _draw_confusion(learnt, record)
        advice = tuple(_what_helps(learnt, groups_are_named)) if is_last else ()
    rows = [trial.to_dict() for trial in learnt.trials]
    expected = None if learnt.expected is None else asdict(learnt.expected)
    told = {"folds": learnt.num_folds, "expected": expected, "what_helps": advice, "trials": rows}
    write_text(run / CHOICE_FILE, json.dumps(told, indent=1) + "\n")
    by_look = not groups_are_named and any(item.group is not None for item in learnt.scored)
    return ChoiceMade(tuple(rows), learnt.num_folds, learnt.expected, by_look, advice)


def _draw_confusion(learnt: Learnt, record: RunRecord) -> None:
    """Draw it for videos not learnt from."""
    scored, names, logits_MK = learnt.scored, learnt.class_names, learnt.trials[0].logits_MK
    predictions = [
        Prediction(str(item.path), names, shares_K)
        for item, shares_K in zip(scored, _shares(learnt, logits_MK), strict=True)
    ]
    record.draw_confusion(evaluate(predictions, [item.label for item in scored], names))


def _what_helps(learnt: Learnt, groups_are_named: bool) -> Sequence[str]:
    shares_MK = _shares(learnt, learnt.trials[0].logits_MK)
    halves = [_shares(learnt, logits_MK) for logits_MK in learnt.half_logits]
    return [*iter_what_helps(learnt.scored, learnt.class_names, shares_MK, halves, groups_are_named)]


def _shares(learnt: Learnt, logits_MK: Float64) -> Float64:
    return np.stack([learnt.calibration.probabilities(logits_K[None]) for logits_K in logits_MK])
