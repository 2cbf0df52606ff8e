"""Export a model file to a folder: the whole export, compared with its model, or nothing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidcli.arrays import Float32
from vidcli.artifacts.description import Checkpoint, describe_checkpoint
from vidcli.artifacts.engines import NETWORK_FILES, import_runtime
from vidcli.artifacts.exported import digests_of_export, open_network
from vidcli.artifacts.graph_parts import FRAMES, HEAD
from vidcli.artifacts.run_folder import EXPORT_FILE
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.splits import of_split
from vidcli.errors import ExportError
from vidcli.export.conversion import (
    network_files,
    open_program,
    sees_frame_by_frame,
    to_onnx,
    to_openvino,
    trace,
)
from vidcli.export.labelled_views import LabelledViews, load_views
from vidcli.export.quantize import measure_accuracy, quantize
from vidcli.export.refit import quantize_and_refit
from vidcli.models import MultiStreamClassifier
from vidcli.models.calibration import Calibration
from vidcli.models.registry import NETWORKS, NetworkSpec, find_backbone
from vidcli.runtime.files import remove_leftovers
from vidcli.runtime.outputs import OutputFolder

FORMATS = tuple(NETWORK_FILES)
MAX_DIFFERENCE = 1e-3
"""The largest allowed difference of a logit between a float export and its model."""

_LIBRARIES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch-export": (),
}
_MAX_WEIGHT_BYTES = 2**31 - 64 * 2**20
"""The most that weights in ONNX may take: a file holds 2 GiB, of which the graph needs a part."""

_NUM_PARITY_VIDEOS = 16
_MEASURED_BYTES = 2**31
"""Memory of the clips on which int8 is measured, and of those on which it is calibrated."""
_MOST_CALIBRATION_VIDEOS, _NUM_CALIBRATION_FRAMES, _FEWEST_CALIBRATION_VIDEOS = 200, 3200, 32


@dataclass(frozen=True)
class ExportOptions:
    """The form of an export.

    Attributes:
        form: `onnx`, `openvino` or `torch-export`.
        int8: whether to quantise, which `torch-export` does not allow.
        any_length: whether clips may have any number of frames.
        max_drop: the most accuracy that int8 may lose, as a share of the validation videos.
    """

    form: str
    int8: bool = False
    any_length: bool = False
    max_drop: float = 0.005


@dataclass(frozen=True)
class ExportReport:
    """An export and its comparison with the model.

    Attributes:
        folder: where the export lies.
        form: `onnx`, `openvino` or `torch-export`.
        precision: `float32` or `int8`.
        num_videos: number of videos on which logits were compared.
        max_difference: largest difference of a logit.
        agreement: share of these videos with the same best class.
        num_bytes: size of the network's files.
        accuracy: share of validation videos whose classes are all right in the export; None unless
            quantised.
        accuracy_before: the same of the model.
        num_validated: number of validation videos.
        validated_on: the split of the validation videos; `train` in cross-validation for a model that was
            solved in closed form, whose last layer was solved anew.
        float_layers: names of the layers that stay in float to keep the accuracy of int8.
        gives_features: whether the features of frames can be had alone, for windows that share them.
    """

    folder: Path
    form: str
    precision: str
    num_videos: int
    max_difference: float
    agreement: float
    num_bytes: int
    accuracy: float | None = None
    accuracy_before: float | None = None
    num_validated: int = 0
    validated_on: str = ""
    float_layers: tuple[str, ...] = ()
    gives_features: bool = False


def export_model(
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    folder: Path,
    options: ExportOptions,
    on_step: Callable[[str], None],
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
) -> ExportReport:
    """Export a model.

    Args:
        checkpoint: the model.
        items: labelled videos with splits. Logits are compared on val videos, or else test or train
            videos; int8 is calibrated on train videos and measured on val videos.
        folder: the folder to write; an earlier export in it is replaced, but no other file.
        options: format and precision.
        on_step: called with a description of each step before it.
        inputs: files of the model and the data, which must not be replaced, as the videos must not.
        overwrite: whether to replace files that belong to no export, and to write beside others.

    Raises:
        ExportError: a library is missing, the model is too large for the format, the export differs
            from the model by more than `MAX_DIFFERENCE`, or int8 loses more than `max_drop` or cannot
            be measured.
        OutputError: the folder holds other files.
        WriteError: the folder cannot be written.
    """
    if options.int8 and options.form == "torch-export":
        raise ExportError("--int8 goes with --format onnx or openvino: torch-export stays in float")
    if options.any_length:
        _refuse_any_length(checkpoint)
    if options.form != "torch-export":
        _refuse_too_large(checkpoint, options.form)
    if options.int8:
        _refuse_unknown_classes(checkpoint, items)
        if not of_split(items, "train"):
            raise ExportError("--int8 is calibrated on training videos, of which there are none; see --data")
    for name in (*_LIBRARIES[options.form], *(["nncf"] if options.int8 else [])):
        import_runtime(name)  # fails now rather than after minutes of work
    output = OutputFolder(
        folder,
        "export",
        (*NETWORK_FILES[options.form], EXPORT_FILE),
        inputs=[*inputs, *(item.path for item in items)],
        overwrite=overwrite,
        unrecorded=digests_of_export(folder),
    )
    with output:
        remove_leftovers(folder)
        report, files, calibration = _make(checkpoint, items, folder, options, on_step)
        for name, content in files.items():
            output.write(name, functools.partial(Path.write_bytes, data=content))
        about = _describe(replace(checkpoint, calibration=calibration), report, options, files)
        output.write_text(EXPORT_FILE, json.dumps(about, indent=1) + "\n")
        output.remove_earlier()
    return report


def _make(
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    folder: Path,
    options: ExportOptions,
    on_step: Callable[[str], None],
) -> tuple[ExportReport, dict[str, bytes], Calibration]:
    """Return report, files and calibration of an export; temporary files are written into `folder`."""
    model = checkpoint.build()
    split = next((name for name in ("val", "test", "train") if of_split(items, name)), "")
    compared = load_views(of_split(items, split), checkpoint, _NUM_PARITY_VIDEOS, on_step)
    on_step(f"converting to {options.form}")
    # What sees frame by frame gives features too, which windows of any length share.
    gives_features = options.form != "torch-export" and sees_frame_by_frame(model)
    network = _convert(checkpoint, model, options, gives_features)
    measured: dict[str, Any] = {}
    calibration = checkpoint.calibration
    if options.int8:
        network, measured, calibration = _quantize(network, checkpoint, model, items, options, on_step)
    if options.form == "openvino":
        network = to_openvino(network)
    files = network_files(network, options.form, folder)
    on_step("comparing")
    # A torch program is compared in memory: its file may hold code and is never loaded.
    is_program = options.form == "torch-export"
    exported = open_program(network) if is_program else open_network(folder, options.form, files)
    difference, agreement = compare(_torch_runner(model), exported, compared)
    if not np.isfinite(difference):
        raise ExportError(
            "the exported model, or the original, gives no finite numbers; its weights are damaged or "
            "diverged, and nothing is written"
        )
    if not options.int8 and not difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"the exported model differs from the original by {difference:.2g} in a logit on "
            f"{len(compared)} videos, where {MAX_DIFFERENCE:g} is allowed; nothing is written"
        )
    if gives_features:
        parts_differ, _ = compare(exported, _parts_in_turn(folder, options.form, files), compared)
        if not parts_differ <= MAX_DIFFERENCE:
            raise ExportError(
                f"the parts of the exported model differ from the whole by {parts_differ:.2g} in a logit, "
                f"where {MAX_DIFFERENCE:g} is allowed; nothing is written"
            )
    report = ExportReport(
        folder=folder,
        form=options.form,
        precision="int8" if options.int8 else "float32",
        num_videos=len(compared),
        max_difference=difference,
        agreement=agreement,
        num_bytes=sum(map(len, files.values())),
        gives_features=gives_features,
        **measured,
    )
    return report, files, calibration


def _parts_in_turn(folder: Path, form: str, files: Mapping[str, bytes]) -> Callable[[Float32], Float32]:
    """Return a function that computes a network by its parts, one after the other."""
    frames, head = (open_network(folder, form, files, part=part) for part in (FRAMES, HEAD))
    return lambda clip_BTCHW: head(frames(clip_BTCHW))


def _convert(
    checkpoint: Checkpoint, model: torch.nn.Module, options: ExportOptions, with_features: bool
) -> Any:
    """Return the model in float: a traced program, or an `onnx.ModelProto`."""
    height, width = checkpoint.config.clip.size
    any_length = options.any_length or with_features
    for_torch = options.form == "torch-export"
    length = checkpoint.config.clip.length
    program = trace(model, length, height, width, any_length, with_features, for_torch)
    return program if for_torch else to_onnx(program)


def _quantize(
    network: Any,
    checkpoint: Checkpoint,
    model: torch.nn.Module,
    items: Sequence[VideoItem],
    options: ExportOptions,
    on_step: Callable[[str], None],
) -> tuple[Any, dict[str, Any], Calibration]:
    """Return the model in int8, the fields of the report that were measured, and the calibration."""
    on_step("reading videos for calibration")
    most = max(1, _MEASURED_BYTES // checkpoint.config.clip.num_video_bytes)
    clip, train_items = checkpoint.config.clip, of_split(items, "train")
    wanted = max(_FEWEST_CALIBRATION_VIDEOS, _NUM_CALIBRATION_FRAMES // (clip.length * len(clip.panels)))
    num_calibrated = min(most, wanted, _MOST_CALIBRATION_VIDEOS)
    training = load_views(train_items, checkpoint, num_calibrated, on_step)
    if isinstance(model, MultiStreamClassifier) and checkpoint.config.train.optimizer == "ridge":
        refitted, found = quantize_and_refit(
            network, options.form, model, checkpoint, train_items, training, options.max_drop, on_step
        )
        return refitted, found.measured(), found.calibration
    # Training videos are a poor measure, but the only one if there are no others.
    validated = "val" if of_split(items, "val") else "train"
    validation = load_views(of_split(items, validated), checkpoint, most, on_step)
    before = measure_accuracy(_torch_runner(model), validation, checkpoint.calibration)[0]
    on_step("quantising")
    quantized = quantize(
        network, options.form, training, validation, checkpoint.calibration, before, options.max_drop
    )
    measured = {
        "accuracy": quantized.accuracy,
        "accuracy_before": before,
        "num_validated": len(validation),
        "validated_on": validated,
        "float_layers": quantized.float_layers,
    }
    return quantized.model, measured, checkpoint.calibration


def compare(
    original: Callable[[Float32], Float32],
    exported: Callable[[Float32], Float32],
    videos: Sequence[LabelledViews],
) -> tuple[float, float]:
    """Return the largest difference of a logit, and the share of videos with the same best class.

    Args:
        original: takes clips to the logits of the model.
        exported: takes clips to the logits of the export.
        videos: the videos to compare on.
    """
    differences, same = [], []
    for video in videos:
        expected_VK, found_VK = original(video.views_VTCHW), exported(video.views_VTCHW)
        differences.append(float(np.abs(expected_VK - found_VK).max()))
        same.append(expected_VK.mean(axis=0).argmax() == found_VK.mean(axis=0).argmax())
    return float(np.max(differences)), float(np.mean(same))


def _describe(
    checkpoint: Checkpoint, report: ExportReport, options: ExportOptions, files: Mapping[str, bytes]
) -> dict[str, Any]:
    """Return the content of `vidcli.json`."""
    measured: dict[str, Any] = {
        key: value
        for key, value in asdict(report).items()
        if key not in ("folder", "form", "precision", "num_bytes", "gives_features")
    }
    about = describe_checkpoint(checkpoint)
    sees_neighbours = not report.gives_features
    about["export"] = {
        "format": options.form,
        "precision": report.precision,
        "any_length": options.any_length or not sees_neighbours,
        "sees_neighbours": sees_neighbours,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "measured": measured,
    }
    return about


def _torch_runner(model: torch.nn.Module) -> Callable[[Float32], Float32]:
    @torch.inference_mode()
    def run(clip_BTCHW: Float32) -> Float32:
        logits_BK: Float32 = model(torch.from_numpy(clip_BTCHW)).numpy()
        return logits_BK

    return run


def _refuse_any_length(checkpoint: Checkpoint) -> None:
    backbone = checkpoint.config.model.backbone
    spec = find_backbone(backbone, checkpoint.config.model.architecture)
    if not isinstance(spec, NetworkSpec) and spec.takes_clips:
        raise ExportError(
            f"--dynamic: {backbone} takes whole clips and has learnt their positions; leave --dynamic out to "
            f"export it for {checkpoint.config.clip.length} frames"
        )
    if isinstance(spec, NetworkSpec) and not spec.traces_any_length:
        free = ", ".join(name for name, other in NETWORKS.items() if other.traces_any_length)
        raise ExportError(
            f"--dynamic: {backbone} can only be exported for clips of one length, since what it computes "
            f"depends on it; leave --dynamic out to export it for {checkpoint.config.clip.length} frames. "
            f"Of the whole video networks, {free} take any number"
        )


def _refuse_unknown_classes(checkpoint: Checkpoint, items: Sequence[VideoItem]) -> None:
    classes = class_names_of(items, checkpoint.config.data.multi_label)
    if unknown := sorted(set(classes) - set(checkpoint.class_names)):
        raise ExportError(
            f"--int8 is measured on labelled videos, and {', '.join(unknown[:5])} of these videos' classes "
            f"are unknown to the model, whose {len(checkpoint.class_names)} are such as "
            f"{checkpoint.class_names[0]}; name others with --data"
        )


def _refuse_too_large(checkpoint: Checkpoint, form: str) -> None:
    num_bytes = sum(tensor.numel() * 4 for tensor in checkpoint.weights.values())
    if num_bytes > _MAX_WEIGHT_BYTES:
        raise ExportError(
            f"--format {form}: the model's weights take {num_bytes / 2**30:.1f} GiB, and one ONNX file holds "
            f"less than 2; use --format torch-export"
        )
