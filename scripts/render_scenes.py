"""Write videos of a figure with limbs that moves among other things, richer than the built-in ones.

    python scripts/render_scenes.py FOLDER [--train 150] [--val 12] [--seed 1]

Eighteen classes of what the figure does, named after its motion or that of its parts. It is built of a
body, a head and limbs, before a background with light, texture and stripes, behind bars or not; others
pass by; the camera shakes and pans. What this is for, and what came of it: docs/experiments.md.

Array names end in their axes: T frames, H rows, W columns, C red-green-blue.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Float32, Frames
from vidcli.synthetic.drawing import Sprite, draw_colour, draw_noise, draw_sprite, paste
from vidcli.video import encode_video

CLASSES = (
    *("left", "right", "up", "down", "approach", "recede", "clockwise", "counter-clockwise"),
    *("head-up", "head-down", "head-bobs", "limbs-swing", "limbs-rise", "limbs-fall"),
    *("stretch", "crouch", "shakes", "still"),
)
HEIGHT, WIDTH, NUM_FRAMES = 64, 112, 16
_MARGIN = (12, 16)  # rows and columns that the camera may move, either way
_ONES_T = np.ones(NUM_FRAMES)
_TIME_T = np.linspace(0, 1, NUM_FRAMES)

Track = npt.NDArray[np.float64]


@dataclass
class Pose:
    """Where the figure is and how it holds itself, each (T,).

    Attributes:
        x, y: centre of the body, in pixels.
        radius: of the body's largest part.
        turn: direction of its axis, in radians.
        spread: distance of its parts, in radii.
        head, limb: angles beside the rest.
    """

    x: Track
    y: Track
    radius: Track
    turn: Track
    spread: Track
    head: Track
    limb: Track


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line (`sys.argv` without `arguments`) and write the videos."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=150, help="videos of each class to train on")
    parser.add_argument("--val", type=int, default=12, help="videos of each class to validate on")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    for split, count in (("train", options.train), ("val", options.val)):
        for number, name in enumerate(CLASSES):
            folder = options.folder / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                rng = np.random.default_rng([options.seed, split == "val", number, index])
                coding = {"crf": "23", "preset": "veryfast"}
                encode_video(folder / f"{index:04d}.mp4", render_scene(name, rng), 25, options=coding)


def render_scene(name: str, rng: np.random.Generator) -> Frames:
    """Render one clip of a class, uint8 (T, H, W, 3)."""
    pose = draw_pose(name, rng)
    mirror = rng.choice([-1, 1])
    camera_T2 = draw_camera(rng)
    luma = rng.uniform(60, 190)
    scene_HWC = draw_background(rng, luma)
    frames_THWC = np.stack(
        [
            scene_HWC[_MARGIN[0] + row : _MARGIN[0] + row + HEIGHT, _MARGIN[1] + column :][:, :WIDTH]
            for row, column in camera_T2
        ]
    ).astype(np.float32)
    draw_passers(frames_THWC, camera_T2, rng, int(rng.integers(0, 3)), luma)
    draw_figure(frames_THWC, camera_T2, rng, pose, mirror, luma)
    draw_passers(frames_THWC, camera_T2, rng, int(rng.integers(0, 2)), luma)
    if rng.random() < 0.35:
        draw_bars(frames_THWC, camera_T2, rng)
    if rng.random() < 0.3:  # grey, as of a night camera
        frames_THWC = frames_THWC.mean(-1, keepdims=True).repeat(3, -1)
    frames_THWC = (frames_THWC - 128) * rng.uniform(0.5, 1.2) + 128
    frames_THWC *= rng.uniform(0.96, 1.04, (NUM_FRAMES, 1, 1, 1)).astype(np.float32)
    frames_THWC += rng.normal(0, rng.uniform(0, 5), frames_THWC.shape).astype(np.float32)
    pixels_THWC: Frames = np.clip(frames_THWC + 0.5, 0, 255).astype(np.uint8)
    return pixels_THWC


def draw_pose(name: str, rng: np.random.Generator) -> Pose:
    """Draw how a figure of a class moves; nothing alive is quite still."""

    def wave(slowest: float = 1.5, fastest: float = 4.5) -> Track:
        return np.sin(2 * np.pi * (rng.uniform(slowest, fastest) * _TIME_T + rng.random()))

    progress = _draw_progress(rng)
    radius = rng.uniform(0.16, 0.30) * HEIGHT
    x, y = rng.uniform(0.32, 0.68) * WIDTH * _ONES_T, rng.uniform(0.35, 0.65) * HEIGHT * _ONES_T
    turn = rng.uniform(0, 2 * np.pi) * _ONES_T
    pose = Pose(x, y, radius * _ONES_T, turn, _ONES_T * rng.uniform(0.6, 0.9), _ONES_T, _ONES_T)
    pose.head, pose.limb = 0.3 * rng.uniform(-1, 1) * _ONES_T, rng.uniform(-0.4, 0.4) * _ONES_T
    way = rng.uniform(0.25, 0.55) * HEIGHT * (progress - 0.5)
    pose.x = pose.x + 0.03 * HEIGHT * wave(0.3, 1.2)
    pose.y = pose.y + 0.03 * HEIGHT * wave(0.3, 1.2)
    if rng.random() < 0.5:
        pose.turn = pose.turn + 0.08 * wave(0.3, 1)
    sign = -1 if name in ("left", "up", "recede", "counter-clockwise", "head-down", "limbs-fall") else 1
    if name in ("left", "right"):
        pose.x = pose.x + sign * 1.3 * way
    elif name in ("up", "down"):
        pose.y = pose.y + sign * way
    elif name in ("approach", "recede"):
        pose.radius = radius * np.exp(sign * rng.uniform(0.45, 0.8) * (progress - 0.5))
    elif name in ("clockwise", "counter-clockwise"):
        pose.turn = pose.turn + sign * rng.uniform(0.7, 2.5) * (progress - 0.5)
    elif name in ("head-up", "head-down"):
        pose.head = pose.head + sign * rng.uniform(0.8, 1.6) * (progress - 0.5)
    elif name == "head-bobs":
        pose.head = pose.head + rng.uniform(0.25, 0.6) * wave()
    elif name == "limbs-swing":
        pose.limb = pose.limb + rng.uniform(0.3, 0.8) * wave()
    elif name in ("limbs-rise", "limbs-fall"):
        pose.limb = pose.limb + sign * rng.uniform(0.9, 1.8) * (progress - 0.5)
    elif name in ("stretch", "crouch"):
        pose.spread = pose.spread * (
            1 + rng.uniform(0.5, 1.0) * (progress if name == "stretch" else 1 - progress)
        )
    elif name == "shakes":
        shaking, direction, far = wave(2.5, 5), rng.uniform(0, 6.3), rng.uniform(0.05, 0.12) * HEIGHT
        pose.x = pose.x + far * np.cos(direction) * shaking
        pose.y = pose.y + far * np.sin(direction) * shaking
    return pose


def _draw_progress(rng: np.random.Generator) -> Track:
    """Draw how far a motion is, 0 to 1: slower or faster, starting late or ending early."""
    progress = _TIME_T + rng.uniform(-0.5, 0.5) * np.sin(2 * np.pi * _TIME_T) / (2 * np.pi)
    if rng.random() < 0.5:
        start, end = sorted(rng.uniform(0, 1, 2))
        if end - start > 0.35:
            progress = np.clip((progress - start) / (end - start), 0, 1)
    return progress


def draw_camera(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw where the camera looks, in rows and columns from the middle (T, 2)."""
    shake = rng.choice([0, 1, 2])
    camera_T2 = rng.integers(-shake, shake + 1, (NUM_FRAMES, 2)).astype(float)
    if rng.random() < 0.4:
        far = rng.uniform(-1, 1, 2) * [_MARGIN[0] - 3, _MARGIN[1] - 3]
        camera_T2 += (_TIME_T[:, None] - 0.5) * 2 * far[None] * rng.uniform(0.2, 1)
    rounded_T2: npt.NDArray[np.int64] = np.rint(camera_T2).astype(np.int64)
    return np.clip(rounded_T2, np.negative(_MARGIN), _MARGIN)


