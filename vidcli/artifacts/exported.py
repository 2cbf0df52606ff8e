"""Read exported models: folders that every command takes as a model.

    FOLDER/vidcli.json                     what a model file's metadata holds, and how it was exported
    FOLDER/model.onnx                      `onnx`, run by ONNX Runtime
    FOLDER/model.xml, model.bin            `openvino`, run by OpenVINO
    FOLDER/model.pt2                       `torch-export`, for other programs: it may hold code

Both runtimes compute on the CPU. Each file is read once, so that the bytes whose SHA-256 was compared are
the bytes that are run. A `.pt2` file is never opened. None of this imports torch.

    engines         the bytes of a network to a function from clips to logits
    foreign_graphs  what a network may hold
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidcli.arrays import Float32
from vidcli.artifacts.description import MAX_DESCRIPTION_BYTES, Checkpoint, parse_description
from vidcli.artifacts.engines import (
    NETWORK_FILES,
    Run,
    open_onnx,
    open_openvino,
)
from vidcli.artifacts.graph_parts import FEATURES_NAME, FRAMES, HEAD, OUTPUT_NAME, WHOLE, Part
from vidcli.artifacts.run_folder import EXPORT_FILE
from vidcli.errors import CheckpointError, ExportError
from vidcli.runtime.files import digest_file, read_regular
from vidcli.runtime.plain import one_line, parse_json, shown

if TYPE_CHECKING:
    from vidcli.models import VideoModel

MAX_NETWORK_BYTES = 2**31 - 1
"""The most bytes of one file, since ONNX cannot hold more."""

_OPENERS = {"onnx": open_onnx, "openvino": open_openvino}
_PRECISIONS = ("float32", "int8")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ExportedNetwork:
    """A network that another runtime computes.

    Attributes:
        form: `onnx` or `openvino`.
        precision: `float32` or `int8`.
        digest: SHA-256 of its files, one after the other.
        sees_neighbours: whether what it says of a frame may depend on the frames beside it; if not, it has
            `features` and a `head`.
    """

    def __init__(
        self,
        folder: Path,
        open_part: Callable[[int, Part], Run],
        num_classes: int,
        form: str,
        precision: str,
        digest: str,
        sees_neighbours: bool = True,
    ) -> None:
        """Open the network for one thread that uses all cores.

        Args:
            folder: the exported model, for messages.
            open_part: opens a part of the network for a number of threads that use it at the same time.
            num_classes: number of logits.
            form: `onnx` or `openvino`.
            precision: `float32` or `int8`.
            digest: SHA-256 of its files, one after the other.
            sees_neighbours: whether it cannot be cut into parts.

        Raises:
            CheckpointError: it cannot be opened.
            ExportError: the runtime is not installed.
        """
        self._folder, self._open_part, self._num_classes = folder, open_part, num_classes
        self.form, self.precision, self.digest = form, precision, digest
        self.sees_neighbours = sees_neighbours
        self._runs: dict[Part, Run] = {}
        self._num_callers: dict[Part, int] = {}
        self.open_for(1)

    def open_for(self, num_callers: int) -> None:
        """Share the cores out to so many threads that call the network at the same time.

        Raises:
            CheckpointError: it cannot be opened.
            ExportError: the runtime is not installed.
        """
        self._open(WHOLE, num_callers)

    def __call__(self, clip_BTCHW: Float32) -> Float32:
        """Return logits (B, K), computed on the CPU, of clips.

        Raises:
            CheckpointError: the network does not fit its description.
        """
        logits_BK = self._compute(WHOLE, clip_BTCHW)
        self._check(logits_BK, (len(clip_BTCHW), self._num_classes), OUTPUT_NAME)
        return logits_BK

    def open_parts(self, num_callers: int) -> None:
        """Get `features` and `head` ready for so many threads that call them at the same time.

        Raises:
            CheckpointError: they cannot be opened.
            ExportError: the runtime is not installed.
        """
        for part in (FRAMES, HEAD):
            self._open(part, num_callers)

    def features(self, clip_BTCHW: Float32) -> Float32:
        """Return features_BTE, as `VideoClassifier.features` does.

        Raises:
            CheckpointError: the network does not fit its description.
        """
        features_BTE = self._compute(FRAMES, clip_BTCHW)
        self._check(features_BTE, (*clip_BTCHW.shape[:2], *features_BTE.shape[2:]), FEATURES_NAME)
        return features_BTE

    def head(self, features_BTE: Float32) -> Float32:
        """Return logits (B, K) of features.

        Raises:
            CheckpointError: the network does not fit its description.
        """
        logits_BK = self._compute(HEAD, features_BTE)
        self._check(logits_BK, (len(features_BTE), self._num_classes), OUTPUT_NAME)
        return logits_BK

    def folded(self, clip_BTCHW: Float32) -> ExportedNetwork:
        """Return the network itself: its runtime has folded what it can."""
        return self

    def without_differences(self) -> ExportedNetwork:
        """Return the network itself, which computes the differences of what begins a clip too."""
        return self

    def _open(self, part: Part, num_callers: int) -> None:
        if self._num_callers.get(part) != num_callers:
            self._runs[part] = self._open_part(num_callers, part)
            self._num_callers[part] = num_callers

    def _compute(self, part: Part, given: Float32) -> Float32:
        try:
            return self._runs[part](given)
        except Exception as error:  # each runtime has errors of its own kind
            reason = one_line(error) or type(error).__name__
            raise CheckpointError(
                f"{self._folder}: cannot compute clips of {given.shape} ({reason}); export it again"
            ) from error

    def _check(self, found: Float32, shape: tuple[int, ...], name: str) -> None:
        if found.shape != shape or found.dtype != "float32":
            raise CheckpointError(
                f"{self._folder}: gives {found.dtype} {found.shape}, where {name} {shape} were expected; "
                "export it again"
            )


def load_network(path: Path) -> tuple[VideoModel | ExportedNetwork, Checkpoint]:
    """Load a model file, or a folder that `vidcli export` wrote.

    Returns:
        The network, a torch model in evaluation mode, and its description, which for an exported model has
        no weights.

    Raises:
        CheckpointError: the model is missing, damaged, written by another program, or of the format
            `torch-export`, which is for other programs.
        ExportError: the library that runs the model is not installed.
    """
    if not path.is_dir():
        from vidcli.artifacts.model_file import load_checkpoint

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
    sees_neighbours = about["export"].get("sees_neighbours") is not False
    open_part = partial(open_network, path, form, files)
    num_classes = len(checkpoint.class_names)
    return ExportedNetwork(path, open_part, num_classes, form, precision, digest, sees_neighbours), checkpoint


def read_export(folder: Path) -> dict[str, Any]:
    """Return the content of `vidcli.json` of an exported model after comparing the files with it.

    Raises:
        CheckpointError: a file is missing, damaged or of another export.
    """
    about, _ = _read_description(folder)
    digests = about["export"]["files"]
    for name in digests:
        with _translated_errors(folder, name):
            found = digest_file(folder / name)
        _compare(folder, name, found, digests)
    return about


def digests_of_export(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of an exported model by name; nothing if a file is not as written."""
    try:
        digests = read_export(folder)["export"]["files"]
        return {**digests, EXPORT_FILE: digest_file(folder / EXPORT_FILE)}
    except (CheckpointError, OSError):
        return {}


