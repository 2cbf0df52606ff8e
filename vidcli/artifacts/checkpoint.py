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
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vidcli.config import Config, config_from_dict, config_to_dict
from vidcli.errors import CheckpointError, ConfigError, did_you_mean
from vidcli.models import VideoModel, build_model, is_published, load_published, published_names
from vidcli.models.calibration import UNCALIBRATED, Calibration, uncalibrated
from vidcli.models.registry import find_backbone, find_head
from vidcli.names import is_text, normal_names
from vidcli.runtime.files import require_regular, write_whole
from vidcli.runtime.plain import is_number, one_line, parse_json, shown
from vidcli.runtime.tensors import load_plain_tensors
from vidcli.transforms import MEAN, STD

FORMAT_VERSION = 1
MODEL_FILE, LAST_FILE, RESUME_FILE = "model.safetensors", "last.safetensors", "resume.pt"
CONFIG_FILE, METRICS_FILE, SPLITS_FILE = "config.yaml", "metrics.jsonl", "splits.csv"
UNUSABLE_FILE, ENVIRONMENT_FILE = "unusable.csv", "environment.json"
CURVES_FILE, SAMPLES_FILE, CONFUSION_FILE = "curves.png", "samples.png", "confusion.png"
RUN_FILES = (
    *(MODEL_FILE, LAST_FILE, RESUME_FILE, CONFIG_FILE, METRICS_FILE, SPLITS_FILE, UNUSABLE_FILE),
    *(ENVIRONMENT_FILE, CURVES_FILE, SAMPLES_FILE, CONFUSION_FILE),
)
EVENTS_PREFIX = "events.out.tfevents."
LOCK_FILE = "run.lock"
EXPORT_FILE = "vidcli.json"
RUNS_FOLDER = Path("runs")
MAX_DESCRIPTION_BYTES = 8 * 2**20
"""Of the JSON that describes a model."""

_METADATA_KEY = "vidcli"
_MAX_CLASSES, _MAX_NAME, _MAX_METRICS = 100_000, 1000, 1000
_FLOATS, _WHOLE = ("F64", "F32", "F16", "BF16"), ("I64", "I32")
_FOREIGN_SUFFIXES = (".pt2", ".onnx", ".xml", ".bin")


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
        "preprocessing": _preprocessing_of(checkpoint.config),
        # What is no finite number is none in JSON either.
        "metrics": {name: value if is_number(value) else None for name, value in checkpoint.metrics.items()},
        "fingerprint": checkpoint.fingerprint,
        "calibration": asdict(checkpoint.calibration),
    }


def _preprocessing_of(config: Config) -> dict[str, object]:
    """Return how frames become numbers, for whoever reads a file without vidcli."""
    mean, std = config.clip.mean or MEAN, config.clip.std or STD
    return {"mean": list(mean), "std": list(std), "channels": "RGB", "layout": "TCHW"}


