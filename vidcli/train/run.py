"""A run from its data to its directory: start a run, go on with one, or only describe what it would do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vidcli.artifacts.claim import RunClaim, in_use
from vidcli.artifacts.resume_file import load_resume
from vidcli.artifacts.run_folder import (
    CONFIG_FILE,
    LOCK_FILE,
    RESUME_FILE,
    SPLITS_FILE,
    UNUSABLE_FILE,
    is_over,
)
from vidcli.config import Config, load_config
from vidcli.data.check import check_videos, failures_csv
from vidcli.data.items import (
    LABEL_SEPARATOR,
    SPLITS,
    VideoItem,
    class_counts_of,
    class_names_of,
    label_counts_of,
    require_two_classes,
)
from vidcli.data.loader import batch_ends
from vidcli.data.manifest import read_data
from vidcli.data.relocation import load_run_items
from vidcli.data.span_clips import cut_spans
from vidcli.data.splits import assign_splits, of_split
from vidcli.errors import CheckpointError, ConfigError, VideoError
from vidcli.models import leave_out_missing_action, network_names, settle_clip
from vidcli.models.hf_encoders import encoder_name
from vidcli.report.model_card import write_card
from vidcli.runtime.files import write_text
from vidcli.runtime.launcher import may_restart, num_restarts
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.adapters import build_trained_model
from vidcli.train.batchnorm import fewest_clips, single_clips
from vidcli.train.closed_form import ClosedFormRun, refuse_other_settings
from vidcli.train.contender import Contender
from vidcli.train.events import CheckProgress, EpochRow, Event, Notice
from vidcli.train.recording_spans import cut_for_run, learn_timeline, settle_spans
from vidcli.train.trackers import NOT_INSTALLED, choose_trackers, lacks_tensorboard
from vidcli.train.trainer import Trainer

_RESTART_SECONDS = 30.0
"""How long a process that torchrun started again waits for the earlier one to end."""


@dataclass(frozen=True)
class RunPlan:
    """What `--dry-run` shows of a run.

    Attributes:
        config: all settings.
        class_names: the name of each class, at the position of its label.
        num_videos: number of videos by class name and split.
        num_parameters: parameters of the model.
        num_steps: batches of the whole run.
    """

    config: Config
    class_names: list[str]
    num_videos: dict[str, dict[str, int]]
    num_parameters: int
    num_steps: int


def start_run(
    config: Config,
    data: Path,
    out: Path | None,
    device: torch.device,
    on_event: Callable[[Event], None],
    group: Group = ALONE,
) -> tuple[Path, list[EpochRow]]:
    """Train a new model on a data folder or manifest; return its run directory and epochs.

    Processes that torchrun started again go on with the run in `out`, if it saved a state.

    Args:
        config: all settings.
        data: a folder, manifest or published data set.
        out: the run directory; None creates one in `runs/`.
        device: where to compute.
        on_event: called with each event of the run.
        group: the processes that train together.

    Raises:
        DataError: the data cannot be trained on.
        CheckpointError: the run directory exists already or cannot be written.
        ConfigError: the settings do not fit together, or torchrun may start the processes again and `out`
            does not say where their run is.
    """
    if out is None and may_restart():
        raise ConfigError("--max-restarts needs --out RUN: processes that start again go on with that run")
    if out is not None and num_restarts():
        state = out / RESUME_FILE
        if group.from_main(state.is_file):
            on_event(Notice(f"started again by torchrun: going on with {out}"))
            return resume_run(out, device, on_event, group)
    config = settle_clip(config)
    choose_trackers(config)  # refused before the videos are read, which may take long
    if lacks_tensorboard(config):
        on_event(Notice(NOT_INSTALLED))
    with RunClaim() as claim:
        run, (config, items) = group.from_main(
            lambda: _begin(claim.begin(out, run_name(config)), config, data, on_event)
        )
        if config.train.optimizer == "ridge":
            refuse_other_settings(config, group)
            rows = _train_in_closed_form(config, items, run, device, on_event, resumes=False)
        else:
            rows = _train_by_steps(config, items, run, device, on_event, group)
        learn_timeline(run, device, on_event, group)
    _write_card(run, on_event, group)
    return run, rows


def resume_run(
    run: Path,
    device: torch.device,
    on_event: Callable[[Event], None],
    group: Group = ALONE,
    data_root: Path | None = None,
) -> tuple[Path, list[EpochRow]]:
    """Go on with a run from its last saved state; a finished run returns at once.

    Only the main process reads the run directory.

    Args:
        run: its directory.
        device: where to compute.
        on_event: called with each event of the run.
        group: the processes that train together.
        data_root: the folder that its videos have moved to; None where they have not moved.

    Raises:
        CheckpointError: the directory is no run, its state is damaged, or another process has claimed it.
        DataError: too many of its videos are gone.
    """
    with RunClaim() as claim:
        config, items = group.from_main(lambda: _open_run(run, claim, data_root))
        if config.train.optimizer == "ridge":
            refuse_other_settings(config, group)
            rows = _train_in_closed_form(config, items, run, device, on_event, resumes=True)
        else:
            _, _, trainer = _build_trainer(config, items, run, device, on_event, group)
            trainer.restore()
            rows = trainer.train()
        learn_timeline(run, device, on_event, group)
    _write_card(run, on_event, group)
    return run, rows


def _train_in_closed_form(
    config: Config,
    items: Sequence[VideoItem],
    run: Path,
    device: torch.device,
    on_event: Callable[[Event], None],
    resumes: bool,
) -> list[EpochRow]:
    """Train a model by ridge regression, and try the contender, if any, against it."""
    started = time.monotonic()
    closed_form = ClosedFormRun(config, items, run, device, on_event)
    if resumes:
        closed_form.restore()
    rows = closed_form.train()
    learnt = closed_form.learnt
    if learnt is None:  # the run was over
        return rows
    if config.train.contender != "off" and not config.data.multi_label:
        contender = Contender(config, learnt, run, device, _train_by_steps, on_event, started)
        if taken := contender.compete(closed_form.items):
            return taken
    closed_form.end()
    return rows


def _train_by_steps(
    config: Config,
    items: Sequence[VideoItem],
    run: Path,
    device: torch.device,
    on_event: Callable[[Event], None],
    group: Group,
) -> list[EpochRow]:
    """Train a new model by gradient descent."""
    # Building the model before all videos are read, which may take long, refuses a wrong one early. On
    # each machine one process downloads the weights, and the others find them.
    num_classes = len(class_names_of(items, config.data.multi_label))
    group.first_on_each_machine(lambda: build_trained_model(config, num_classes))
    kept, failures, trainer = _build_trainer(config, items, run, device, on_event, group)
    if group.is_main:
        trainer.describe(kept)
        if failures:
            write_text(run / UNUSABLE_FILE, failures_csv(failures))
    return trainer.train()


def epochs_of_run(run: Path) -> int:
    """Return how many epochs a run is to have in all.

    Args:
        run: its directory.

    Raises:
        CheckpointError: the directory is no run that can go on.
    """
    return _config_of_run(run).train.epochs


def plan_items(config: Config, data: Path, on_event: Callable[[Event], None]) -> Sequence[VideoItem]:
    """Read the data and give every video a split.

    Args:
        config: all settings.
        data: a folder, manifest or published data set.
        on_event: called with notices, such as on files that are not videos.

    Raises:
        ConfigError: `train.class_balance` does not go with several classes a video.
        DataError: there are no videos, fewer than two classes, or splits that do not work out.
    """
    return _plan(config, data, on_event)[1]


def _plan(
    config: Config, data: Path, on_event: Callable[[Event], None]
) -> tuple[Config, Sequence[VideoItem]]:
    """Return the settings that the data ask for, and videos or spans of recordings with their splits."""
    listing = read_data(data, settings=config.data)
    config, note = leave_out_missing_action(config)
    if note:
        on_event(Notice(note))
    config, rows = settle_spans(config, listing.items, lambda text: on_event(Notice(text)))
    require_two_classes(rows, config.data.multi_label)
    if config.data.multi_label and config.train.class_balance != "off":
        raise ConfigError(
            f"train.class_balance={config.train.class_balance}: balances classes of one a video, and "
            "data.multi_label has several; leave one of the two out"
        )
    joined = {label: n for label, n in label_counts_of(rows).items() if LABEL_SEPARATOR in label}
    if joined and not config.data.multi_label:
        on_event(
            Notice(
                f"{sum(joined.values())} labels hold a {LABEL_SEPARATOR!r}, such as {next(iter(joined))!r}, "
                "and count as one class each; data.multi_label=true reads them as several"
            )
        )
    for text in listing.notes:
        on_event(Notice(text))
    return config, assign_splits(rows, config.data)


def _begin(
    run: Path, config: Config, data: Path, on_event: Callable[[Event], None]
) -> tuple[Path, tuple[Config, Sequence[VideoItem]]]:
    """Return a new run's directory, and what `_plan` does; spans of recordings are cut into clips."""
    config, items = _plan(config, data, on_event)
    return run, (config, cut_for_run(run, config, items, lambda text: on_event(Notice(text))))


