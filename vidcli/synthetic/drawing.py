"""Shapes, textures and noise, drawn with numpy.

Array names end in their axes: T frames, H rows, W columns, C red-green-blue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Masks: TypeAlias = npt.NDArray[np.bool_]

_SPRITE_EXTENT = 1.8  # half a sprite's side, in radii of a disc of the shape's area
_NUM_DIRECTIONS = 720
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Sprite:
    """A shape with its texture, upright, in the square of half side `_SPRITE_EXTENT` radii.

    colour (S*S, 3), and depth (S*S,): how far inside of the outline, in radii, along the ray from
    the centre.
    """

    side: int
    colour: Floats
    depth: Floats


def draw_sprite(rng: np.random.Generator, luma: float, frame_side: int) -> Sprite:
    """Draw a shape in two colours, one brighter and one darker than `luma`.

    Its two ends differ, so that every rotation can be seen.
    """
    side = round(1.75 * frame_side)  # finer than the frame's pixels, at any size of the shape
    x, y, distance, direction = _sprite_grid(side)
    outline = draw_outline(rng)
    ends, stripes = rng.uniform(0, 2 * np.pi, 2)
    frequency, phase = rng.uniform(3.5, 7.0), rng.uniform(0, 2 * np.pi)
    tone = np.float32(np.cos(ends)) * x + np.float32(np.sin(ends)) * y
    waves = np.float32(frequency * np.cos(stripes)) * x + np.float32(frequency * np.sin(stripes)) * y
    waves += np.float32(phase)
    tone += np.float32(rng.uniform(0.0, 0.9)) * np.sin(waves)
    tone += np.float32(0.35) * draw_noise(rng, side, side, cells=(5, 11), num_channels=1)[..., 0].ravel()
    tone = 0.5 + 0.5 * np.tanh(2 * tone)
    dark = draw_colour(rng, luma - rng.uniform(55, 80), chroma=40)
    bright = draw_colour(rng, luma + rng.uniform(55, 80), chroma=40)
    return Sprite(side, dark + tone[:, None] * (bright - dark), outline[direction] - distance)


def draw_outline(rng: np.random.Generator) -> Floats:
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


def draw_colour(rng: np.random.Generator, luma: float, chroma: float) -> Floats:
    """Draw a colour (3,) of a given luma and a random hue, `chroma` grey levels strong."""
    hue = rng.normal(size=3)
    hue -= _LUMA @ hue
    return np.asarray(np.clip(luma + chroma * hue / np.linalg.norm(hue), 5, 250), np.float32)


def draw_noise(
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


def paste(
    frames_THWC: Floats,
    sprite: Sprite,
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
