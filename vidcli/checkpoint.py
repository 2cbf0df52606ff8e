"""The model file, the run directory and the resume state, on disk.

A model file is one `.safetensors`: the weights, and in its metadata, as JSON, everything else that
is needed to predict. Nothing in it is ever executed. Every file is written whole or not at all.

    RUN/model.safetensors    best epoch            RUN/config.yaml      settings, fully resolved
    RUN/last.safetensors     last epoch            RUN/metrics.jsonl    a row an epoch
    RUN/resume.pt            what goes on training RUN/splits.csv       every video used and its split
    RUN/unusable.csv         what was left out, and why; only where there is such
    RUN/environment.json     versions and hardware it was trained with
    RUN/run.lock             locked while a process trains; stays where a run did not come to its end
    RUN/curves.png, samples.png, confusion.png, events.out.tfevents.*    for people to look at
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vidcli.calibrate import UNCALIBRATED, Calibration
from vidcli.config import Config, config_from_dict, config_to_dict
from vidcli.errors import CheckpointError, ConfigError, did_you_mean
from vidcli.models import VideoModel, build_model, is_published, load_published, published_names
from vidcli.runtime.files import write_whole
from vidcli.transforms import MEAN, STD

FORMAT_VERSION = 1
MODEL_FILE, LAST_FILE, RESUME_FILE = "model.safetensors", "last.safetensors", "resume.pt"
CONFIG_FILE, METRICS_FILE, SPLITS_FILE = "config.yaml", "metrics.jsonl", "splits.csv"
UNUSABLE_FILE, ENVIRONMENT_FILE = "unusable.csv", "environment.json"
CURVES_FILE, SAMPLES_FILE, CONFUSION_FILE = "curves.png", "samples.png", "confusion.png"
EVENTS_PREFIX = "events.out.tfevents."
LOCK_FILE = "run.lock"
EXPORT_FILE = "vidcli.json"
RUNS_FOLDER = Path("runs")
_METADATA_KEY = "vidcli"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and all that is needed to use it.

    Attributes:
        weights: state dict of the model that `config.model` describes.
        class_names: position is label.
        metrics: what validation said of these weights, by name.
        fingerprint: digest of the data it was trained on.
        calibration: how its logits become probabilities.
    """

    weights: Mapping[str, Tensor]
    config: Config
    class_names: Sequence[str]
    metrics: Mapping[str, float | int | None] = field(default_factory=dict)
    fingerprint: str = ""
    calibration: Calibration = UNCALIBRATED

    def build(self) -> VideoModel:
        """Return the model with its weights, in evaluation mode.

        Raises:
            CheckpointError: the weights are not those of the model that the settings describe.
        """
        model = build_model(self.config.model, len(self.class_names), load_weights=False)
        try:
            model.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise CheckpointError(f"the weights do not fit the model's settings: {error}") from error
        return model.eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a model file.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; the old file is kept.
    """
    metadata = {_METADATA_KEY: json.dumps(describe_checkpoint(checkpoint))}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
    blob = safetensors.torch.save(weights, metadata=metadata)
    write_whole(path, lambda temporary: temporary.write_bytes(blob))


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return all that a model file holds beside the weights, as plain values for JSON.

    Of `model.weights`, the file that training started from, only the name is kept: the model does
    not need it any more, and its folder is nobody else's business.
    """
    settings = config_to_dict(checkpoint.config)
    if settings["model"]["weights"] is not None:
        settings["model"]["weights"] = Path(settings["model"]["weights"]).name
    return {
        "format_version": FORMAT_VERSION,
        "config": settings,
        "class_names": list(checkpoint.class_names),
        "preprocessing": {
            "mean": checkpoint.config.clip.mean or MEAN,
            "std": checkpoint.config.clip.std or STD,
            "channels": "RGB",
            "layout": "TCHW",
        },
        "metrics": dict(checkpoint.metrics),
        "fingerprint": checkpoint.fingerprint,
        "calibration": asdict(checkpoint.calibration),
    }