def plan_run(config: Config, data: Path, on_event: Callable[[Event], None]) -> RunPlan:
    """Return what a run would do, without writing, decoding or downloading anything.

    Args:
        config: all settings.
        data: a folder, manifest or published data set.
        on_event: called with notices.

    Raises:
        ConfigError: the settings do not fit together.
        DataError: the data cannot be trained on.
    """
    config = settle_clip(config, may_fetch=False)
    choose_trackers(config)
    config, items = _plan(config, data, on_event)
    if config.data.clips_per_span > 1:
        items, notes = cut_spans(items, config)
        for note in notes:
            on_event(Notice(note))
    multi_label = config.data.multi_label
    class_names = class_names_of(of_split(items, "train"), multi_label)
    with torch.device("meta"):  # its weights are counted, and take no memory
        model = build_trained_model(config, len(class_names), load_weights=False)
    counts_of = {split: class_counts_of(of_split(items, split), multi_label) for split in SPLITS}
    counts = {name: {split: counts_of[split][name] for split in SPLITS} for name in class_names}
    batch_size, fewest = config.train.batch_size, fewest_clips(model, config)
    if batch_size < fewest:
        raise single_clips(config)
    return RunPlan(
        config,
        class_names,
        counts,
        sum(parameter.numel() for parameter in model.parameters()),
        config.train.epochs * len(batch_ends(len(of_split(items, "train")), batch_size, fewest)),
    )


