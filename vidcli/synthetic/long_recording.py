"""Long recordings of one or two subjects that do one of six things half of the time, and wander otherwise.

    flick    0.3 to 0.8 s   turns aside and back          spin     1 to 4 s     turns round and round
    hop      0.5 to 1.2 s   jumps up and comes down       pulse    3 to 15 s    swells and shrinks
    dart     1 to 5 s       rushes from wall to wall      sleep    12 to 60 s   lies still, curled up

    time     ···spin·····hop··flick···sleepsleepsleepsleepsleep·····dartdart···   · nothing of these

Every recording has a scene of its own, a camera that shakes, noise, and light that changes. There are three
kinds of subjects, as there are species of animals: each has its outline and marking, and is about as bright
as its scene. Where a second subject is in the picture, which comes later and leaves earlier, it is of another
kind and does things of its own. The boxes around subjects are as a tracker gives them: they tremble, and some
are missing.

Array names end in their axes: T frames, H rows, W columns, C red-green-blue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Float32, Float64, Frames
from vidcli.synthetic.drawing import Sprite, draw_colour, draw_noise, draw_sprite, paste

LONG_VERSION = 2
"""Counted up whenever the same seed gives other recordings, so that old folders are not reused."""

_DURATIONS = {
    "flick": (0.3, 0.8),
    "hop": (0.5, 1.2),
    "spin": (1.0, 4.0),
    "dart": (1.0, 5.0),
    "pulse": (3.0, 15.0),
    "sleep": (12.0, 60.0),
}
"""Seconds of a bout, from and to; their logarithms are drawn evenly."""
LONG_CLASSES = tuple(sorted(_DURATIONS))
_DECK = {"flick": 6, "hop": 6, "spin": 4, "dart": 4, "pulse": 2, "sleep": 1}
"""How many bouts of each there are before all were there as often: in about 150 s, half of it background."""
_GAP_SECONDS = (0.4, 3.2)  # the least, and about the mean of what comes on top
_GAP_SHARE = 0.027  # of a recording, that the second of these is at most
_LONGEST_SHARE = 0.1  # of a recording that one bout may take

_BANK = 16  # pictures of noise, of which each frame shows one, shifted
_CHUNK = 48  # frames that are drawn at once
NUM_KINDS = 3
"""Kinds of subjects; recordings take turns."""
_VISIT = (0.1, 0.9)
"""From where to where in a recording the second subject is in the picture, as a share of its length."""
_BOX_RADII = 1.25  # half a box's side, in radii of a disc of the subject's area
_BOX_NOISE = 0.03  # spread of a box's sides, as a share of its width
_BOXES_MISSING = 0.05  # share of the frames without a box
_WALL = (0.2, 0.8)  # between which the subject's centre stays, as a share of either side


@dataclass(frozen=True)
class LongRecordingOptions:
    """How long recordings look and are coded.

    Args:
        minutes: of one recording, at least 0.5.
        size: height and width in pixels, even, at least 32.
        fps: frames a second, at least 10: a flick lasts 0.3 s.
        jitter: how far the camera shakes either way, as a share of the shorter side.
        noise: spread of each pixel, in grey levels.
        crf: constant rate factor of H.264.
    """

    minutes: float = 10.0
    size: tuple[int, int] = (96, 128)
    fps: float = 12.0
    jitter: float = 0.02
    noise: float = 5.0
    crf: int = 23

    def __post_init__(self) -> None:
        if self.minutes < 0.5:
            raise ValueError("minutes must be at least 0.5")
        if min(self.size) < 32 or self.size[0] % 2 or self.size[1] % 2:
            raise ValueError(f"size must be even and at least 32x32, not {self.size[0]}x{self.size[1]}")
        if self.fps < 10:
            raise ValueError("fps must be at least 10")

    @property
    def num_frames(self) -> int:
        """Frames of a recording."""
        return round(60 * self.minutes * self.fps)


@dataclass(frozen=True)
class Bout:
    """One occurrence of a behaviour, from its first frame to its end, which is left out."""

    label: str
    start: int
    end: int


def draw_bouts(
    rng: np.random.Generator, options: LongRecordingOptions, visit: tuple[int, int] | None = None
) -> list[Bout]:
    """Draw what a subject of a recording does when; each behaviour comes early once.

    Args:
        rng: draws order, durations and gaps.
        options: length of the recording.
        visit: first frame with the subject, and the end, which is left out; None for all frames.
    """
    bouts: list[Bout] = []
    seconds = 60 * options.minutes
    least, more = _GAP_SECONDS[0], min(_GAP_SECONDS[1], _GAP_SHARE * seconds)
    place, last = visit or (0, options.num_frames)
    deck: list[str] = []
    while True:
        place += round((least + min(rng.exponential(more), 2 * more)) * options.fps)
        if not deck:
            cards = [name for name, count in _DECK.items() for _ in range(count - (not bouts))]
            first = rng.permutation(list(_DURATIONS)).tolist() if not bouts else []
            deck = [*first, *rng.permutation(cards).tolist()][::-1]
        label = deck.pop()
        low, high = _DURATIONS[label]
        lasts = min(np.exp(rng.uniform(np.log(low), np.log(high))), _LONGEST_SHARE * seconds)
        end = place + max(4, round(lasts * options.fps))
        if end > last:
            return bouts
        bouts.append(Bout(label, place, end))
        place = end


@dataclass(frozen=True)
class Actor:
    """A subject of a recording.

    Attributes:
        name: its track.
        kind: seed of its outline and marking.
        bouts: what it does when, in order.
        visit: first frame with it, and the end, which is left out.
    """

    name: str
    kind: np.random.SeedSequence
    bouts: list[Bout]
    visit: tuple[int, int]


def visit_of(is_second: bool, options: LongRecordingOptions) -> tuple[int, int]:
    """Return the first frame with a subject and the end: all frames, or those of a second subject.

    Args:
        is_second: whether it is the second one.
        options: length of the recording.
    """
    first, last = _VISIT if is_second else (0.0, 1.0)
    return round(first * options.num_frames), round(last * options.num_frames)


class LongScene:
    """All of a recording that is drawn at random but its noise."""

    def __init__(
        self, rng: np.random.Generator, actors: Sequence[Actor], options: LongRecordingOptions
    ) -> None:
        """Draw the scene, the ways of the subjects, and all that shakes.

        Args:
            rng: draws all of that, and noise later.
            actors: the subjects; later ones are in front.
            options: size, length and look.
        """
        self._rng, self._actors, self._options = rng, actors, options
        height, width = options.size
        self._margin = round(options.jitter * min(options.size))
        luma = rng.uniform(95, 160)
        self._scene_HWC = _draw_scene(rng, height + 2 * self._margin, width + 2 * self._margin, luma)
        self._bank = rng.standard_normal((_BANK, height, width, 3), np.float32) * np.float32(options.noise)
        self._shake_T2 = _draw_shake(rng, options.num_frames, self._margin)
        seconds_T = np.arange(options.num_frames) / options.fps
        self._light_T = 1 + 0.06 * np.sin(seconds_T / rng.uniform(8, 30))
        self._light_T *= rng.uniform(0.97, 1.03, options.num_frames)
        side = min(options.size)
        self._sprites = [draw_sprite(np.random.default_rng(actor.kind), luma, side) for actor in actors]
        self._tracks = [_draw_track(rng, actor.bouts, options) for actor in actors]

    def boxes(self, rng: np.random.Generator) -> Iterator[tuple[int, str, tuple[float, ...]]]:
        """Yield frame, track and left, top, width and height in pixels of each box that a tracker found.

        Args:
            rng: draws how boxes tremble and which are missing.
        """
        height, width = self._options.size
        for actor, track_T4 in zip(self._actors, self._tracks, strict=True):
            x_T, y_T = self._middles(track_T4, slice(None))
            half_T = _BOX_RADII * np.exp(track_T4[:, 2]) * min(height, width) / 2
            edges_T4 = np.stack([x_T - half_T, y_T - half_T, x_T + half_T, y_T + half_T], axis=1)
            edges_T4 += rng.normal(0, _BOX_NOISE, edges_T4.shape) * 2 * half_T[:, None]
            found_T = rng.random(len(track_T4)) >= _BOXES_MISSING
            for frame in range(*actor.visit):
                if found_T[frame]:
                    left, top, right, bottom = edges_T4[frame].tolist()
                    yield frame, actor.name, (left, top, right - left, bottom - top)

    def frames(self) -> Iterator[Frames]:
        """Yield the frames, uint8 (H, W, 3)."""
        options, margin = self._options, self._margin
        height, width = options.size
        for start in range(0, options.num_frames, _CHUNK):
            span = slice(start, min(start + _CHUNK, options.num_frames))
            frames_THWC = np.empty((span.stop - start, height, width, 3), np.float32)
            for frame_HWC, (down, right) in zip(frames_THWC, self._shake_T2[span], strict=True):
                frame_HWC[:] = self._scene_HWC[
                    margin + down : margin + down + height, margin + right : margin + right + width
                ]
            for actor, sprite, track_T4 in zip(self._actors, self._sprites, self._tracks, strict=True):
                there = slice(max(start, actor.visit[0]), min(span.stop, actor.visit[1]))
                if there.start < there.stop:
                    part_THWC = frames_THWC[there.start - start : there.stop - start]
                    self._paste(part_THWC, sprite, track_T4, there)
            frames_THWC *= self._light_T[span, None, None, None].astype(np.float32)
            for frame_HWC in frames_THWC:
                picture, down, right = self._rng.integers([_BANK, height, width])
                frame_HWC += np.roll(self._bank[picture], (down, right), axis=(0, 1))
            frames_THWC += 0.5  # to the nearest integer, for the conversion cuts off
            yield from np.clip(frames_THWC, 0, 255, out=frames_THWC).astype(np.uint8)

    def _paste(self, frames_THWC: Float32, sprite: Sprite, track_T4: Float64, span: slice) -> None:
        x_T, y_T = self._middles(track_T4, span)
        radius_T = np.exp(track_T4[span, 2]) * min(self._options.size) / 2
        paste(frames_THWC, sprite, x_T=x_T, y_T=y_T, radius_T=radius_T, angle_T=track_T4[span, 3])

    def _middles(self, track_T4: Float64, span: slice) -> tuple[Float64, Float64]:
        """Return x and y of a subject's middle in pixels, as the camera shows it."""
        height, width = self._options.size
        shake_T2 = self._shake_T2[span]
        return track_T4[span, 0] * width - shake_T2[:, 1], track_T4[span, 1] * height - shake_T2[:, 0]


