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

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.errors import DataError, did_you_mean
from vidcli.video import Frames, encode_video

Floats: TypeAlias = npt.NDArray[np.float32]
Masks: TypeAlias = npt.NDArray[np.bool_]

MOTION_PAIRS = (("left", "right"), ("up", "down"), ("shrink", "grow"), ("counter-clockwise", "clockwise"))
"""Partners under the reversal of time. In the second of each, the moving property increases."""
MOTION_CLASSES = tuple(name for pair in MOTION_PAIRS for name in pair)
MOTION_SPLITS = ("train", "val", "test")
GENERATOR_VERSION = 1
"""Counted up whenever the same seed gives other frames, so that old folders are not reused."""

# The span of the moving property, from its lowest to its highest, and where its middle lies.
_CENTRE = (0.42, 0.58)  # of the frame's width or height
_TRAVEL = (0.38, 0.50)  # of the frame's width or height
_DIAMETER = (0.38, 0.50)  # of the frame's shorter side, of a disc of the same area
_GROWTH = (2.0, 2.8)  # largest over smallest diameter
_TURN = (0.6 * np.pi, 1.0 * np.pi)

_FLICKER = 0.05  # brightness varies by up to this share, afresh in every frame
_SPRITE_EXTENT = 1.8  # half a sprite's side, in radii of a disc of the shape's area
_NUM_DIRECTIONS = 720
_LUMA = np.array([0.299, 0.587, 0.114])

_MARKER = "motion.json"
_UNFINISHED_MARKER = "motion.unfinished.json"
_PARTIAL_PREFIX = ".partial-"


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
    sprite = _draw_sprite(rng, luma, min(options.size))

    frames_THWC = np.empty((options.num_frames, height, width, 3), np.float32)
    for frame_HWC, (down, right) in zip(frames_THWC, shake_T2, strict=True):
        top, left = margin + down, margin + right
        frame_HWC[:] = scene_HWC[top : top + height, left : left + width]
    # The camera shakes the shape as much as the background behind it.
    masks_THW = _paste(
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
    completed, or rewritten where its settings were others. One call at a time may write a folder.

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
        _claim(root, request)
        _write_missing(jobs, options, progress)
        _write_json(root / _MARKER, request)
        (root / _UNFINISHED_MARKER).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{root}: the motion videos cannot be written there ({error.strerror or error}). "
            f"Free the space, mend the permissions, or name another folder."
        ) from error
    return list(jobs)


# --- the scene ------------------------------------------------------------------------------------


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
    scene_HWC[:] = _draw_colour(rng, luma, chroma=25)
    scene_HWC += 14 * _draw_noise(rng, height, width, cells=(3, 7, 18), num_channels=3)
    for _ in range(options.num_distractors):
        x, y, log_diameter, angle = (track[:1] for track in _draw_tracks(rng, options.num_frames, moving=-1))
        x, y = rng.uniform(0, width, 1), rng.uniform(0, height, 1)
        radius = np.exp(log_diameter) * min(options.size) / 2
        _paste(scene_HWC[None], _draw_sprite(rng, luma, min(options.size)), x, y, radius, angle)
    return scene_HWC


@dataclass(frozen=True)
class _Sprite:
    """A shape with its texture, upright, in the square of half side `_SPRITE_EXTENT` radii.

    colour (S*S, 3), and depth (S*S,): how far inside of the outline, in radii, along the ray from
    the centre.
    """

    side: int
    colour: Floats
    depth: Floats


def _draw_sprite(rng: np.random.Generator, luma: float, frame_side: int) -> _Sprite:
    """Draw a shape in two colours, one brighter and one darker than `luma`.

    Its two ends differ, so that every rotation can be seen.
    """
    side = round(1.75 * frame_side)  # finer than the frame's pixels, at any size of the shape
    x, y, distance, direction = _sprite_grid(side)
    outline = _draw_outline(rng)
    ends, stripes = rng.uniform(0, 2 * np.pi, 2)
    frequency, phase = rng.uniform(3.5, 7.0), rng.uniform(0, 2 * np.pi)
    tone = np.float32(np.cos(ends)) * x + np.float32(np.sin(ends)) * y
    waves = np.float32(frequency * np.cos(stripes)) * x + np.float32(frequency * np.sin(stripes)) * y
    waves += np.float32(phase)
    tone += np.float32(rng.uniform(0.0, 0.9)) * np.sin(waves)
    tone += np.float32(0.35) * _draw_noise(rng, side, side, cells=(5, 11), num_channels=1)[..., 0].ravel()
    tone = 0.5 + 0.5 * np.tanh(2 * tone)
    dark = _draw_colour(rng, luma - rng.uniform(55, 80), chroma=40)
    bright = _draw_colour(rng, luma + rng.uniform(55, 80), chroma=40)
    return _Sprite(side, dark + tone[:, None] * (bright - dark), outline[direction] - distance)


