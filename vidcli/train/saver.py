"""What a run writes to go on from and to predict with, and how it ends when it is interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.environment import describe_environment
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.artifacts.resume_file import load_resume, save_resume
from vidcli.artifacts.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    LAST_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RESUME_FILE,
    SPLITS_FILE,
)
from vidcli.config import Config, config_to_yaml
from vidcli.data.items import VideoItem
from vidcli.data.manifest import manifest_text
from vidcli.data.relocation import with_digests
from vidcli.errors import CheckpointError, PeerError, WriteError
from vidcli.models.calibration import Calibration
from vidcli.runtime.files import write_text
from vidcli.runtime.processes import Group, is_peer_failure
from vidcli.runtime.signals import AskedToEnd, deferred
from vidcli.train.events import EpochRow, Event, Notice


class InterruptGuard:
    """Ends a run that is interrupted, so that the user knows how to go on.

    A signal waits for the end of the step, and all processes end when one is asked to.
    """

    def __init__(self, run: Path, group: Group, on_event: Callable[[Event], None]) -> None:
        """Start without a signal.

        Args:
            run: the run directory.
            group: the processes that end together.
            on_event: told how to go on.
        """
        self._run, self._group, self._on_event = run, group, on_event
        self._signum = 0

    def deferred_signals(self) -> AbstractContextManager[None]:
        """Return a context in which the first signal that asks to end is only noted."""
        return deferred(self._note)

    def stop_if_asked(self, save: Callable[[], None] | None = None, is_due: bool = False) -> None:
        """End the run if a signal asks any of its processes to; all of them call this at the same place.

        Args:
            save: called in the main process before the end, and where it is due; None saves nothing.
            is_due: whether it is time to save; the main process decides.

        Raises:
            AskedToEnd: the run ends. Of different signals the one with the highest number counts.
        """
        signum, saves = self._group.largest(self._signum, is_due and self._group.is_main)
        if (signum or saves) and save is not None and self._group.is_main:
            save()
        if signum:
            self._on_event(Notice(f"interrupted; go on with `vidcli train --resume {self._run}`"))
            raise AskedToEnd(int(signum))

    @contextmanager
    def before_epochs(self) -> Iterator[None]:
        """Say how to go on if the body, before the first epoch, is interrupted."""
        try:
            yield
        except KeyboardInterrupt:
            way_on = "train --resume" if (self._run / RESUME_FILE).is_file() else "train DATA --out"
            self._on_event(
                Notice(f"interrupted before an epoch began; go on with `vidcli {way_on} {self._run}`")
            )
            raise

    @contextmanager
    def explained_errors(self) -> Iterator[None]:
        """Say how to go on where the body cannot write, or another process is gone.

        Raises:
            WriteError: the run directory cannot be written; the message says how to go on.
            PeerError: another process of the run has ended.
        """
        try:
            yield
        except WriteError as error:
            raise WriteError(f"{error}{self._way_on()}") from error
        except RuntimeError as error:
            if self._group.size > 1 and is_peer_failure(error):
                raise PeerError from error
            raise

    def _way_on(self) -> str:
        if not (self._run / RESUME_FILE).is_file():
            return ". No state had been saved yet: make room or mend the folder, and start again"
        return (
            ". All that was saved before is whole: make room or mend the folder, then go on with "
            f"`vidcli train --resume {self._run}`"
        )

    def _note(self, signum: int) -> None:
        self._signum = signum


class Saver:
    """Writes the files of a run directory, in the main process, and reads its resume file.

    Attributes:
        run: the directory.
        resume_file: path of the file with the state to go on from.
    """

    def __init__(
        self,
        run: Path,
        config: Config,
        class_names: Sequence[str],
        fingerprint: str,
        guard: InterruptGuard,
        collect_state: Callable[[], dict[str, Any]],
    ) -> None:
        """Keep what every file needs; nothing is written yet.

        Args:
            run: an existing folder.
            config: all settings.
            class_names: the name of each class, at the position of its label.
            fingerprint: digest of the videos of the run.
            guard: knows of signals that ask the run to end.
            collect_state: returns all that the run needs to go on: tensors, numbers, strings, and lists and
                dicts of them.
        """
        self.run, self._config, self._class_names = run, config, class_names
        self._fingerprint, self._guard, self._collect_state = fingerprint, guard, collect_state
        self.resume_file = run / RESUME_FILE
        self._saved_at = time.monotonic()

    @property
    def has_resume(self) -> bool:
        """Whether there is a state to go on from."""
        return self.resume_file.exists()

    def describe(self, items: Sequence[VideoItem], device: torch.device) -> None:
        """Write settings, splits and environment of a new run.

        Args:
            items: all usable videos, each with its split.
            device: where the run computes.
        """
        write_text(self.run / CONFIG_FILE, config_to_yaml(self._config))
        write_text(self.run / SPLITS_FILE, manifest_text(with_digests(items)))
        made_with = json.dumps(describe_environment(str(device)), indent=1) + "\n"
        write_text(self.run / ENVIRONMENT_FILE, made_with)

    def save_epoch(
        self, weights: Mapping[str, Tensor], calibration: Calibration, rows: Sequence[EpochRow], is_best: bool
    ) -> None:
        """Write the model of an epoch and the metrics of all.

        Args:
            weights: of the model to predict with.
            calibration: of that model.
            rows: one an epoch; the last one is of these weights.
            is_best: whether the model is the best so far.
        """
        metrics = {name: value for name, value in asdict(rows[-1]).items() if name != "lr"}
        saved = Checkpoint(weights, self._config, self._class_names, metrics, self._fingerprint, calibration)
        for name in (LAST_FILE, MODEL_FILE) if is_best else (LAST_FILE,):
            save_checkpoint(self.run / name, saved)
        write_text(self.run / METRICS_FILE, "".join(json.dumps(asdict(row)) + "\n" for row in rows))

    def save_if_due(self) -> None:
        """Save the state every `train.checkpoint_minutes`, and where a signal asks the run to end.

        All processes call this at the same place.

        Raises:
            AskedToEnd: a signal asks any process of the run to end; the state is saved first.
        """
        is_due = time.monotonic() - self._saved_at > 60 * self._config.train.checkpoint_minutes
        self._guard.stop_if_asked(self.save_resume, is_due)

    def save_resume(self) -> None:
        """Write all that the run needs to go on."""
        save_resume(self.resume_file, self._collect_state() | {"fingerprint": self._fingerprint})
        self._saved_at = time.monotonic()

    def load_resume(self) -> dict[str, Any]:
        """Return what `save_resume` wrote.

        Raises:
            CheckpointError: the file is missing or damaged, or of other data.
        """
        state = load_resume(self.resume_file)
        if state.get("fingerprint") != self._fingerprint:
            raise CheckpointError(
                f"{self.resume_file}: belongs to other data; the videos of {SPLITS_FILE} have changed since. "
                "Bring them back as they were, or start a new run"
            )
        return state
