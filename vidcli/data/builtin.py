"""The built-in motion videos and long recordings, made once and kept in the user's cache folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vidcli.data.caches import cache_folder
from vidcli.synthetic import (
    GENERATOR_VERSION,
    LONG_VERSION,
    LongRecordingOptions,
    MotionVideoOptions,
    write_motion_videos,
    write_recordings,
)


@dataclass(frozen=True)
class MotionDataOptions:
    """Numbers of motion videos, their seed and their appearance.

    Attributes:
        num_train_per_class: number of training videos of each class.
        num_val_per_class: number of validation videos of each class.
        num_test_per_class: number of test videos of each class.
        seed: seed of all videos.
        video: size, length and appearance.
    """

    num_train_per_class: int = 240
    num_val_per_class: int = 10
    num_test_per_class: int = 25
    seed: int = 0
    video: MotionVideoOptions = field(default_factory=MotionVideoOptions)


def make_motion_data(
    folder: Path | None = None,
    options: MotionDataOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return a folder of motion videos; the videos are written if they are not there yet.

    Args:
        folder: folder for the videos; None is a folder in the cache whose name tells the options.
        options: numbers and appearance of the videos; None takes the defaults.
        progress: called with the number of videos that are done and the number of all videos.

    Raises:
        DataError: the folder holds other things or cannot be written.
    """
    options = options or MotionDataOptions()
    folder = folder or cache_folder() / _name(options)
    write_motion_videos(
        folder,
        options.num_train_per_class,
        options.num_val_per_class,
        options.num_test_per_class,
        options.seed,
        options.video,
        progress,
    )
    return folder


def make_long_data(
    folder: Path | None,
    num_recordings: int,
    seed: int,
    options: LongRecordingOptions,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return the table of labelled spans of long recordings; they are written if they are not there yet.

    Args:
        folder: folder for the recordings; None is a folder in the cache whose name tells the options.
        num_recordings: at least 3.
        seed: seed of all recordings.
        options: length and look.
        progress: called with the number of frames that are done and the number of all frames.

    Raises:
        DataError: the folder holds other things or cannot be written.
    """
    height, width = options.size
    name = (
        f"long-v{LONG_VERSION}-{num_recordings}x{options.minutes:g}min-s{seed}-{height}x{width}-{options.fps:g}fps"
        f"-j{options.jitter:g}-n{options.noise:g}-crf{options.crf}"
    )
    return write_recordings(folder or cache_folder() / name, num_recordings, seed, options, progress)


def _name(options: MotionDataOptions) -> str:
    """Return a folder name that tells all options."""
    video = options.video
    counts = "-".join(
        str(n) for n in (options.num_train_per_class, options.num_val_per_class, options.num_test_per_class)
    )
    look = f"{video.size[0]}x{video.size[1]}x{video.num_frames}-{video.fps:g}fps-crf{video.crf}"
    clutter = f"j{video.jitter:g}-d{video.num_distractors}"
    return f"motion-v{GENERATOR_VERSION}-{counts}-s{options.seed}-{look}-{clutter}"
