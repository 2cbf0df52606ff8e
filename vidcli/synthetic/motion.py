"""The built-in motion videos: eight classes that only time can tell apart.

A textured shape moves over a cluttered, shaking, flickering background, in one of eight ways:

    left              right          reversing time turns each class into its partner:
    up                down           a clip of one, played backwards, is a clip of the other,
    shrink            grow           so that the set of its frames says nothing about which of
    counter-clockwise clockwise      the two it is; only their order does

Nor does one frame tell the four pairs apart. Every clip draws a span for all four of its
properties; the class lets one run through its span, the others stand still at a random moment of
theirs. At a frame taken at random each property then has the same distribution in every class:

    x        ../           x        ---           x        ---           x        ---
    y        ---           y        ../           y        ---           y        ---
    size     ---           size     ---           size     ../           size     ---
    angle    ---           angle    ---           angle    ---           angle    ../
             right                  down                   grow                   clockwise

Both hold exactly for the rendered frames; the lossy coding of the files disturbs them by little.
Array names end in their axes: T frames, H rows, W columns, C red-green-blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidcli.errors import did_you_mean
from vidcli.synthetic.drawing import Floats, Masks, draw_colour, draw_noise, draw_sprite, paste
from vidcli.video import Frames

MOTION_PAIRS = (("left", "right"), ("up", "down"), ("shrink", "grow"), ("counter-clockwise", "clockwise"))
"""Partners under the reversal of time. In the second of each, the moving property increases."""
MOTION_CLASSES = tuple(name for pair in MOTION_PAIRS for name in pair)
GENERATOR_VERSION = 1
"""Counted up whenever the same seed gives other frames, so that old folders are not reused."""

# The span of the moving property, from its lowest to its highest, and where its middle lies.
_CENTRE = (0.42, 0.58)  # of the frame's width or height
_TRAVEL = (0.38, 0.50)  # of the frame's width or height
_DIAMETER = (0.38, 0.50)  # of the frame's shorter side, of a disc of the same area
_GROWTH = (2.0, 2.8)  # largest over smallest diameter
_TURN = (0.6 * np.pi, 1.0 * np.pi)

_FLICKER = 0.05  # brightness varies by up to this share, afresh in every frame


@dataclass(frozen=True)
class MotionVideoOptions:
    """How motion videos look and are coded.

    Args:
        size: height and width in pixels, even, at least 32.
        num_frames: frames a video, at least 2.
        fps: frames a second.
        jitter: how far the camera shakes either way, as a share of the shorter side, 0 to 0.25.
        num_distractors: shapes that stand still in the background.
        crf: constant rate factor of H.264, 0 (lossless) to 51.
    """

    size: tuple[int, int] = (64, 64)
    num_frames: int = 24
    fps: float = 12.0
    jitter: float = 0.02
    num_distractors: int = 2
    crf: int = 20

    def __post_init__(self) -> None:
        height, width = self.size
        if height % 2 or width % 2:
            raise ValueError(f"size must be even in H.264 with 4:2:0 colour, not {height}x{width}")
        if min(self.size) < 32:
            raise ValueError(f"size must be at least 32x32, not {height}x{width}")
        if self.num_frames < 2:
            raise ValueError("num_frames must be at least 2: one frame shows no motion")
        if self.fps <= 0:
            raise ValueError("fps must be positive")
        if not 0 <= self.jitter <= 0.25:
            raise ValueError("jitter must lie between 0 and 0.25")
        if self.num_distractors < 0:
            raise ValueError("num_distractors must not be negative")
        if not 0 <= self.crf <= 51:
            raise ValueError("crf must lie between 0 and 51")


@dataclass(frozen=True)
class MotionClip:
    """Frames uint8 (T, H, W, 3), and masks bool (T, H, W) that are true on the moving shape."""

    frames: Frames
    masks: Masks


def render_motion(
    class_name: str, rng: np.random.Generator, options: MotionVideoOptions | None = None
) -> MotionClip:
    """Render one clip of a class.

    With equal generators, all classes show the same scene, and those of a pair are each other's
    reversal, frame for frame and bit for bit.

    Raises:
        ValueError: no such class.
    """
    if class_name not in MOTION_CLASSES:
        raise ValueError(f"no motion is called {class_name!r}.{did_you_mean(class_name, MOTION_CLASSES)}")
    options = options or MotionVideoOptions()
    moving, direction = divmod(MOTION_CLASSES.index(class_name), 2)
    height, width = options.size
    margin = round(options.jitter * min(options.size))

    x_T, y_T, log_diameter_T, angle_T = _draw_tracks(rng, options.num_frames, moving)
    shake_T2 = rng.integers(-margin, margin + 1, size=(options.num_frames, 2))
    gain_T = rng.uniform(1 - _FLICKER, 1 + _FLICKER, options.num_frames)
    luma = rng.uniform(90, 165)
    scene_HWC = _render_background(rng, options, luma, margin)
    sprite = draw_sprite(rng, luma, min(options.size))

    frames_THWC = np.empty((options.num_frames, height, width, 3), np.float32)
    for frame_HWC, (down, right) in zip(frames_THWC, shake_T2, strict=True):
        top, left = margin + down, margin + right
        frame_HWC[:] = scene_HWC[top : top + height, left : left + width]
    # The camera shakes the shape as much as the background behind it.
    masks_THW = paste(
        frames_THWC,
        sprite,
        x_T=x_T * width - shake_T2[:, 1],
        y_T=y_T * height - shake_T2[:, 0],
        radius_T=np.exp(log_diameter_T) * min(options.size) / 2,
        angle_T=angle_T,
    )
    frames_THWC *= gain_T[:, None, None, None].astype(np.float32)
    frames_THWC += 0.5  # to the nearest integer, for the conversion cuts off
    frames = np.clip(frames_THWC, 0, 255, out=frames_THWC).astype(np.uint8)
    if direction == 0:
        frames, masks_THW = np.ascontiguousarray(frames[::-1]), np.ascontiguousarray(masks_THW[::-1])
    return MotionClip(frames, masks_THW)


def _draw_tracks(rng: np.random.Generator, num_frames: int, moving: int) -> list[npt.NDArray[np.float64]]:
    """Draw x, y, log diameter and angle, each (T,); the one that is moving increases.

    x and y are shares of width and height, the diameter of the shorter side; angles are radians,
    clockwise as seen. The draws do not depend on what is moving.
    """
    time_T = np.linspace(-1, 1, num_frames)
    # Slower or faster in the middle than at the ends, the same forwards as backwards.
    progress_T = time_T + rng.uniform(-0.5, 0.5) * np.sin(np.pi * time_T) / np.pi
    middles = (
        rng.uniform(*_CENTRE),
        rng.uniform(*_CENTRE),
        np.log(rng.uniform(*_DIAMETER)),
        rng.uniform(0, 2 * np.pi),
    )
    spans = (rng.uniform(*_TRAVEL), rng.uniform(*_TRAVEL), np.log(rng.uniform(*_GROWTH)), rng.uniform(*_TURN))
    still_at = rng.integers(num_frames, size=4)
    tracks = []
    for index, (middle, span, still) in enumerate(zip(middles, spans, still_at, strict=True)):
        shown_T = progress_T if index == moving else np.full(num_frames, progress_T[still])
        tracks.append(middle + span / 2 * shown_T)
    return tracks


def _render_background(
    rng: np.random.Generator, options: MotionVideoOptions, luma: float, margin: int
) -> Floats:
    """Render smooth noise and shapes that stand still, `margin` pixels larger on every side."""
    height, width = (side + 2 * margin for side in options.size)
    scene_HWC = np.empty((height, width, 3), np.float32)
    scene_HWC[:] = draw_colour(rng, luma, chroma=25)
    scene_HWC += 14 * draw_noise(rng, height, width, cells=(3, 7, 18), num_channels=3)
    for _ in range(options.num_distractors):
        x, y, log_diameter, angle = (track[:1] for track in _draw_tracks(rng, options.num_frames, moving=-1))
        x, y = rng.uniform(0, width, 1), rng.uniform(0, height, 1)
        radius = np.exp(log_diameter) * min(options.size) / 2
        paste(scene_HWC[None], draw_sprite(rng, luma, min(options.size)), x, y, radius, angle)
    return scene_HWC