def parse_description(about: object, source: Path) -> dict[str, Any]:
    """Return the fields of a `Checkpoint`, but for the weights, from what `describe_checkpoint` gave.

    Raises:
        CheckpointError: it is of another version, or damaged; names `source`.
    """
    version = about.get("format_version") if isinstance(about, dict) else None
    if not isinstance(about, dict) or type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{source}: has format version {shown(version)}, this vidcli reads "
            f"{FORMAT_VERSION}; use the version of vidcli that wrote it"
        )
    try:
        config = _config_of(about["config"])
        class_names = _class_names_of(about["class_names"])
        if about.get("preprocessing", preprocessing := _preprocessing_of(config)) != preprocessing:
            raise ValueError(f"preprocessing {shown(about['preprocessing'])}, expected {preprocessing}")
        return {
            "config": config,
            "class_names": class_names,
            "metrics": _metrics_of(about["metrics"]),
            "fingerprint": _fingerprint_of(about["fingerprint"]),
            # Files of earlier versions have none.
            "calibration": _calibration_of(
                about.get("calibration", {}), len(class_names), config.data.multi_label
            ),
        }
    except (ConfigError, KeyError, ValueError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{source}: holds settings that this version does not know: {told}") from error


def _config_of(values: object) -> Config:
    if not isinstance(values, dict):
        raise ValueError(f"config {shown(values)}, expected settings")
    config = config_from_dict(values)
    find_backbone(config.model.backbone)
    find_head(config.model.head)
    return config


def _class_names_of(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_CLASSES:
        raise ValueError(f"class_names {shown(values)}, expected a list of 1 to {_MAX_CLASSES} names")
    for name in values:
        if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME or not is_text(name):
            raise ValueError(f"class_names with {shown(name)}, expected names of 1 to {_MAX_NAME} characters")
    names = normal_names(values)
    if len(set(names)) < len(names):
        raise ValueError("class_names of which two are the same")
    return names


def _metrics_of(values: object) -> dict[str, float | int | None]:
    if not isinstance(values, dict) or len(values) > _MAX_METRICS:
        raise ValueError(f"metrics {shown(values)}, expected numbers by name")
    for name, value in values.items():
        if len(name) > _MAX_NAME or (value is not None and not is_number(value)):
            raise ValueError(f"metrics with {shown(name)} {shown(value)}, expected a number")
    return values


def _fingerprint_of(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise ValueError(f"fingerprint {shown(value)}, expected a digest of the data")
    return value


def _calibration_of(values: object, num_classes: int, multi_label: bool) -> Calibration:
    known = {item.name for item in fields(Calibration)}
    if not isinstance(values, dict) or not set(values) <= known:
        raise ValueError(f"calibration {shown(values)}, expected {', '.join(sorted(known))}")
    thresholds = values.get("thresholds")
    numbers = [values.get("temperature", 1.0), values.get("num_videos", 0)]
    if thresholds is not None:
        if not isinstance(thresholds, list) or len(thresholds) != num_classes:
            raise ValueError(
                f"thresholds {shown(thresholds)}, expected one for each of {num_classes} classes"
            )
        numbers += thresholds
    if not all(is_number(number) for number in numbers) or not isinstance(numbers[1], int):
        raise ValueError(f"calibration {shown(values)}, expected numbers")
    if values and (thresholds is not None) != multi_label:
        raise ValueError(f"thresholds {shown(thresholds)} with data.multi_label={str(multi_label).lower()}")
    return Calibration(**values) if values else uncalibrated(num_classes, multi_label)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a model file, or what `find_model` returned for the name of a published model.

    Raises:
        CheckpointError: missing, truncated, or written by something else.
        ConfigError: a published model that cannot be downloaded.
    """
    if not os.path.exists(path) and is_published(str(path)):
        published = load_published(str(path))
        return Checkpoint(published.weights, published.config, published.class_names, published.metrics)
    _refuse_foreign(path)
    try:
        require_regular(path)
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _METADATA_KEY not in metadata:
                raise CheckpointError(
                    f"{path}: is a safetensors file, but not a vidcli model (it lacks vidcli's metadata); "
                    "weights of a backbone go to `--set model.weights=FILE` of `vidcli train`"
                )
            if len(metadata[_METADATA_KEY]) > MAX_DESCRIPTION_BYTES:
                raise ValueError(f"its description holds more than {MAX_DESCRIPTION_BYTES >> 20} MiB")
            described = parse_description(parse_json(metadata[_METADATA_KEY]), path)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            _refuse_other_weights(path, found, described["config"], len(described["class_names"]))
            weights = {name: file.get_tensor(name) for name in slices}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such model file") from error
    except (OSError, RuntimeError, safetensors.SafetensorError, ValueError) as error:
        told = one_line(getattr(error, "strerror", None) or error)
        raise CheckpointError(
            f"{path}: is not a readable model file ({told}); it may be truncated or of another kind. "
            f"Expected {MODEL_FILE} of a run directory"
        ) from error
    if broken := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(
            f"{path}: holds weights that are no finite numbers, such as {shown(broken[0])}; train again"
        )
    return Checkpoint(weights, **described)


def _refuse_foreign(path: Path) -> None:
    """Refuse a file of an exported model that is named itself."""
    if path.suffix == ".pt2":
        raise CheckpointError(
            f"{path}: is a torch-export program, which is for other programs and never loaded, since such a "
            "file may hold code; export the run with `--format onnx` or `--format openvino`"
        )
    if path.suffix in _FOREIGN_SUFFIXES:
        raise CheckpointError(
            f"{path}: is one file of an exported model; name the folder that `vidcli export` wrote"
        )


def _refuse_other_weights(
    path: Path, found: Mapping[str, tuple[str, tuple[int, ...]]], config: Config, num_classes: int
) -> None:
    """Compare a file with the model that its settings describe, before either takes memory.

    Args:
        path: of the file, for messages.
        found: type and shape of what it holds, by name.
        config, num_classes: of the model.

    Raises:
        CheckpointError: the weights are not those of that model.
    """
    try:
        with torch.device("meta"):
            wanted = build_model(config.model, num_classes, load_weights=False).state_dict()
    except (ConfigError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds settings of no model: {one_line(error)}") from error
    faults = [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{shown(name)} is unknown" for name in found if name not in wanted),
    ]
    for name in wanted.keys() & found.keys():
        (dtype, shape), tensor = found[name], wanted[name]
        if shape != tuple(tensor.shape):
            faults.append(f"{name} is {shape} instead of {tuple(tensor.shape)}")
        elif dtype not in (_FLOATS if tensor.is_floating_point() else _WHOLE):
            faults.append(f"{name} is of the type {dtype}")
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{path}: the weights do not fit the model's settings: {', '.join(sorted(faults)[:3])}{more}"
        )


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
    # Unlike Path.exists and its kin, these raise no error where the name is too long for one.
    if is_published(str(path)) and not os.path.isfile(path) and not os.path.isfile(path / MODEL_FILE):
        return path
    if os.path.isdir(path):
        if os.path.isfile(path / MODEL_FILE):
            return path / MODEL_FILE
        if os.path.isfile(path / EXPORT_FILE):
            return path
        raise CheckpointError(f"{path}: holds no {MODEL_FILE}; expected the directory of a finished epoch")
    if not os.path.exists(path):
        raise CheckpointError(
            f"{path}: no such run directory or model file"
            + (f".{near}" if (near := did_you_mean(str(path), published_names())) else "")
        )
    return path


def files_of_model(model_file: Path) -> list[Path]:
    """Return the files that a model is made of, or that its run needs: what no output may replace.

    Args:
        model_file: as `find_model` gives it.
    """
    if model_file.is_dir():
        return [path for path in model_file.iterdir() if path.is_file()]
    run_files = [model_file.with_name(name) for name in RUN_FILES] if model_file.name in RUN_FILES else []
    return [path for path in (model_file, *run_files) if path.exists()]


def is_unfinished(run: Path) -> bool:
    """Tell whether a run was stopped before its end, or still goes on: its lock file is there."""
    return os.path.lexists(run / LOCK_FILE)


def describe_unfinished(model_file: Path, config: Config) -> str | None:
    """Return a sentence on the run of a model, if that did not come to its end.

    Args:
        model_file: as `find_model` gives it.
        config: of the model.
    """
    run = model_file.parent
    if model_file.name not in (MODEL_FILE, LAST_FILE) or not is_unfinished(run):
        return None
    try:
        with open(run / METRICS_FILE, "rb") as file:
            reached = f"after {sum(1 for _ in file)} of {config.train.epochs} epochs"
    except OSError:
        reached = "before its first epoch ended"
    return (
        f"{run}: this run did not finish, and its model is what it was {reached}; if it was stopped, go on "
        f"with `vidcli train --resume {run}`"
    )


def newest_run(holding: str) -> Path:
    """Return the run under `runs/` whose file named `holding` was written last.

    Of models, one of a run that came to its end is preferred to newer ones of others.

    Raises:
        CheckpointError: no run has such a file.
    """
    files = sorted(RUNS_FOLDER.glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime)
    if holding == MODEL_FILE:
        files = [path for path in files if not is_unfinished(path.parent)] or files
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
        state = load_plain_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; this run has saved no state to resume") from error
    except pickle.UnpicklingError as error:  # its text tells how to run the code all the same
        raise CheckpointError(
            f"{path}: is not a readable resume state; it holds more than tensors and plain values, which "
            f"is never loaded. Expected {RESUME_FILE} of a run directory"
        ) from error
    except Exception as error:  # torch.load raises what pickle and zipfile raise, which is anything
        told = one_line(getattr(error, "strerror", None) or error)
        raise CheckpointError(f"{path}: is not a readable resume state ({told})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: is not a resume state; expected {RESUME_FILE} of a run directory")
    return state
