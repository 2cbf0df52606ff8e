"""`vidcli demo --long`: long recordings, a table of what happens in them, a model, and its timelines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.console import Terminal

LONG_RECIPE = "recordings-motion"
_BACKGROUND = "rest"


class LongDemoOptions(NamedTuple):
    """What the command line of `vidcli demo --long` says.

    Attributes:
        keep: folder for the recordings; None is the cache.
        out: run directory to make; None is one under `runs/`.
        device: as --device says.
        assignments: settings as `KEY=VALUE`.
        num_recordings: how many.
        minutes: of each.
        seed: of all recordings.
    """

    keep: Path | None
    out: Path | None
    device: str
    assignments: Sequence[str]
    num_recordings: int
    minutes: float
    seed: int


def run_long_demo(terminal: Terminal, options: LongDemoOptions) -> int:
    """Make recordings, train on their spans, and score timelines of those that were held out; return 0."""
    from vidcli.commands.eval import EvalOptions
    from vidcli.commands.eval_timeline import run_timeline_eval
    from vidcli.commands.outcome import say_kept
    from vidcli.config import load_config
    from vidcli.console.training_view import TrainingView, print_long_demo_end
    from vidcli.data.builtin import make_long_data
    from vidcli.runtime.devices import choose_device
    from vidcli.synthetic import BOXES_FILE, LongRecordingOptions
    from vidcli.train import refuse_taken, start_run

    chosen = choose_device(options.device)
    try:
        look = LongRecordingOptions(minutes=options.minutes)
    except ValueError as error:
        raise ConfigError(f"--minutes {options.minutes:g}: {error}") from error
    usual = [f"data.background={_BACKGROUND}", f"clip.stride_seconds={1 / look.fps}"]
    config = load_config(LONG_RECIPE, [*usual, *options.assignments])
    if options.out is not None:
        refuse_taken(options.out)
    terminal.say(
        f"making {options.num_recordings} recordings of {options.minutes:g} min: six behaviours of 0.3 to 60 "
        "s, and nothing of these half of the time; two subjects in every other one"
    )
    with terminal.counting("drawing frames", past="drew", noun="frame") as show:
        table = make_long_data(options.keep, options.num_recordings, options.seed, look, show)
    boxes = table.parent / BOXES_FILE
    terminal.say(f"labelled spans: {table}, boxes of subjects: {boxes}")
    if not any(text.partition("=")[0].strip() == "subject.boxes" for text in options.assignments):
        subject = config.subject.model_copy(update={"boxes": str(boxes)})
        config = config.model_copy(update={"subject": subject})
    with TrainingView(terminal, config.train.epochs) as view:
        run, _ = start_run(config, table, options.out, chosen, view)
    evaluation = EvalOptions(
        data=None,
        data_root=None,
        model=run,
        split="test",
        against=None,
        views_sweep=False,
        timeline=True,
        window=None,
        device=options.device,
        out=None,
        overwrite=False,
        as_json=False,
    )
    code = run_timeline_eval(terminal, evaluation)
    print_long_demo_end(terminal, run, table.parent / "recording_02.mp4", boxes)
    say_kept(terminal, run)
    return code
