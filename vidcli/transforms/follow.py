"""Follow what moves, so that a small thing which crosses the picture fills a window of its own.

    before          moment          after          Each moment has two neighbours, at most a tenth of a
    ┌──────────┐    ┌──────────┐    ┌──────────┐    second away. What differs most from them, once the
    │ ·        │    │    ·     │    │       ·  │    shift of the camera is taken back, moves. The path
    │      ⌂   │    │      ⌂   │    │      ⌂   │    through the strongest such places with the shortest
    └──────────┘    └──────────┘    └──────────┘    jumps is followed; the window has one size for a clip.

Edges of a background that the shift does not quite align differ too. Differences are therefore divided by the
contrast around them, which makes them about the distance that something moved (normal flow). The path is
found by dynamic programming (Viterbi 1967). The shift is the peak of the phase correlation (Kuglin and Hines
1975).

Shape suffixes: T moments, P 3 (before, moment, after), H W pixels, C channels, h w pixels at the scale that
is searched, h f frequencies, r pixels around the path, N places, S moments at which something is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidcli.arrays import Float64, Frames, Int64
from vidcli.transforms.focus import Window

_SEARCHED = 360
"""Pixels of the shorter side at which motion is searched."""
_NOISE_MEDIANS, _NOISE_LEVELS = 2.0, 2.0
"""Differences count beyond so many times their median, and so many of 255 levels: noise and compression."""
_SPREAD_OF_CAMERA = 0.15
"""Standard deviation, as a share of a side, of where a shift explains changes; all over is 0.29."""
_AT_BORDER = 0.1
"""How much what moves at the border counts, as a share of what moves in the middle."""
_LEAST_SHIFT = 0.3
"""In pixels; less is taken for none."""
_CONTRAST = 4.0
"""Levels a pixel added to the contrast, so that noise on a plain background is not divided by nothing."""
_NUM_PLACES = 6
"""Places of a moment that the path may go through."""
_PLACE_RADIUS = 0.05
"""Of a place, as a share of the height: the next one lies further away."""
_FLOOR = 0.05
"""Strength, as a share of the usual one, of a moment at which nothing is seen."""
_JUMP, _LONGEST_JUMP = 10.0, 2.5
"""What a jump over the frame's diagonal costs, in logarithms of strength, and the most that any costs."""
_REACH = 0.35
"""How far around the path the size of what moves is looked for, as a share of the shorter side."""
_PEAK_SHARE = 0.3
"""What moves reaches as far as it changes by this share of its strongest change."""
_MARGIN = 1.6
_SMALLEST = 0.1
"""Of the window, as a share of the shorter side."""


def follow_motion(frames_TPHWC: Frames, proportions: tuple[int, int]) -> list[Window]:
    """Return a window for each moment, around what moves; all have the same size.

    Args:
        frames_TPHWC: each moment of a clip with its neighbours.
        proportions: height and width of the clip, of which only the ratio counts.

    Returns:
        Windows in pixels of the frames. Without motion each is the largest one, centred.
    """
    height, width = frames_TPHWC.shape[2:4]
    scale = min(1.0, _SEARCHED / min(height, width))
    searched = max(1, round(height * scale)), max(1, round(width * scale))
    energies, changes = zip(*(_motion(frames_PHWC, searched) for frames_PHWC in frames_TPHWC), strict=True)
    path_T2 = _follow(torch.stack(energies))
    longest = max(proportions)
    largest = min(height * longest / proportions[0], width * longest / proportions[1])
    if path_T2 is None:
        path_T2, side = np.tile(np.array(searched) / 2, (len(frames_TPHWC), 1)), largest
    else:
        offset_2, size = _extent(torch.stack(changes), path_T2)
        path_T2 = path_T2 + offset_2
        side = min(largest, max(size * _MARGIN / scale, _SMALLEST * min(height, width)))
    rows = min(height, max(1, round(side * proportions[0] / longest)))
    columns = min(width, max(1, round(side * proportions[1] / longest)))
    windows: list[Window] = []
    for row, column in path_T2 / searched * (height, width):
        top = min(max(0, round(row - rows / 2)), height - rows)
        left = min(max(0, round(column - columns / 2)), width - columns)
        windows.append((top, left, rows, columns))
    return windows