def draw_background(rng: np.random.Generator, luma: float) -> Float32:
    """Draw texture, a change of light, stripes as of boards, and things that stand still."""
    height, width = HEIGHT + 2 * _MARGIN[0], WIDTH + 2 * _MARGIN[1]
    scene_HWC = np.empty((height, width, 3), np.float32)
    scene_HWC[:] = draw_colour(rng, luma, chroma=rng.uniform(5, 25))
    strength, cells = rng.uniform(4, 18), tuple(rng.choice([3, 5, 7, 11, 18, 27], 3, replace=False))
    scene_HWC += strength * draw_noise(rng, height, width, cells, num_channels=3)
    across = rng.uniform(-30, 30) * np.linspace(-1, 1, width)[None, :, None]
    light = across + rng.uniform(-30, 30) * np.linspace(-1, 1, height)[:, None, None]
    scene_HWC += light.astype(np.float32)
    if rng.random() < 0.5:
        row, column = np.mgrid[:height, :width]
        angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
        period, share = rng.uniform(6, 24), rng.uniform(0.1, 0.5)
        place = (np.cos(angle) * column + np.sin(angle) * row) / period + rng.random()
        scene_HWC[place % 1 < share] += rng.uniform(-35, 35)
    for _ in range(rng.integers(0, 7)):
        radius = np.array([rng.uniform(0.05, 0.35) * HEIGHT])
        sprite = draw_sprite(rng, luma, HEIGHT)
        x, y = rng.uniform(0, width, 1), rng.uniform(0, height, 1)
        paste(scene_HWC[None], sprite, x, y, radius, rng.uniform(0, 6.3, 1))
    return scene_HWC


