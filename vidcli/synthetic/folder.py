"""Motion videos as a data set on disk, the same files for the same settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vidcli.runtime.files import is_leftover, write_whole
from vidcli.synthetic.claimed_folder import ClaimedFolder
from vidcli.synthetic.motion import GENERATOR_VERSION, MOTION_CLASSES, MotionVideoOptions, render_motion
from vidcli.video import encode_video

MOTION_SPLITS = ("train", "val", "test")


def write_motion_videos(
    folder: str | os.PathLike[str],
    num_train_per_class: int,
    num_val_per_class: int,
    num_test_per_class: int,
    seed: int = 0,
    options: MotionVideoOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a data set of motion videos, or reuse the one in the folder.

        folder/train/left/left_0001.mp4 ...    also val/ and test/
        folder/motion.json                     written last: settings, seed, version

    Every file depends on seed, split, class and index alone. What an interrupted call has left is
    completed, or rewritten where its settings were others. Of several processes that want one folder, one
    writes it, and the others wait.

    Args:
        folder: must not exist, be empty, or have been written by this function.
        num_train_per_class: number of training videos of each class.
        num_val_per_class: number of validation videos of each class.
        num_test_per_class: number of test videos of each class.
        seed: another seed gives other videos.
        options: size, length and look of the videos; None takes the defaults.
        progress: called with the number of videos that exist and the number of all videos.

    Returns:
        The videos, by split, class and index.

    Raises:
        DataError: the folder holds something else, or cannot be written.
        VideoError: a video cannot be written.
        ValueError: a count or the seed is negative, or there is nothing to write.
    """
    options = options or MotionVideoOptions()
    counts = (num_train_per_class, num_val_per_class, num_test_per_class)
    if min(*counts, seed) < 0 or not any(counts):
        raise ValueError("seed and numbers of videos must not be negative, and the numbers not all zero")
    num_per_class = dict(zip(MOTION_SPLITS, counts, strict=True))
    request = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "num_per_class": num_per_class,
        "options": {**asdict(options), "size": list(options.size)},
    }
    root = Path(folder)
    jobs = dict(_plan_videos(root, num_per_class, seed))
    claimed = ClaimedFolder(root, "motion", "motion videos", _is_ours)
    if not claimed.write(request, jobs, lambda: _write_missing(jobs, options, progress)) and progress:
        progress(len(jobs), len(jobs))
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


def _is_ours(path: Path) -> bool:
    """Tell whether a path below the folder is one of its videos, or what is left of one."""
    places = {(split, name) for split in MOTION_SPLITS for name in MOTION_CLASSES}
    parents = path.parent.parts
    return parents in places and (
        re.fullmatch(rf"{re.escape(parents[1])}_\d{{4,}}\.mp4", path.name) is not None or is_leftover(path)
    )


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