def _motion(frames_PHWC: Frames, searched: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return how much each pixel of a moment moves, and how much it changes, both (h, w)."""
    green_PHW = torch.from_numpy(np.ascontiguousarray(frames_PHWC[..., 1])).float()  # most of the luma
    if green_PHW.shape[1:] != searched:
        green_PHW = F.interpolate(green_PHW[None], searched, mode="bilinear", antialias=True)[0]
    before_hw, moment_hw, after_hw = green_PHW
    spectra_Phf = _spectra(green_PHW)
    # Both differ where something is now, and only one where it was or will be.
    change_hw = (
        _difference(before_hw, moment_hw, _shift_between(spectra_Phf[0], spectra_Phf[1], searched))
        + _difference(after_hw, moment_hw, _shift_between(spectra_Phf[2], spectra_Phf[1], searched))
    ) / 2
    change_hw = _blur((change_hw - _NOISE_MEDIANS * change_hw.median() - _NOISE_LEVELS).clamp(min=0), 5)
    contrast_hw = _blur(_slopes(moment_hw), 5)
    # What is filmed is seldom at the border.
    likely_hw = _AT_BORDER + (1 - _AT_BORDER) * _fading(searched)
    energy_hw: Tensor = likely_hw * change_hw / (contrast_hw + _CONTRAST) * change_hw.sqrt()
    return energy_hw, change_hw


def _spectra(green_PHW: Tensor) -> Tensor:
    """Return the spectra of pictures whose borders fade out, each frequency at length one."""
    centred_PHW = green_PHW - green_PHW.mean(dim=(1, 2), keepdim=True)
    spectra_Phf: Tensor = torch.fft.rfft2(centred_PHW * _fading((green_PHW.shape[1], green_PHW.shape[2])))
    # A fifth of the time that `abs` and division of complex numbers take.
    lengths_Phf = torch.addcmul(spectra_Phf.real.square(), spectra_Phf.imag, spectra_Phf.imag).sqrt_()
    return spectra_Phf.mul_(lengths_Phf.add_(1e-6).reciprocal_())


@lru_cache(maxsize=16)
def _fading(size: tuple[int, int]) -> Tensor:
    """Return weights (h, w) that are one in the middle of a picture and nothing at its borders."""
    rows_h, columns_w = (torch.hann_window(side, periodic=False) for side in size)
    fading_hw: Tensor = rows_h[:, None] * columns_w[None]
    return fading_hw


def _shift_between(from_hf: Tensor, to_hf: Tensor, size: tuple[int, int]) -> tuple[float, float]:
    """Return by how many pixels, down and right, a picture moved, from the spectra of it before and after."""
    height, width = size
    peaks_hw = torch.fft.irfft2(to_hf * from_hf.conj(), s=size)
    row, column = divmod(int(peaks_hw.argmax()), width)
    # The centre of mass around the peak is exact to a fraction of a pixel.
    rows, columns = torch.arange(row - 2, row + 3), torch.arange(column - 2, column + 3)
    around_55 = peaks_hw[rows % height][:, columns % width].clamp(min=0)
    mass = float(around_55.sum())
    if mass <= 0:
        return 0.0, 0.0
    down = float((around_55.sum(dim=1) * rows).sum()) / mass
    right = float((around_55.sum(dim=0) * columns).sum()) / mass
    return (down + height / 2) % height - height / 2, (right + width / 2) % width - width / 2


def _difference(other_hw: Tensor, moment_hw: Tensor, shift: tuple[float, float]) -> Tensor:
    """Return how much a moment differs from a neighbour whose shift is taken back; nothing at its borders."""
    still_hw = (moment_hw - other_hw).abs()
    down, right = shift
    if abs(down) < _LEAST_SHIFT and abs(right) < _LEAST_SHIFT:
        return still_hw
    height, width = moment_hw.shape
    rows_h = (torch.arange(height) - down).mul(2 / max(1, height - 1)).sub(1)
    columns_w = (torch.arange(width) - right).mul(2 / max(1, width - 1)).sub(1)
    grid_hw2 = torch.stack(torch.meshgrid(columns_w, rows_h, indexing="xy"), dim=-1)
    moved_hw = F.grid_sample(other_hw[None, None], grid_hw2[None], padding_mode="border", align_corners=True)
    difference_hw = (moment_hw - moved_hw[0, 0]).abs()
    rows, columns = (
        min(int(abs(by)) + 2, side // 2) for by, side in zip(shift, (height, width), strict=True)
    )
    inside_hw = torch.zeros_like(difference_hw)
    inside = slice(rows, height - rows), slice(columns, width - columns)
    inside_hw[inside] = difference_hw[inside]
    gain_hw = still_hw[inside] - inside_hw[inside]
    return inside_hw if gain_hw.sum() > 0 and _is_spread(gain_hw.clamp(min=0)) else still_hw


def _is_spread(gain_hw: Tensor) -> bool:
    """Tell whether what a shift explains lies all over a picture: it is the camera then, not a thing."""
    for axis, side in enumerate(gain_hw.shape):
        shares = gain_hw.sum(dim=1 - axis) / gain_hw.sum()
        places = torch.arange(side) / side
        spread = ((places - (shares * places).sum()).square() * shares).sum().sqrt()
        if spread > _SPREAD_OF_CAMERA:
            return True
    return False


def _slopes(picture_hw: Tensor) -> Tensor:
    """Return how steep each pixel of a picture is, in levels a pixel (Sobel)."""
    padded_hw = F.pad(picture_hw[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    down_hw = padded_hw[:, :-2] + 2 * padded_hw[:, 1:-1] + padded_hw[:, 2:]
    right_hw = padded_hw[:-2] + 2 * padded_hw[1:-1] + padded_hw[2:]
    return torch.hypot(down_hw[2:] - down_hw[:-2], right_hw[:, 2:] - right_hw[:, :-2]) / 8


def _blur(picture_hw: Tensor, side: int) -> Tensor:
    """Return the mean over a square around each pixel; beyond a border the picture goes on as it ends.

    Sums of shifted pictures are many times faster than pooling.
    """
    height, width = picture_hw.shape
    around = side // 2
    padded_hw = F.pad(picture_hw[None, None], (around, around, around, around), mode="replicate")[0, 0]
    rows_hw = padded_hw[:height].clone()
    for row in range(1, side):
        rows_hw += padded_hw[row : row + height]
    sums_hw = rows_hw[:, :width].clone()
    for column in range(1, side):
        sums_hw += rows_hw[:, column : column + width]
    return sums_hw.div_(side**2)


@dataclass(frozen=True)
class _Places:
    """Where something may be at a moment.

    Attributes:
        points_N2: row and column of each.
        strengths_N: of the motion there.
    """

    points_N2: Float64
    strengths_N: Float64


def _places(energy_hw: Tensor) -> _Places:
    """Return the strongest places of a moment, the strongest first, without those where nothing moves."""
    smooth_hw = _blur(_blur(energy_hw, 7), 7).numpy()
    height, width = smooth_hw.shape
    radius = max(1, round(_PLACE_RADIUS * height))
    points: list[tuple[int, int]] = []
    strengths: list[float] = []
    for _ in range(_NUM_PLACES):
        row, column = divmod(int(smooth_hw.argmax()), width)
        strength = float(smooth_hw[row, column])
        if strength <= 0:
            break
        points.append((row, column))
        strengths.append(strength)
        smooth_hw[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1] = 0
    return _Places(np.array(points, dtype=np.float64).reshape(-1, 2), np.array(strengths))


def _follow(energy_Thw: Tensor) -> Float64 | None:
    """Return row and column (T, 2) of what moves at each moment; None if nothing does.

    A moment may be passed over, as if nothing were seen at it; it then lies between its neighbours.
    """
    places = [_places(energy_hw) for energy_hw in energy_Thw]
    strongest = [float(of.strengths_N[0]) for of in places if len(of.strengths_N)]
    if not strongest:
        return None
    usual = float(np.median(strongest))
    diagonal = float(np.hypot(*energy_Thw.shape[1:]))
    # The last choice of every moment is to pass it over.
    scores = [np.log(np.append(of.strengths_N / usual, 0.0) + _FLOOR) for of in places]
    total_N, choices = scores[0], list[Int64]()
    for before, after, score_N in zip(places, places[1:], scores[1:], strict=False):
        cost_NN = np.zeros((len(score_N), len(total_N)))
        distance_NN = np.linalg.norm(after.points_N2[:, None] - before.points_N2[None], axis=2) / diagonal
        cost_NN[:-1, :-1] = np.minimum(_JUMP * distance_NN, _LONGEST_JUMP)
        reached_NN = total_N[None] - cost_NN
        choices.append(reached_NN.argmax(axis=1))
        total_N = score_N + reached_NN.max(axis=1)
    best = [int(total_N.argmax())]
    for choice_N in reversed(choices):
        best.append(int(choice_N[best[-1]]))
    best.reverse()
    seen = [moment for moment, place in enumerate(best) if place < len(places[moment].strengths_N)]
    if not seen:
        return None
    points_S2 = np.array([places[moment].points_N2[best[moment]] for moment in seen])
    return np.stack([np.interp(np.arange(len(places)), seen, points_S2[:, axis]) for axis in (0, 1)], axis=1)


def _extent(change_Thw: Tensor, path_T2: Float64) -> tuple[Float64, float]:
    """Return where the middle of what moves lies beside its path, and its longer side in pixels.

    The changes of all moments are laid over each other along the path: what is followed stays in place then,
    and the background does not.
    """
    reach = max(3, round(_REACH * min(change_Thw.shape[1:])))
    side = 2 * reach + 1
    mean_rr = torch.zeros(side, side)
    for change_hw, (row, column) in zip(change_Thw, path_T2.round().astype(int), strict=True):
        padded_hw = F.pad(change_hw.sqrt(), (reach, reach, reach, reach))
        around_rr = padded_hw[row : row + side, column : column + side]
        mean_rr += around_rr / (around_rr.max() + 1e-6)
    mean_rr = _blur(_blur(mean_rr, 3), 3)
    mean_rr = (mean_rr - mean_rr.median()).clamp(min=0)
    near = slice(reach - min(6, reach), reach + min(6, reach) + 1)
    peak = mean_rr[near, near].max()
    seed_rr = torch.zeros_like(mean_rr)
    seed_rr[near, near] = (mean_rr[near, near] == peak).float()
    strong_rr = (mean_rr >= _PEAK_SHARE * peak).float()
    for _ in range(side):
        grown_rr = F.max_pool2d(seed_rr[None], 3, stride=1, padding=1)[0] * strong_rr
        if torch.equal(grown_rr, seed_rr):
            break
        seed_rr = grown_rr
    rows, columns = (torch.nonzero(seed_rr.amax(dim=axis))[:, 0] for axis in (1, 0))
    middle_2 = np.array([float(rows[0] + rows[-1] + 1) / 2, float(columns[0] + columns[-1] + 1) / 2])
    return middle_2 - reach - 0.5, float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)