def _open_run(run: Path, claim: RunClaim, data_root: Path | None) -> tuple[Config, Sequence[VideoItem]]:
    """Return the settings and videos of a run, and claim its directory unless the run is finished.

    A finished run may still have the lock of one that is not, where its process ended too soon; the claim
    removes it. While another process holds the lock of a finished run, the run is only read.
    """
    config = _config_of_run(run)
    finished = _is_finished(run, config)
    if not finished or (run / LOCK_FILE).exists():
        patience = _RESTART_SECONDS if num_restarts() else 0.0
        if not claim.resume(run, patience) and not finished:
            raise in_use(run, "wait for its end, or stop it; then the same command goes on")
    return config, load_run_items(run / SPLITS_FILE, data_root)


def _write_card(run: Path, on_event: Callable[[Event], None], group: Group) -> None:
    """Write the model card of a run that is over and that nobody claims any more."""
    if group.is_main and (obstacle := write_card(run)) is not None:
        on_event(Notice(obstacle))


def _is_finished(run: Path, config: Config) -> bool:
    state = load_resume(run / RESUME_FILE)
    epochs_done, stale_epochs = state.get("epoch"), state.get("stale_epochs")
    return (
        isinstance(epochs_done, int)  # an error follows when the state is restored
        and isinstance(stale_epochs, int)
        and is_over(config.train, epochs_done, stale_epochs)
    )


def _config_of_run(run: Path) -> Config:
    for name in (RESUME_FILE, CONFIG_FILE):
        if not (run / name).is_file():
            raise CheckpointError(
                f"{run}: holds no {name}; expected the directory of a run that saved a state"
            )
    return load_config(str(run / CONFIG_FILE))


def _build_trainer(
    config: Config,
    items: Sequence[VideoItem],
    run: Path,
    device: torch.device,
    on_event: Callable[[Event], None],
    group: Group,
) -> tuple[list[VideoItem], list[VideoError], Trainer]:
    """Decode the train and val videos once, leave out those that fail, and build the trainer.

    Returns:
        The usable videos, those of test included, the errors of the others, and the trainer.
    """
    seen = [item for item in items if item.split in ("train", "val")]
    checked = check_videos(
        seen,
        config,
        lambda done, total: on_event(CheckProgress(done, total)),
        group.share,
        group.gather_shares,
    )
    for text in checked.notices:
        on_event(Notice(text))
    for failure in checked.failures:
        on_event(Notice(f"left out: {failure}"))
    if checked.failures:
        on_event(Notice(f"{len(checked.failures)} of {len(seen)} videos cannot be used"))
    usable = set(checked.usable)
    kept = [item for item in items if item.split == "test" or item in usable]
    require_two_classes(of_split(kept, "train"), config.data.multi_label)
    trainer = Trainer(config, kept, checked.source, run, device, on_event, group)
    return kept, checked.failures, trainer


def run_name(config: Config) -> str:
    """Return the name of a new run: `<date>_<time>_<backbone>_<head>`, or without a head for a network that
    has none of ours.
    """
    network = config.model.backbone
    if config.model.streams != "off":
        return f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{network.replace(':', '_')}_streams"
    if (encoder := encoder_name(network)) is not None:
        network = f"hf-{Path(encoder).name}"
    if network not in network_names():
        network += f"_{config.model.head}"
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{network}"