def _draw_outline(rng: np.random.Generator) -> Floats:
    """Draw a shape: its radius in each direction, of the area of a disc of radius 1."""
    angle = np.linspace(0, 2 * np.pi, _NUM_DIRECTIONS, endpoint=False)
    kind, corners, stretch = rng.integers(5), int(rng.integers(3, 7)), rng.uniform(1.2, 1.7)
    cosine, sine = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    within = angle % (2 * np.pi / corners)  # 0 at a corner
    half = np.pi / corners
    if kind == 0:
        radius = 1 / np.hypot(cosine / stretch, sine)  # ellipse
    elif kind == 1:
        radius = 1 / np.maximum(cosine / stretch, sine)  # rectangle
    elif kind == 2:
        radius = 1 / np.cos(within - half)  # regular polygon
    elif kind == 3:
        # Star: straight edges from a tip at distance 2 to a notch at distance 1.
        from_tip = np.minimum(within, 2 * half - within)
        radius = 2 * np.sin(half) / (np.sin(half - from_tip) + 2 * np.sin(from_tip))
    else:
        radius = 1 + 0.25 * np.cos(corners * angle)  # flower
    radius *= 1 + 0.1 * np.cos(angle - rng.uniform(0, 2 * np.pi))  # one side a little heavier
    radius /= np.sqrt(np.mean(radius**2))
    return np.asarray(radius, np.float32)


def _draw_colour(rng: np.random.Generator, luma: float, chroma: float) -> Floats:
    """Draw a colour (3,) of a given luma and a random hue, `chroma` grey levels strong."""
    hue = rng.normal(size=3)
    hue -= _LUMA @ hue
    return np.asarray(np.clip(luma + chroma * hue / np.linalg.norm(hue), 5, 250), np.float32)


def _draw_noise(
    rng: np.random.Generator, height: int, width: int, cells: tuple[int, ...], num_channels: int
) -> Floats:
    """Draw smooth noise (H, W, C) of about unit strength: a sum of octaves, coarse to fine.

    Args:
        cells: points of each octave's lattice along either side.
    """
    total = np.zeros((num_channels, height, width), np.float32)
    for index, count in enumerate(cells):
        lattice = rng.standard_normal((num_channels, count, count), np.float32)
        octave = _interpolation(count, height) @ lattice @ _interpolation(count, width).T
        total += octave * np.float32(0.75**index)
    return np.ascontiguousarray(total.transpose(1, 2, 0))


@lru_cache(maxsize=64)
def _interpolation(num_points: int, num_pixels: int) -> Floats:
    """Return the matrix (pixels, points) that draws a smooth curve through the points."""
    position = np.linspace(0, num_points - 1, num_pixels)
    left = np.minimum(position.astype(int), num_points - 2)
    share = position - left
    share = share * share * (3 - 2 * share)  # smoothstep: no kinks at the points
    matrix = np.zeros((num_pixels, num_points), np.float32)
    matrix[np.arange(num_pixels), left] = 1 - share
    matrix[np.arange(num_pixels), left + 1] = share
    return matrix


@lru_cache(maxsize=8)
def _sprite_grid(side: int) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64]]:
    """Return x, y, the distance from the centre and the outline's direction, each (S*S,)."""
    line = (np.arange(side) + 0.5) * (2 * _SPRITE_EXTENT / side) - _SPRITE_EXTENT
    y, x = (grid.ravel() for grid in np.meshgrid(line, line, indexing="ij"))
    turns = np.arctan2(y, x) / (2 * np.pi)
    direction = np.rint(turns * _NUM_DIRECTIONS).astype(np.int64) % _NUM_DIRECTIONS
    return x.astype(np.float32), y.astype(np.float32), np.hypot(x, y).astype(np.float32), direction