def draw_passers(
    frames_THWC: Float32, camera_T2: npt.NDArray[np.int64], rng: np.random.Generator, count: int, luma: float
) -> None:
    """Draw small things that move evenly."""
    time_T = _TIME_T - 0.5
    for _ in range(count):
        way = rng.uniform(-0.5, 0.5, 2) * HEIGHT * rng.choice([0.3, 1])
        sprite = draw_sprite(rng, luma, HEIGHT)
        x, y = rng.uniform(0, WIDTH) + way[0] * time_T, rng.uniform(0, HEIGHT) + way[1] * time_T
        radius = _ONES_T * rng.uniform(0.05, 0.11) * HEIGHT
        _place(frames_THWC, camera_T2, sprite, x, y, radius, rng.uniform(0, 6) + rng.uniform(-1, 1) * time_T)


def draw_figure(
    frames_THWC: Float32,
    camera_T2: npt.NDArray[np.int64],
    rng: np.random.Generator,
    pose: Pose,
    mirror: int,
    luma: float,
) -> None:
    """Draw some of the limbs, the body in one to three parts, the head, and the other limbs."""
    body = draw_sprite(rng, luma, HEIGHT)
    is_plain = rng.random() < 0.6
    head = body if is_plain else draw_sprite(rng, luma, HEIGHT)
    limb = body if is_plain else draw_sprite(rng, luma, HEIGHT)
    right, down = np.cos(pose.turn), np.sin(pose.turn)
    num_parts = rng.integers(1, 4)
    heading = rng.uniform(0, 6.3)
    places = np.linspace(-1, 1, num_parts) if num_parts > 1 else np.zeros(1)
    radius, spread = pose.radius, pose.spread
    limbs = []
    for index in range(rng.integers(2, 5)):
        at = rng.uniform(-0.9, 0.9)
        side = mirror if index % 2 == 0 or rng.random() < 0.5 else -mirror
        length, thickness = rng.uniform(0.9, 1.5), rng.uniform(0.18, 0.34)
        angle = pose.turn + side * (np.pi / 2 - pose.limb * (1 if rng.random() < 0.85 else -1))
        x, y = pose.x + right * at * spread * radius, pose.y + down * at * spread * radius
        for reach in (length * radius * spread**0.5, 0.6 * length * radius):
            limbs.append((x + np.cos(angle) * reach, y + np.sin(angle) * reach, thickness * radius, angle))
    num_behind = rng.integers(0, len(limbs) + 1)
    for part in limbs[:num_behind]:
        _place(frames_THWC, camera_T2, limb, *part)
    for place in places:
        x, y = pose.x + right * place * spread * radius, pose.y + down * place * spread * radius
        size = radius * (0.8 + 0.2 * (1 - abs(place)))
        _place(frames_THWC, camera_T2, body, x, y, size, pose.turn + heading)
    angle = pose.turn - mirror * pose.head
    ahead = spread * (num_parts > 1) * radius
    x, y = pose.x + right * ahead, pose.y + down * ahead
    x, y = x + np.cos(angle) * 0.95 * radius, y + np.sin(angle) * 0.95 * radius
    _place(frames_THWC, camera_T2, head, x, y, radius * rng.uniform(0.4, 0.6), angle + 1)
    for part in limbs[num_behind:]:
        _place(frames_THWC, camera_T2, limb, *part)


def draw_bars(frames_THWC: Float32, camera_T2: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    """Draw bars before everything; they belong to the scene."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    angle, period = rng.choice([0, np.pi / 2]), rng.uniform(14, 30)
    share, colour = rng.uniform(0.06, 0.2), draw_colour(rng, rng.uniform(30, 220), 15)
    phase = rng.random()
    for frame_HWC, (down, right) in zip(frames_THWC, camera_T2, strict=True):
        place = (np.cos(angle) * (column + right) + np.sin(angle) * (row + down)) / period + phase
        frame_HWC[place % 1 < share] = colour


def _place(
    frames_THWC: Float32,
    camera_T2: npt.NDArray[np.int64],
    sprite: Sprite,
    x: Track,
    y: Track,
    radius: Track,
    angle: Track,
) -> None:
    paste(frames_THWC, sprite, x - camera_T2[:, 1], y - camera_T2[:, 0], np.maximum(radius, 1.0), angle)


if __name__ == "__main__":
    main()
