"""The model file: one `.safetensors` with the weights and all that is needed to predict with them.

The settings, class names, preprocessing, metrics and calibration stand as JSON in the file's metadata.
Nothing in the file is ever executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from vidcli.artifacts.description import (
    MAX_DESCRIPTION_BYTES,
    Checkpoint,
    describe_checkpoint,
    parse_description,
)
from vidcli.artifacts.run_folder import MODEL_FILE
from vidcli.config import Config
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models import build_model, is_published, load_published
from vidcli.models.hf_architecture import made_with
from vidcli.models.hf_encoders import encoder_name
from vidcli.models.registry import find_backbone, find_head
from vidcli.runtime.files import require_regular, write_whole
from vidcli.runtime.plain import one_line, parse_json, shown
from vidcli.runtime.tensors import shapes_only

_METADATA_KEY = "vidcli"
_FLOATS, _WHOLE = ("F64", "F32", "F16", "BF16"), ("I64", "I32")
_FOREIGN_SUFFIXES = (".pt2", ".onnx", ".xml", ".bin")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a model file.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; the old file is kept.
    """
    metadata = {_METADATA_KEY: json.dumps(describe_checkpoint(checkpoint))}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
    blob = safetensors.torch.save(weights, metadata=metadata)
    write_whole(path, lambda temporary: temporary.write_bytes(blob))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a model file, or download the published model of that name.

    Args:
        path: as `find_model` returns it.

    Raises:
        CheckpointError: the file is missing or truncated, or another program wrote it.
        ConfigError: the published model cannot be downloaded.
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
            _check_network(described["config"], path)
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


def _check_network(config: Config, path: Path) -> None:
    """Refuse settings of a network that there is not.

    Args:
        config: all settings in the file.
        path: of the file, for error messages.

    Raises:
        CheckpointError: they name one.
    """
    backbone, architecture = config.model.backbone, config.model.architecture
    try:
        if encoder_name(backbone) is not None and architecture is None:
            raise ConfigError(f"model.backbone {shown(backbone)} without model.architecture")
        find_backbone(backbone, architecture)
        find_head(config.model.head)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{path}: holds settings that this version does not know: {error}") from error


def _refuse_foreign(path: Path) -> None:
    """Refuse a single file of an exported model, where its folder is expected."""
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
    """Compare the names, types and shapes of weights with the model of the settings, without allocating.

    Args:
        path: of the file, for error messages.
        found: type and shape of each tensor in the file, by name.
        config: all settings in the file.
        num_classes: number of class names in the file.

    Raises:
        CheckpointError: a weight is missing, unknown, or has another type or shape.
    """
    try:
        with shapes_only():
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
            f"{made_with(config.model.architecture)}"
        )
