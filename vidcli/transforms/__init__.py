"""From decoded frames to what the model takes, and the random changes on the way.

Reading order: `clip`, then `augment` (what training changes) and `randaugment`.
"""

from __future__ import annotations

from vidcli.transforms.clip import MEAN, STD, ClipTransform, build_sampler, sided_class_names, to_pixels

__all__ = ["MEAN", "STD", "ClipTransform", "build_sampler", "sided_class_names", "to_pixels"]