def _draw_scene(rng: np.random.Generator, height: int, width: int, luma: float) -> Float32:
    scene_HWC = np.empty((height, width, 3), np.float32)
    scene_HWC[:] = draw_colour(rng, luma, chroma=20)
    scene_HWC += 10 * draw_noise(rng, height, width, cells=(3, 7, 18), num_channels=3)
    return scene_HWC


def _draw_shake(rng: np.random.Generator, num_frames: int, margin: int) -> Float64:
    """Draw where the camera looks in each frame (T, 2), in whole pixels; it comes back by itself."""
    steps_T2 = rng.normal(0, 0.35 * margin, (num_frames, 2))
    shake_T2 = np.zeros((num_frames, 2))
    for frame in range(1, num_frames):
        shake_T2[frame] = 0.8 * shake_T2[frame - 1] + steps_T2[frame]
    return np.clip(np.rint(shake_T2), -margin, margin).astype(np.int64)


def _draw_track(rng: np.random.Generator, bouts: list[Bout], options: LongRecordingOptions) -> Float64:
    """Draw x, y, log diameter and angle of a subject (T, 4), as shares of width, height and shorter side.

    It wanders where it does nothing else, and goes on from where it was left.
    """
    num_frames, fps = options.num_frames, options.fps
    track_T4 = np.zeros((num_frames, 4))
    place = np.array(
        [*rng.uniform(0.35, 0.65, 2), np.log(rng.uniform(0.26, 0.34)), rng.uniform(0, 2 * np.pi)]
    )
    frame = 0
    for bout in [*bouts, Bout("", num_frames, num_frames)]:
        _wander(rng, track_T4[frame : bout.start], place, fps)
        _act(rng, bout.label, track_T4[bout.start : bout.end], place, fps)
        frame = bout.end
    return track_T4


