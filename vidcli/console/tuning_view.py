"""What `vidcli tune` prints: the best trials, what mattered, and what to type next."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vidcli.console.study_view import (
    SCORE_TITLES,
    describe_difference,
    print_sentence,
    print_whole,
    with_interval,
)
from vidcli.console.tables import number_table
from vidcli.console.terminal import Terminal
from vidcli.console.text import count_noun
from vidcli.evaluate.grouped import Interval
from vidcli.studies.tuning_result import BEST_FILE, TUNE_FILES, Trial, TuningResult

_NUM_SHOWN = 10


def print_tuning(terminal: Terminal, result: TuningResult, out: Path) -> None:
    """Print the best trials, how much each setting mattered, and how to go on.

    Args:
        terminal: to print on.
        result: what was found.
        out: folder of the search.
    """
    keys = [each.key for each in result.plan.space]
    short = [key.partition(".")[2] for key in keys]
    heads = short if len(set(short)) == len(keys) else keys
    table = number_table("trial", f"{SCORE_TITLES[result.plan.score]}, 95%", *heads)
    complete = [trial for trial in result.trials if trial.state == "complete"]
    complete.sort(key=lambda trial: (-(trial.score or 0.0), trial.number))
    for trial in complete[:_NUM_SHOWN]:
        table.add_row(str(trial.number), _score_of(trial), *(_shown(trial.values[key]) for key in keys))
    print_whole(terminal, table)
    states = Counter(trial.state for trial in result.trials)
    told = ", ".join(f"{states[state]} {state}" for state in ("complete", "given up", "failed"))
    terminal.say(f"{count_noun(len(result.trials), 'trial')}: {told}")
    if result.importances:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in result.importances.items())
        print_sentence(terminal, f"what the scores depended on: {shares}")
    if result.gain is not None:
        print_sentence(terminal, describe_difference(result.gain))
    terminal.warn(
        "the best of many trials was lucky too: its score is too good by some; measure it once, on the test "
        "videos"
    )
    terminal.say(f"wrote {', '.join(TUNE_FILES)} to {out}")
    terminal.say(f"next: vidcli train {result.plan.data} --config {out / BEST_FILE}, then vidcli eval")


def _score_of(trial: Trial) -> str:
    assert trial.score is not None
    assert trial.interval is not None
    return with_interval(Interval(trial.score, *trial.interval))


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
