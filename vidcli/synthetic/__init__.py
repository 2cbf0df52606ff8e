"""Generated videos: the built-in motion videos, long recordings, and what they are drawn with."""

from vidcli.synthetic.folder import MOTION_SPLITS, write_motion_videos
from vidcli.synthetic.long_recording import LONG_CLASSES, LONG_VERSION, LongRecordingOptions
from vidcli.synthetic.motion import (
    GENERATOR_VERSION,
    MOTION_CLASSES,
    MOTION_PAIRS,
    MotionClip,
    MotionVideoOptions,
    render_motion,
)
from vidcli.synthetic.recording_set import BOXES_FILE, LABELS_FILE, write_recordings

__all__ = [
    "BOXES_FILE",
    "GENERATOR_VERSION",
    "LABELS_FILE",
    "LONG_CLASSES",
    "LONG_VERSION",
    "MOTION_CLASSES",
    "MOTION_PAIRS",
    "MOTION_SPLITS",
    "LongRecordingOptions",
    "MotionClip",
    "MotionVideoOptions",
    "render_motion",
    "write_motion_videos",
    "write_recordings",
]
