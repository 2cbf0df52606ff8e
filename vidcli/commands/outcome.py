"""The end of `vidcli train`: how good the model is, on which videos that was measured, what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidcli.artifacts.run_folder import CHOICE_FILE, MODEL_FILE, RESUME_FILE, SPANS_FILE, SPLITS_FILE
from vidcli.commands.eval import evaluate_own_split
from vidcli.console import Terminal
from vidcli.console.training_view import print_best, print_kept, print_run_end
from vidcli.data.caches import measure_caches, measure_folder
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.evaluate.comparison import find_baseline, judge
from vidcli.evaluate.scores import bootstrap_interval
from vidcli.train import EpochRow


def say_outcome(terminal: Terminal, run: Path, rows: Sequence[EpochRow], device: str, is_alone: bool) -> None:
    """Say how a run ended, how good its model is, and what to type next.

    Args:
        terminal: to print on.
        run: directory of the run.
        rows: its epochs, in the order of training.
        device: as --device says.
        is_alone: no other process takes part, so that the test videos can be looked at here.
    """
    items = load_items(run / SPLITS_FILE, missing_ok=True)
    print_best(terminal, rows, _judge_validation(rows, of_split(items, "val")), (run / CHOICE_FILE).is_file())
    if all(row.val_score is None for row in rows):
        _measure_held_out(terminal, run, of_split(items, "test"), device, is_alone)
    say_kept(terminal, run)
    print_run_end(terminal, run)
    if (run / SPANS_FILE).is_file():
        terminal.say(f"timelines of the held-out recordings: vidcli eval --timeline --model {run}")


def say_kept(terminal: Terminal, run: Path) -> None:
    """Say how large a run and the caches that all runs share are."""
    resume = run / RESUME_FILE
    resume_bytes = resume.stat().st_size if resume.is_file() else 0
    print_kept(terminal, run, measure_folder(run), resume_bytes, measure_caches())


def _judge_validation(rows: Sequence[EpochRow], validated: Sequence[VideoItem]) -> str | None:
    """Compare the best accuracy on the validation videos with guessing; return a sentence, or None."""
    reached = [row.val_top1 for row in rows if row.val_top1 is not None]
    if not reached or not validated:
        return None
    right_N = np.arange(len(validated)) < round(max(reached) * len(validated))
    baseline = find_baseline([item.label for item in validated])
    return judge(max(reached), bootstrap_interval(right_N), baseline, len(validated))


def _measure_held_out(
    terminal: Terminal, run: Path, tested: Sequence[VideoItem], device: str, is_alone: bool
) -> None:
    """Score a model on the test videos of its run; it had no validation videos."""
    if not is_alone or not any(item.path.exists() for item in tested):
        way_on = "vidcli eval" if tested else "vidcli eval DATA, with other videos,"
        terminal.warn(
            "no video was held out to validate on: the training accuracy is of videos that the model learnt, "
            f"and says nothing of new ones; {way_on} does"
        )
        return
    terminal.say(f"measuring on the {len(tested)} test videos")
    numbers = evaluate_own_split(terminal, run / MODEL_FILE, "test", device)
    terminal.say(f"test videos, from which it did not learn: {numbers['verdict']}")
