"""Weights & Biases and MLflow: the same numbers, kept by other programs.

Which run of theirs belongs to a run directory stands in its `trackers.json`, so that a run which goes on is
the same run there. Where they keep it is told by their own environment variables, such as `WANDB_MODE`,
`WANDB_PROJECT`, `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME`; MLflow without one writes to
`mlflow.db` beside the run.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vidcli.artifacts.run_folder import TRACKERS_FILE
from vidcli.config import Config, config_to_dict
from vidcli.runtime.files import read_regular, write_text

_PROJECT = "vidcli"
_DATABASE = "mlflow.db"
_MAX_BYTES = 2**16
_BATCH = 100
_FLUSH_SECONDS = 5.0


class WandbTracker:
    """A run of Weights & Biases; it drops steps that it has already by itself."""

    def __init__(self, run: Path, config: Config) -> None:
        """Start the run, or go on with it.

        Args:
            run: the run directory, in which its local files lie.
            config: all settings, which it shows.
        """
        import wandb

        known = _read_ids(run).get("wandb") or secrets.token_hex(4)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.resolve().name,
            id=known,
            resume="allow",
            dir=str(run),
            config=config_to_dict(config),
        )
        _keep_id(run, "wandb", known)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Log values by name."""
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Do nothing: another process of theirs has all values at once."""

    def close(self, is_over: bool) -> None:
        """End the run, as finished or as stopped."""
        self._run.finish(exit_code=0 if is_over else 1)

    def abandon(self) -> None:
        """End the run after an error."""
        with suppress(Exception):  # the first error was told
            self._run.finish(exit_code=1)


class MlflowTracker:
    """A run of MLflow, to which values are sent in batches; a step that it has already is not sent again."""

    def __init__(self, run: Path, config: Config) -> None:
        """Start the run, or go on with it.

        Args:
            run: the run directory.
            config: all settings, which become parameters.
        """
        import mlflow

        self._metric = mlflow.entities.Metric
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.resolve().parent / _DATABASE}"
        self._client: Any = mlflow.MlflowClient(tracking_uri=place)
        self._waiting: list[Any] = []
        self._sent_at = time.monotonic()
        self._last_step: dict[str, int] = {}
        known = _read_ids(run).get("mlflow")
        if known is not None:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            for name in self._client.get_run(known).data.metrics:
                history = self._client.get_metric_history(known, name)
                self._last_step[name] = max(metric.step for metric in history)
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._id = self._client.create_run(number, run_name=run.resolve().name).info.run_id
        settings = config_to_dict(config)
        parameters = [
            mlflow.entities.Param(f"{section}.{key}", str(value))
            for section, values in settings.items()
            for key, value in values.items()
        ]
        for start in range(0, len(parameters), _BATCH):
            self._client.log_batch(self._id, params=parameters[start : start + _BATCH])
        _keep_id(run, "mlflow", self._id)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Log values by name."""
        for name, value in values.items():
            if step > self._last_step.get(name, -1):
                self._last_step[name] = step
                self._waiting.append(self._metric(name, value, int(1000 * time.time()), step))
        if len(self._waiting) >= _BATCH or time.monotonic() - self._sent_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send all values."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _BATCH):
            self._client.log_batch(self._id, metrics=waiting[start : start + _BATCH])
        self._sent_at = time.monotonic()

    def close(self, is_over: bool) -> None:
        """Send all values, and end the run as finished or as stopped."""
        self.flush()
        self._client.set_terminated(self._id, "FINISHED" if is_over else "KILLED")

    def abandon(self) -> None:
        """End the run after an error."""
        with suppress(Exception):  # the first error was told
            self._client.set_terminated(self._id, "FAILED")


def _read_ids(run: Path) -> dict[str, str]:
    """Return which run of each service belongs to a run directory."""
    try:
        told = json.loads(read_regular(run / TRACKERS_FILE, _MAX_BYTES))
        return {str(name): str(value) for name, value in told.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # a run that has none yet, or that starts anew there


def _keep_id(run: Path, name: str, value: str) -> None:
    write_text(run / TRACKERS_FILE, json.dumps(_read_ids(run) | {name: value}) + "\n")