def parse_description(about: object, source: Path) -> dict[str, Any]:
    """Return the fields of a `Checkpoint`, but for the weights, from what `describe_checkpoint` gave.

    Raises:
        CheckpointError: it is of another version, or damaged; names `source`.
    """
    version = about.get("format_version") if isinstance(about, dict) else None
    if not isinstance(about, dict) or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{source}: has format version {version}, this vidcli reads "
            f"{FORMAT_VERSION}; use the version of vidcli that wrote it"
        )
    try:
        return {
            "config": config_from_dict(about["config"]),
            "class_names": tuple(about["class_names"]),
            "metrics": about["metrics"],
            "fingerprint": about["fingerprint"],
            # Files of earlier versions have none.
            "calibration": Calibration(**about.get("calibration", {})),
        }
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: holds settings that this version does not know: {error}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a model file, or what `find_model` returned for the name of a published model.

    Raises:
        CheckpointError: missing, truncated, or written by something else.
        ConfigError: a published model that cannot be downloaded.
    """
    if not path.exists() and is_published(str(path)):
        published = load_published(str(path))
        return Checkpoint(published.weights, published.config, published.class_names, published.metrics)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _METADATA_KEY not in metadata:
                raise CheckpointError(
                    f"{path}: is a safetensors file, but not a vidcli model (it lacks vidcli's metadata); "
                    "weights of a backbone go to `--set model.weights=FILE` of `vidcli train`"
                )
            about = json.loads(metadata[_METADATA_KEY])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such model file") from error
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: is not a readable model file ({error}); it may be truncated or of another kind. "
            f"Expected {MODEL_FILE} of a run directory"
        ) from error
    return Checkpoint(weights, **parse_description(about, path))


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """Return the model file of a run directory, a model file or the folder of an exported model.

    The name of a published model is returned as it is, unless a file or run of that name is there.
    Without `model`, the environment's VIDCLI_MODEL counts, then the newest run under `runs/`.

    Raises:
        CheckpointError: there is none.
    """
    model = model or os.environ.get("VIDCLI_MODEL") or None
    if model is None:
        return newest_run(MODEL_FILE) / MODEL_FILE
    path = Path(model)
    if is_published(str(path)) and not path.is_file() and not (path / MODEL_FILE).is_file():
        return path
    if path.is_dir():
        if (path / MODEL_FILE).is_file():
            return path / MODEL_FILE
        if (path / EXPORT_FILE).is_file():
            return path
        raise CheckpointError(f"{path}: holds no {MODEL_FILE}; expected the directory of a finished epoch")
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such run directory or model file"
            + (f".{near}" if (near := did_you_mean(str(path), published_names())) else "")
        )
    return path


def newest_run(holding: str) -> Path:
    """Return the run under `runs/` whose file named `holding` was written last.

    Raises:
        CheckpointError: no run has such a file.
    """
    files = sorted(RUNS_FOLDER.glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise CheckpointError(
            f"no run under {RUNS_FOLDER}/ holds a {holding}; train one with `vidcli train`, or name a "
            "model with --model"
        )
    return files[-1].parent


def save_resume(path: Path, state: Mapping[str, Any]) -> None:
    """Write what training needs to go on: tensors, numbers, strings and containers of them only."""

    def write(temporary: Path) -> None:
        # A file of Python's own: given a path, torch does not tell why a write failed.
        with temporary.open("wb") as file:
            torch.save(dict(state), file)

    write_whole(path, write)


def load_resume(path: Path) -> dict[str, Any]:
    """Read a resume state; pickled code in it is refused, never run.

    Raises:
        CheckpointError: missing, damaged or foreign.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; this run has saved no state to resume") from error
    except pickle.UnpicklingError as error:  # its text tells how to run the code all the same
        raise CheckpointError(
            f"{path}: is not a readable resume state; it holds more than tensors and plain values, which "
            f"is never loaded. Expected {RESUME_FILE} of a run directory"
        ) from error
    except Exception as error:  # torch.load raises what pickle and zipfile raise, which is anything
        raise CheckpointError(f"{path}: is not a readable resume state ({error})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: is not a resume state; expected {RESUME_FILE} of a run directory")
    return state
