"""What `vidcli train`, `train --compare` and `demo` show: a live line, results, what to type next."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from vidcli.artifacts.run_folder import RESUME_FILE
from vidcli.config import STREAMS, join_streams, split_panels
from vidcli.console.bars import Part, Progressing, Stopwatch
from vidcli.console.prediction_writers import predictions_table
from vidcli.console.tables import number_table
from vidcli.console.terminal import ProgressView, Terminal
from vidcli.console.text import count_noun, format_bytes, format_seconds, plain, plain_lines
from vidcli.data.items import SPLITS
from vidcli.predict import Prediction
from vidcli.train import (
    CheckProgress,
    ChoiceMade,
    CompareProgress,
    Comparison,
    ContenderProgress,
    EpochDone,
    EpochRow,
    Event,
    FollowProgress,
    Notice,
    RunPlan,
    StepDone,
    Waits,
)

_COLUMNS = 80
"""Of a terminal that shows what was tried."""
_NO_BREAK = "\N{NO-BREAK SPACE}"


class TrainingView(ProgressView):
    """Shows the events of a run: a line for each epoch, and on a terminal a live line below."""

    def __init__(self, terminal: Terminal, epochs: int) -> None:
        """Show nothing before the view is entered.

        Args:
            terminal: to show the events on.
            epochs: number of epochs of the run.
        """
        super().__init__(terminal, Progressing("starting", parts=()))
        self._epochs = epochs
        self._watch = Stopwatch(terminal.say)
        self._past = ""
        self._num_epochs = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if kind is None:
            self._begin("")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._terminal.warn(event.text)
        elif isinstance(event, ChoiceMade):
            self._begin("chose")
            for line in choice_lines(event):
                self._terminal.say(line)
        elif isinstance(event, EpochDone):
            self._num_epochs += 1
            self._begin(f"trained {count_noun(self._num_epochs, 'epoch')}")
            self._terminal.say(self._epoch_line(event))
        elif isinstance(event, StepDone):
            self._begin(f"trained {count_noun(self._num_epochs, 'epoch')}")
            self._show_step(event)
        elif isinstance(event, FollowProgress):
            self._begin(f"followed {event.done} s of validation recordings")
            self._shown.begin("following recordings")
            self._shown.update(event.done, event.total)
        elif isinstance(event, ContenderProgress):
            self._begin("tried a network trained from pixels")
            self._shown.begin("trying a network trained from pixels")
            self._shown.update(event.done, event.total)
        else:
            is_check = isinstance(event, CheckProgress)
            what = "read" if is_check else "computed the features of"
            self._begin(f"{what} {count_noun(event.done, 'video')}")
            self._shown.begin("reading videos" if is_check else "computing features")
            self._shown.update(event.done, event.total)

    def _begin(self, past: str) -> None:
        """Note the present work in the past tense; where it has changed, say how long the last one took."""
        if past.partition(" ")[0] != self._past.partition(" ")[0]:
            if self._past:
                self._watch.stop(self._past)
            else:
                self._watch = Stopwatch(self._terminal.say)
        self._past = past

    def _show_step(self, event: StepDone) -> None:
        self._shown.label = f"epoch {event.epoch}/{self._epochs}"
        self._shown.done, self._shown.total = event.step, event.num_steps
        self._shown.parts = (
            Part(f"loss {event.loss:.3f}", 2),
            Part(f"acc {event.accuracy:.3f}", 3),
            Part(f"{event.clips_per_second:.0f} clips/s", 4),
            Part(f"waiting {event.waiting:.0%}", 5),
            Part(f"{format_seconds(event.seconds_left)} left", 1),
        )

    def _epoch_line(self, event: EpochDone) -> str:
        row = event.row
        width = len(str(self._epochs))
        line = f"epoch {row.epoch:>{width}}/{self._epochs}  loss {row.train_loss:.3f}  "
        line += f"acc {row.train_accuracy:.3f}"
        if row.val_top1 is not None and row.val_loss is not None:
            line += f"  val loss {row.val_loss:.3f}  val acc {row.val_top1:.3f}"
        if row.val_map is not None and row.val_loss is not None:
            line += f"  val loss {row.val_loss:.3f}  val mAP {row.val_map:.3f}"
        line += "  best" if event.best and row.val_score is not None else ""
        return line if event.waits is None else f"{line}  {describe_waits(event.waits)}"


def describe_waits(waits: Waits) -> str:
    """Return who waited for whom, such as `GPU waits for videos 34%`."""
    device = "model" if waits.device == "cpu" else "GPU"
    if waits.is_device:
        return f"{device} waits for videos {waits.idle:.0%}"
    return f"videos wait for {device}, busy {1 - waits.idle:.0%}"


def choice_lines(choice: ChoiceMade) -> list[str]:
    """Return what was tried by cross-validation and what was chosen, a line each."""
    kept = "look-alikes" if choice.by_look else "groups"
    what = "mAP" if choice.trials[0]["top1"] is None else "top-1/balanced accuracy"
    lines = [f"{what} in cross-validation, {choice.num_folds} folds, {kept} kept whole:"]
    for place, trial in enumerate(choice.trials):
        found = (trial["top1"], trial["balanced_accuracy"], trial["map"])
        scores = "/".join(f"{value:.3f}" for value in found if value is not None)
        told = f"  {scores}  {_describe_trial(trial)}{'' if place else ' *'}"
        lines += textwrap.wrap(told, _COLUMNS, subsequent_indent=" " * (len(scores) + 4))
    if (expected := choice.expected) is not None:
        low, high = expected.top1_interval
        told = (
            f"  * chosen; the best of {expected.num_candidates} had some luck with these {kept}: of others "
            f"expect {expected.top1:.3f}/{expected.balanced_accuracy:.3f} (top-1 with 95% certainty "
            f"{low:.3f} to {high:.3f})"
        )
        lines += textwrap.wrap(told, _COLUMNS, subsequent_indent="    ")
    return lines + [f"what would help: {sentence}" for sentence in choice.advice]


def _describe_trial(trial: Mapping[str, object]) -> str:
    """Return what a trial read, such as `appearance follow, motion window+follow, mirrored`."""
    panels = str(trial["panels"]).split(",")
    read = split_panels(str(trial["streams"]), len(panels))
    streams_of: dict[str, list[str]] = {}
    for stream in STREAMS:
        seen = [panel for panel, streams in zip(panels, read, strict=True) if stream in streams]
        streams_of.setdefault("+".join(seen), []).append(stream)
    told = [f"{join_streams(streams)} {seen}" for seen, streams in streams_of.items() if seen]
    return ", ".join([*told, "mirrored"] if trial["mirrored"] else told)


def print_best(
    terminal: Terminal, rows: Sequence[EpochRow], verdict: str | None, cross_validated: bool
) -> None:
    """Say how good the best epoch is on validation videos, and whether that is more than guessing.

    Args:
        terminal: to print on.
        rows: all epochs of the run.
        verdict: the sentence that compares it with guessing; None where there is none.
        cross_validated: whether the model was chosen and calibrated by cross-validation.
    """
    validated = [row for row in rows if row.val_score is not None and row.val_loss is not None]
    if not validated and cross_validated:
        terminal.say("chosen and calibrated by cross-validation, then trained on all training videos")
        return
    if not validated:
        terminal.say("no validation split: the last epoch is the model, its probabilities are not calibrated")
        return
    best = max(validated, key=lambda row: (row.val_score or 0.0, -(row.val_loss or 0.0)))
    kind = "accuracy" if best.val_map is None else "mAP"
    terminal.say(f"best validation {kind} {best.val_score:.3f} in epoch {best.epoch}")
    if verdict is not None:
        terminal.say(f"validation videos, by which the epoch was chosen: {verdict}")


def print_kept(
    terminal: Terminal, run: Path, run_bytes: int, resume_bytes: int, caches: Mapping[Path, int]
) -> None:
    """Say which folders a run leaves, and how large they are.

    Args:
        terminal: to print on.
        run: directory of the run.
        run_bytes: size of the directory.
        resume_bytes: size of the files in it that only --resume needs; 0 where there are none.
        caches: the size in bytes of each folder that all runs share.
    """
    line = f"kept: {run} {format_bytes(run_bytes)}"
    if resume_bytes:
        line += f", of which {format_bytes(resume_bytes)} are {RESUME_FILE}, which only --resume needs"
    shared = ", ".join(f"{folder} {format_bytes(size)}" for folder, size in caches.items())
    terminal.say(line + (f"; for all runs, and made again if deleted: {shared}" if shared else ""))


def print_run_end(terminal: Terminal, run: Path) -> None:
    """Say which command to type next, and print the directory of the run."""
    terminal.say(f"next: vidcli eval --model {run}")
    terminal.out.print(plain(str(run)), soft_wrap=True)


def print_plan(terminal: Terminal, plan: RunPlan, config_yaml: str) -> None:
    """Show what a run would train on, as `train --dry-run` does.

    Args:
        terminal: to print on.
        plan: the run.
        config_yaml: its settings.
    """
    table = number_table("class", *SPLITS)
    for name in plan.class_names:
        table.add_row(plain(name), *(str(plan.num_videos[name][split]) for split in SPLITS))
    terminal.out.print(table)
    terminal.out.print(f"{plan.num_parameters:,} parameters, {plan.num_steps:,} steps")
    terminal.out.print(plain_lines(config_yaml.rstrip()), soft_wrap=True)


class CompareView(ProgressView):
    """Shows the events of a comparison in a live line: first the features, then the heads."""

    def __init__(self, terminal: Terminal) -> None:
        """Show on this terminal."""
        super().__init__(terminal, Progressing("starting"))

    def __call__(self, event: CompareProgress | Notice) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._terminal.warn(event.text)
            return
        self._shown.begin(event.what)
        self._shown.update(event.done, event.total)


def print_comparison(terminal: Terminal, comparison: Comparison) -> None:
    """Print what was compared, the scores of each head, and whether time matters."""
    weights = {
        "random": "random weights: better ones (model.pretrained=true, model.weights=FILE) see more",
        "published": "published weights",
    }.get(comparison.weights, f"weights of {comparison.weights}")
    num_read = comparison.num_videos_read
    terminal.say(f"frozen backbone: {comparison.backbone}, {weights}")
    terminal.say(
        f"features of {num_read} videos, {comparison.num_cached} of them from the cache: "
        f"{format_seconds(comparison.feature_seconds)}"
    )
    if comparison.num_failed:
        terminal.say(f"{comparison.num_failed} videos cannot be decoded and are in no number below")
    terminal.say(f"scored on {comparison.scored_on}")
    table = number_table("head", "in order, 95%", "shuffled, 95%", "gain", "time")
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal must not cut numbers
    table.columns[0].no_wrap = True
    for score in comparison.heads:
        table.add_row(
            plain(score.head),
            _with_interval(score.ordered, score.ordered_interval),
            _with_interval(score.shuffled, score.shuffled_interval),
            f"{score.ordered - score.shuffled:+.3f}",
            format_seconds(score.seconds).replace(" ", _NO_BREAK),
        )
    terminal.out.print(table)
    # The sentence is broken between words on a terminal, and stays one line in a pipe.
    terminal.out.print(plain_lines(describe_answer(comparison)), soft_wrap=not terminal.out.is_terminal)


def describe_answer(comparison: Comparison) -> str:
    """Return the sentence that answers whether time matters."""
    low, high = comparison.difference_interval
    if comparison.time_matters:
        answer = "Yes"
    elif high < 0:
        answer = "No, shuffled frames even do better"
    else:
        answer = "Not that these features show"
    return (
        f"Does time matter in this data set? {answer}: the heads that can tell are right on "
        f"{comparison.ordered:.3f} of the videos in order and on {comparison.shuffled:.3f} shuffled, a "
        f"difference of {comparison.difference:+.3f} (95% interval {low:+.3f} to {high:+.3f}; guessing the "
        f"largest class: {comparison.largest_class:.3f})."
    )


def _with_interval(accuracy: float, interval: tuple[float, float]) -> str:
    return f"{accuracy:.3f}  {interval[0]:.2f}–{interval[1]:.2f}"


def print_long_demo_end(terminal: Terminal, run: Path, video: Path, boxes: Path) -> None:
    """Show how to do what the demo of long recordings did with one's own.

    Args:
        terminal: to print on.
        run: directory of the trained model.
        video: one of the recordings.
        boxes: table of the subjects' boxes.
    """
    commands = [
        f"vidcli eval --timeline --model {run}",
        f"vidcli timeline {video} --boxes {boxes} --model {run}",
        "",
        "vidcli import EVENTS --media VIDEOS --tracks -o spans.csv    # from BORIS, ELAN, CVAT and others",
        "vidcli train spans.csv --config recordings --set data.background=rest --boxes BOXES",
        "vidcli timeline VIDEO... --boxes BOXES --output segments.json",
    ]
    terminal.out.print("\nwhat was done here, again; and the same with recordings of your own:")
    for command in commands:
        terminal.out.print(plain(f"  {command}", "bold"), soft_wrap=True)


def print_demo_end(
    terminal: Terminal, run: Path, examples: Sequence[Prediction], top1: float, shuffled_top1: float
) -> None:
    """Show predictions of the demo, what time was worth, and how to do the same on one's own folder.

    Args:
        terminal: to print on.
        run: directory of the trained model.
        examples: an answer to one test video of each class.
        top1: share of the test videos that were answered right, 0 to 1.
        shuffled_top1: the same with the frames of each video in random order.
    """
    out = terminal.out
    out.print(predictions_table(examples, 2, out.width))
    out.print(
        f"the same videos with their frames shuffled: top-1 {shuffled_top1:.3f} (in order: {top1:.3f})",
        soft_wrap=True,
    )
    commands = [
        f"vidcli eval --model {run}",
        f"vidcli predict {examples[0].video} --model {run}",
        "",
        "vidcli train FOLDER          # FOLDER/CLASS/video.mp4, one folder a class",
        "vidcli eval                  # the newest run, on its own test videos",
        "vidcli predict VIDEO...",
    ]
    out.print("\nwhat was done here, again; and the same on a folder of your own:")
    for command in commands:
        out.print(plain(f"  {command}", "bold"), soft_wrap=True)