def _wander(rng: np.random.Generator, track_T4: Float64, place: Float64, fps: float) -> None:
    """Fill a track with slow steps and turns, and move `place` to its end."""
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.12)
    turn = rng.uniform(-0.4, 0.4)
    for row in track_T4:
        heading += rng.normal(0, 0.15)
        place[:2] += np.array([np.cos(heading), np.sin(heading)]) * speed / fps
        if (np.clip(place[:2], *_WALL) != place[:2]).any():
            heading = float(np.arctan2(0.5 - place[1], 0.5 - place[0]))
            place[:2] = np.clip(place[:2], *_WALL)
        place[3] += turn / fps
        row[:] = place


def _act(rng: np.random.Generator, label: str, track_T4: Float64, place: Float64, fps: float) -> None:
    """Fill a track with one bout of a behaviour, and move `place` to where that leaves the subject."""
    length = len(track_T4)
    share_T = (np.arange(length) + 0.5) / max(1, length)
    seconds_T = (np.arange(length) + 1) / fps
    track_T4[:] = place
    sign = rng.choice([-1.0, 1.0])
    if label == "flick":
        track_T4[:, 3] += sign * rng.uniform(1.2, 2.2) * np.sin(np.pi * share_T)
    elif label == "hop":
        track_T4[:, 1] -= rng.uniform(0.22, 0.34) * 4 * share_T * (1 - share_T)
    elif label == "spin":
        track_T4[:, 3] += sign * 2 * np.pi * rng.uniform(0.6, 1.1) * seconds_T
        place[3] = track_T4[-1, 3]
    elif label == "pulse":
        track_T4[:, 2] += 0.32 * np.sin(2 * np.pi * rng.uniform(0.9, 1.4) * seconds_T)
    elif label == "sleep":
        track_T4[:, 2] -= 0.45 * np.minimum(1, np.minimum(seconds_T, seconds_T[::-1]) / 0.3)
    elif label == "dart":
        direction = rng.uniform(0, 2 * np.pi)
        step_2 = np.array([np.cos(direction), 0.7 * np.sin(direction)]) * rng.uniform(0.7, 1.1) / fps
        for row in track_T4:
            place[:2] += step_2
            step_2[np.clip(place[:2], *_WALL) != place[:2]] *= -1
            place[:2] = np.clip(place[:2], *_WALL)
            row[:2] = place[:2]
