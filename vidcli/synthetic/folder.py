"""Motion videos as a data set on disk, the same files for the same settings."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vidcli.errors import DataError, WriteError
from vidcli.runtime.files import is_leftover, read_regular, write_text, write_whole
from vidcli.runtime.locks import FileLock
from vidcli.runtime.plain import parse_json
from vidcli.synthetic.motion import GENERATOR_VERSION, MOTION_CLASSES, MotionVideoOptions, render_motion
from vidcli.video import encode_video

MOTION_SPLITS = ("train", "val", "test")

_MARKER = "motion.json"
_UNFINISHED_MARKER = "motion.unfinished.json"
_PARTIAL_PREFIX = ".partial-"  # of earlier versions
_LOCK = "motion.lock"
_POLL_SECONDS = 0.1
_MAX_MARKER_BYTES = 2**20


def write_motion_videos(
    folder: str | os.PathLike[str],
    num_train_per_class: int,
    num_val_per_class: int,
    num_test_per_class: int,
    seed: int = 0,
    options: MotionVideoOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a data set of motion videos, or reuse the one that is there already.

        folder/train/left/left_0001.mp4 ...    also val/ and test/
        folder/motion.json                     written last: settings, seed, version

    Every file depends on seed, split, class and index alone. What an interrupted call has left is
    completed, or rewritten where its settings were others. Of several processes that want one folder, one
    writes it, and the others wait.

    Args:
        folder: does not exist, is empty, or was written by this function.
        progress: called with the number of videos there are and of those there will be.

    Returns:
        The videos, by split, class and index.

    Raises:
        DataError: the folder holds something else, or cannot be written.
        VideoError: a video cannot be written.
        ValueError: a count or the seed is negative, or there is nothing to write.
    """
    options = options or MotionVideoOptions()
    num_per_class = dict(
        zip(MOTION_SPLITS, (num_train_per_class, num_val_per_class, num_test_per_class), strict=True)
    )
    if min(num_per_class.values()) < 0 or not any(num_per_class.values()):
        raise ValueError("the numbers of videos must not be negative, and not all zero")
    if seed < 0:
        raise ValueError("seed must not be negative")
    request = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "num_per_class": num_per_class,
        "options": {**asdict(options), "size": list(options.size)},
    }
    root = Path(folder)
    jobs = dict(_plan_videos(root, num_per_class, seed))
    try:
        if not _is_complete(root, request, jobs):
            with _turn(root):
                _claim(root, request)
                _write_missing(jobs, options, progress)
                _write_json(root / _MARKER, request)
                (root / _UNFINISHED_MARKER).unlink(missing_ok=True)
        elif progress is not None:
            progress(len(jobs), len(jobs))
    except (OSError, WriteError) as error:
        raise _unwritable(root, error) from error
    return list(jobs)


def _plan_videos(
    root: Path, num_per_class: dict[str, int], seed: int
) -> Iterator[tuple[Path, np.random.SeedSequence]]:
    for split_index, split in enumerate(MOTION_SPLITS):
        for class_index, name in enumerate(MOTION_CLASSES):
            for number in range(1, num_per_class[split] + 1):
                key = (split_index, class_index, number)
                path = root / split / name / f"{name}_{number:04d}.mp4"
                yield path, np.random.SeedSequence(seed, spawn_key=key)


