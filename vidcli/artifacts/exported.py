"""Exported models, read back: folders that commands take wherever they take a model.

    FOLDER/vidcli.json                     what a model file's metadata holds, and how it was exported
    FOLDER/model.onnx                      `onnx`, run by ONNX Runtime
    FOLDER/model.xml, model.bin            `openvino`, run by OpenVINO
    FOLDER/model.pt2                       `torch-export`, for other programs: it may hold code

Both runtimes compute on the CPU. Each file is read once: the bytes whose SHA-256 was compared are
those that are computed with. A `.pt2` file is never opened.

engines         bytes to a function from clips to logits
foreign_graphs  what a network may hold
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidcli.artifacts.engines import (
    INPUT_NAME,
    NETWORK_FILES,
    OUTPUT_NAME,
    Floats,
    Run,
    compile_openvino,
    import_runtime,
    open_onnx,
    open_openvino,
    signal_stack_kept,
)
from vidcli.artifacts.model_file import MAX_DESCRIPTION_BYTES, Checkpoint, load_checkpoint, parse_description
from vidcli.artifacts.run_folder import EXPORT_FILE
from vidcli.errors import CheckpointError, ExportError
from vidcli.runtime.files import digest_file, read_regular
from vidcli.runtime.plain import one_line, parse_json, shown

__all__ = [
    "INPUT_NAME",
    "MAX_NETWORK_BYTES",
    "NETWORK_FILES",
    "OUTPUT_NAME",
    "ExportedNetwork",
    "Floats",
    "Run",
    "compile_openvino",
    "digests_of_export",
    "import_runtime",
    "load_network",
    "open_network",
    "read_export",
    "signal_stack_kept",
]

MAX_NETWORK_BYTES = 2**31 - 1
"""Of one file: what ONNX can hold."""

_OPENERS = {"onnx": open_onnx, "openvino": open_openvino}
_PRECISIONS = ("float32", "int8")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ExportedNetwork(nn.Module):
    """A network that another runtime computes, with the face of a `VideoClassifier`.

    Attributes:
        form: onnx or openvino.
        precision: float32 or int8.
    """

    digest: Tensor

    def __init__(
        self, folder: Path, run: Run, num_classes: int, form: str, precision: str, digest: str
    ) -> None:
        super().__init__()
        # Its state tells networks apart, as weights would.
        self.register_buffer("digest", torch.frombuffer(bytearray(digest.encode()), dtype=torch.uint8))
        self._folder, self._run, self._num_classes = folder, run, num_classes
        self.form, self.precision = form, precision

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """Return logits_BK, computed on the CPU.

        Raises:
            CheckpointError: the network is not the one that its description tells of.
        """
        shape = tuple(clip_BTCHW.shape)
        try:
            logits_BK = self._run(clip_BTCHW.detach().float().cpu().numpy())
        except Exception as error:  # each runtime has errors of its own kind
            told = one_line(error) or type(error).__name__
            raise CheckpointError(
                f"{self._folder}: cannot compute clips of {shape} ({told}); export it again"
            ) from error
        if logits_BK.shape != (shape[0], self._num_classes) or logits_BK.dtype != "float32":
            raise CheckpointError(
                f"{self._folder}: gives {logits_BK.dtype} {logits_BK.shape} for {shape[0]} clips, where "
                f"logits of {self._num_classes} classes were expected; export it again"
            )
        return torch.from_numpy(logits_BK).to(clip_BTCHW.device)


def load_network(path: Path) -> tuple[nn.Module, Checkpoint]:
    """Load a model file, or a folder that `vidcli export` wrote.

    Returns:
        the network in evaluation mode, and what it is; of an exported one without weights.

    Raises:
        CheckpointError: missing, damaged, written by something else, or of the format torch-export,
            which is for other programs.
        ExportError: what would run it is not installed.
    """
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        return checkpoint.build(), checkpoint
    about, checkpoint = _read_description(path)
    form, precision = about["export"]["format"], about["export"]["precision"]
    if form not in _OPENERS:
        raise CheckpointError(
            f"{path}: is a {form} model, which is for other programs and never loaded, since such a file may "
            "hold code; export the run again with `--format onnx` or `--format openvino`"
        )
    files = _read_files(path, about["export"]["files"])
    digest = "".join(about["export"]["files"][name] for name in NETWORK_FILES[form])
    run = open_network(path, form, files)
    network = ExportedNetwork(path, run, len(checkpoint.class_names), form, precision, digest)
    return network.eval(), checkpoint


def read_export(folder: Path) -> dict[str, Any]:
    """Return what `vidcli.json` of an exported model says, after checking that the files are its own.

    Raises:
        CheckpointError: a file is missing, damaged or of another export.
    """
    about, _ = _read_description(folder)
    digests = about["export"]["files"]
    for name in digests:
        with _told(folder, name):
            found = digest_file(folder / name)
        _compare(folder, name, found, digests)
    return about


def digests_of_export(folder: Path) -> dict[str, str]:
    """Return name and SHA-256 of the files of an exported model that are as it was written.

    Nothing, where anything of it is missing, damaged or of something else.
    """
    try:
        digests = read_export(folder)["export"]["files"]
        return {**digests, EXPORT_FILE: digest_file(folder / EXPORT_FILE)}
    except (CheckpointError, OSError):
        return {}


def open_network(folder: Path, form: str, files: Mapping[str, bytes]) -> Run:
    """Return a function from clips (B, T, C, H, W) to logits (B, K).

    Args:
        folder: where the files come from, for messages.
        form: onnx or openvino.
        files: their content by name.

    Raises:
        CheckpointError: the files hold what is never run, or the runtime does not take them.
        ExportError: the runtime is not installed.
    """
    try:
        return _OPENERS[form](files)
    except ExportError:
        raise
    except Exception as error:  # each runtime has errors of its own kind
        path = folder / NETWORK_FILES[form][0]
        raise CheckpointError(
            f"{path}: cannot be loaded ({one_line(error) or type(error).__name__}); export it again here"
        ) from error


def _read_description(folder: Path) -> tuple[dict[str, Any], Checkpoint]:
    """Return what `vidcli.json` says, and the same as a checkpoint without weights."""
    source = folder / EXPORT_FILE
    try:
        about = parse_json(read_regular(source, MAX_DESCRIPTION_BYTES).decode("utf-8"))
        _check_export(about)
    except (OSError, ValueError) as error:
        told = one_line(getattr(error, "strerror", None) or error)
        raise CheckpointError(
            f"{source}: is not readable as the description of an exported model ({told}); "
            "export again with `vidcli export`"
        ) from error
    return about, Checkpoint({}, **parse_description(about, source))


def _check_export(about: object) -> None:
    """Check what a description says of its files.

    Raises:
        ValueError: says what is wrong.
    """
    export = about.get("export") if isinstance(about, dict) else None
    if not isinstance(export, dict):
        raise ValueError("lacks `export`")
    form, files = export.get("format"), export.get("files")
    if not isinstance(form, str) or form not in NETWORK_FILES:
        raise ValueError(f"format {shown(form)}, expected one of {', '.join(NETWORK_FILES)}")
    if export.get("precision") not in _PRECISIONS:
        raise ValueError(f"precision {shown(export.get('precision'))}, expected {' or '.join(_PRECISIONS)}")
    if not isinstance(files, dict) or set(files) != set(NETWORK_FILES[form]):
        raise ValueError(f"files {shown(files)}, expected {' and '.join(NETWORK_FILES[form])}")
    if not all(isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in files.values()):
        raise ValueError("files whose digests are no SHA-256")


def _read_files(folder: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of a network's files, each read once and compared with its digest."""
    contents = {}
    for name in digests:
        with _told(folder, name):
            contents[name] = read_regular(folder / name, MAX_NETWORK_BYTES)
        _compare(folder, name, hashlib.sha256(contents[name]).hexdigest(), digests)
    return contents


def _compare(folder: Path, name: str, found: str, digests: Mapping[str, str]) -> None:
    if found != digests[name]:
        raise CheckpointError(
            f"{folder / name}: is not the file that {EXPORT_FILE} beside it describes; it is damaged or "
            "of another export. Copy the whole folder, or export again"
        )


@contextmanager
def _told(folder: Path, name: str) -> Iterator[None]:
    """Turn errors of reading a file into ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: lacks {name}; copy the whole folder, or export again") from error
    except OSError as error:
        raise CheckpointError(
            f"{folder / name}: cannot be read ({error.strerror}); copy the whole folder, or export again"
        ) from error