def open_network(
    folder: Path, form: str, files: Mapping[str, bytes], num_callers: int = 1, part: Part = WHOLE
) -> Run:
    """Return a function that computes an exported network.

    Args:
        folder: the folder of the files, for messages.
        form: `onnx` or `openvino`.
        files: the content of each file by name.
        num_callers: number of threads that call the function at the same time and share the cores.
        part: what of the network is computed.

    Raises:
        CheckpointError: the network holds something that is never run, or cannot be loaded.
        ExportError: the runtime is not installed.
    """
    try:
        return _OPENERS[form](files, num_callers, part)
    except ExportError:
        raise
    except Exception as error:  # each runtime has errors of its own kind
        path = folder / NETWORK_FILES[form][0]
        raise CheckpointError(
            f"{path}: cannot be loaded ({one_line(error) or type(error).__name__}); export it again here"
        ) from error


def _read_description(folder: Path) -> tuple[dict[str, Any], Checkpoint]:
    """Return the content of `vidcli.json`, also as a checkpoint without weights."""
    source = folder / EXPORT_FILE
    try:
        about = parse_json(read_regular(source, MAX_DESCRIPTION_BYTES).decode("utf-8"))
        _check_export(about)
    except (OSError, ValueError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise CheckpointError(
            f"{source}: is not readable as the description of an exported model ({reason}); "
            "export again with `vidcli export`"
        ) from error
    return about, Checkpoint({}, **parse_description(about, source))


def _check_export(about: object) -> None:
    """Check that a description names its files properly.

    Raises:
        ValueError: it does not.
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
        with _translated_errors(folder, name):
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
def _translated_errors(folder: Path, name: str) -> Iterator[None]:
    """Translate errors of reading a file into `CheckpointError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: lacks {name}; copy the whole folder, or export again") from error
    except OSError as error:
        raise CheckpointError(
            f"{folder / name}: cannot be read ({error.strerror}); copy the whole folder, or export again"
        ) from error