def _is_complete(root: Path, request: dict[str, Any], jobs: Iterable[Path]) -> bool:
    is_whole = (root / _MARKER).is_file() and _read_json(root / _MARKER) == request
    return is_whole and all(path.exists() for path in jobs)


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Make the folder and wait until no other process writes it."""
    if root.exists() and not root.is_dir():
        raise DataError(
            f"{root}: is a file, where a folder for the motion videos was expected. Name another."
        )
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / _LOCK)
    while not lock.acquire():
        time.sleep(_POLL_SECONDS)
    if lock.read():  # ours is empty
        lock.release()
        raise _foreign(root, root / _LOCK)
    try:
        yield
    finally:
        lock.remove()


def _unwritable(root: Path, error: OSError | WriteError) -> DataError:
    reason = getattr(error, "strerror", None) or error
    return DataError(
        f"{root}: the motion videos cannot be written there ({reason}). Free the space, mend the "
        "permissions, or name another folder."
    )


def _foreign(root: Path, path: Path) -> DataError:
    return DataError(
        f"{root}: holds other things ({path.relative_to(root)}), where an empty folder was expected for the "
        "motion videos. Name a folder that is empty or does not exist."
    )


def _claim(root: Path, request: dict[str, Any]) -> None:
    """Make the folder ready for what is missing in it.

    From then on it holds one of the two markers, which tell a later call whose it is.
    """
    if (root / _MARKER).exists():
        if _read_json(root / _MARKER) != request:
            raise DataError(
                f"{root}: holds motion videos that were made with other settings (see {_MARKER} there). "
                f"Delete that folder, or name another."
            )
        return
    foreign, videos = _list_contents(root)
    unfinished = root / _UNFINISHED_MARKER
    if foreign or (videos and not unfinished.exists()):
        raise _foreign(root, (foreign or videos)[0])
    same = unfinished.exists() and _read_json(unfinished) == request
    for path in videos:
        if not same or path.name.startswith(_PARTIAL_PREFIX) or is_leftover(path):
            path.unlink()
    _write_json(unfinished, request)


def _list_contents(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that this module never writes, and its videos, whole and partial."""
    places = {(split, name) for split in MOTION_SPLITS for name in MOTION_CLASSES}
    foreign, videos = [], []
    for path in sorted(root.rglob("*")):
        parents = path.relative_to(root).parent.parts
        name = path.name.removeprefix(_PARTIAL_PREFIX)
        if path.is_dir():
            continue
        if parents in places and (
            re.fullmatch(rf"{re.escape(parents[1])}_\d{{4,}}\.mp4", name) or is_leftover(path)
        ):
            videos.append(path)
        elif parents or (name not in (_MARKER, _UNFINISHED_MARKER, _LOCK) and not is_leftover(path)):
            foreign.append(path)
    return foreign, videos


def _write_missing(
    jobs: dict[Path, np.random.SeedSequence],
    options: MotionVideoOptions,
    progress: Callable[[int, int], None] | None,
) -> None:
    missing = [path for path in jobs if not path.exists()]
    num_done = len(jobs) - len(missing)
    if progress is not None:
        progress(num_done, len(jobs))
    for parent in sorted({path.parent for path in missing}):
        parent.mkdir(parents=True, exist_ok=True)
    # One after the other: threads were measured and gain nothing, for numpy's small steps hold the
    # interpreter lock, and processes would ask every calling script for a `__main__` guard.
    for path in missing:
        _write_video(path, jobs[path], options)
        num_done += 1
        if progress is not None:
            progress(num_done, len(jobs))


def _write_video(path: Path, seed_sequence: np.random.SeedSequence, options: MotionVideoOptions) -> None:
    clip = render_motion(path.parent.name, np.random.default_rng(seed_sequence), options)
    # Without x264's macroblock tree: with it, frames this small are not coded alike every time
    # (one clip in five gave other bytes within ten calls). And no keyframe but the first.
    codec_options = {"crf": str(options.crf), "preset": "veryfast", "g": "250"}
    codec_options["x264-params"] = "mbtree=0:scenecut=0"
    write_whole(
        path, lambda temporary: encode_video(temporary, clip.frames, options.fps, options=codec_options)
    )


def _read_json(path: Path) -> object:
    try:
        return parse_json(read_regular(path, _MAX_MARKER_BYTES).decode("utf-8"))
    except (OSError, ValueError):
        return None  # damaged, and so equal to no request


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2))
