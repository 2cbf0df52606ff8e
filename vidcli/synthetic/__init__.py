"""Generated videos: the built-in motion videos, and what they are drawn with."""

from vidcli.synthetic.folder import MOTION_SPLITS, write_motion_videos
from vidcli.synthetic.motion import (
    GENERATOR_VERSION,
    MOTION_CLASSES,
    MOTION_PAIRS,
    MotionClip,
    MotionVideoOptions,
    render_motion,
)

__all__ = [
    "GENERATOR_VERSION",
    "MOTION_CLASSES",
    "MOTION_PAIRS",
    "MOTION_SPLITS",
    "MotionClip",
    "MotionVideoOptions",
    "render_motion",
    "write_motion_videos",
]
