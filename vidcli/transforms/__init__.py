"""Turn decoded frames into the clip that a model reads, with random changes in training.

clip         crop and normalise; start reading here
focus        the window around motion
scaling      to another size, with torch or without it
augment      the random changes of training
randaugment  one of them
"""

from __future__ import annotations

from vidcli.transforms.clip import (
    MEAN,
    STD,
    ClipTransform,
    build_sampler,
    own_frames,
    to_pixels,
)
from vidcli.transforms.scaling import squeeze
from vidcli.transforms.sides import mirrored_classes, sided_class_names

__all__ = [
    "MEAN",
    "STD",
    "ClipTransform",
    "build_sampler",
    "mirrored_classes",
    "own_frames",
    "sided_class_names",
    "squeeze",
    "to_pixels",
]