def _paste(
    frames_THWC: Floats,
    sprite: _Sprite,
    x_T: npt.NDArray[np.float64],
    y_T: npt.NDArray[np.float64],
    radius_T: npt.NDArray[np.float64],
    angle_T: npt.NDArray[np.float64],
) -> Masks:
    """Draw a sprite into every frame, in place, and return where it covers them (T, H, W).

    Each pixel looks up the point of the sprite that it shows; the depth there, in pixels, gives
    an edge that is one pixel soft at every size of the shape.
    """
    num_frames, height, width, _ = frames_THWC.shape
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    # u and v are the sprite's coordinates in its own pixels; both are sums of a function of the
    # column and one of the row.
    scale_T1 = (sprite.side / (2 * _SPRITE_EXTENT) / radius_T)[:, None]
    cosine_T1, sine_T1 = scale_T1 * np.cos(angle_T)[:, None], scale_T1 * np.sin(angle_T)[:, None]
    right_TW, down_TH = columns - x_T[:, None], rows - y_T[:, None]
    centre = sprite.side / 2
    u_THW = _outer_sum(sine_T1 * down_TH + centre, cosine_T1 * right_TW)
    v_THW = _outer_sum(cosine_T1 * down_TH + centre, -sine_T1 * right_TW)
    shown_THW = (u_THW >= 0) & (u_THW < sprite.side) & (v_THW >= 0) & (v_THW < sprite.side)
    shown = np.flatnonzero(shown_THW)
    point = v_THW.ravel()[shown].astype(np.intp) * sprite.side + u_THW.ravel()[shown].astype(np.intp)
    radius = radius_T.astype(np.float32)[shown // (height * width)]
    alpha = np.clip(sprite.depth[point] * radius + np.float32(0.5), 0, 1)
    covered = alpha > 0
    shown, point, alpha = shown[covered], point[covered], alpha[covered]

    pixels = frames_THWC.reshape(-1, 3)
    behind = pixels[shown]
    pixels[shown] = behind + alpha[:, None] * (sprite.colour[point] - behind)
    masks = np.zeros(num_frames * height * width, np.bool_)
    masks[shown] = alpha > 0.5
    return masks.reshape(num_frames, height, width)


def _outer_sum(rows_TH: npt.NDArray[np.float64], columns_TW: npt.NDArray[np.float64]) -> Floats:
    rows, columns = rows_TH.astype(np.float32), columns_TW.astype(np.float32)
    return np.add(rows[:, :, None], columns[:, None, :])


# --- the folder -----------------------------------------------------------------------------------


def _plan_videos(
    root: Path, num_per_class: dict[str, int], seed: int
) -> Iterator[tuple[Path, np.random.SeedSequence]]:
    for split_index, split in enumerate(MOTION_SPLITS):
        for class_index, name in enumerate(MOTION_CLASSES):
            for number in range(1, num_per_class[split] + 1):
                key = (split_index, class_index, number)
                path = root / split / name / f"{name}_{number:04d}.mp4"
                yield path, np.random.SeedSequence(seed, spawn_key=key)


def _claim(root: Path, request: dict[str, Any]) -> None:
    """Make the folder ready for what is missing in it.

    From then on it holds one of the two markers, which tell a later call whose it is.
    """
    if root.exists() and not root.is_dir():
        raise DataError(
            f"{root}: is a file, where a folder for the motion videos was expected. Name another."
        )
    root.mkdir(parents=True, exist_ok=True)
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
        raise DataError(
            f"{root}: holds other things ({(foreign or videos)[0].relative_to(root)}), where an empty folder "
            f"was expected for the motion videos. Name a folder that is empty or does not exist."
        )
    same = unfinished.exists() and _read_json(unfinished) == request
    for path in videos:
        if not same or path.name.startswith(_PARTIAL_PREFIX):
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
        if parents in places and re.fullmatch(rf"{re.escape(parents[1])}_\d{{4,}}\.mp4", name):
            videos.append(path)
        elif parents or name not in (_MARKER, _UNFINISHED_MARKER):
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
    partial = path.with_name(_PARTIAL_PREFIX + path.name)
    # Without x264's macroblock tree: with it, frames this small are not coded alike every time
    # (one clip in five gave other bytes within ten calls). And no keyframe but the first.
    codec_options = {"crf": str(options.crf), "preset": "veryfast", "g": "250"}
    codec_options["x264-params"] = "mbtree=0:scenecut=0"
    try:
        encode_video(partial, clip.frames, options.fps, options=codec_options)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # damaged, and so equal to no request


def _write_json(path: Path, value: dict[str, Any]) -> None:
    partial = path.with_name(_PARTIAL_PREFIX + path.name)
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
