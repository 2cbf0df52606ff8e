"""Pictures of an explanation: a contact sheet, and frames with their maps laid over them.

Shape suffixes: T frames, H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt

from vidcli.explain import Explanation
from vidcli.fonts import picture_names
from vidcli.report.canvas import new_figure, save_png, written_text

_MAX_COLUMNS = 8
_HEAT = "inferno"
_OPACITY = 0.6
_MIN_SIDE = 256
_BAR_HEIGHT = 12
_BAR_RGB = (255, 140, 0)


def overlay_frames(explanation: Explanation) -> npt.NDArray[np.uint8]:
    """Return the frames with their maps as heat, uint8 (T, H, W, C): clear where a map is zero."""
    maps_THW = explanation.maps_THW
    heat_THWC = matplotlib.colormaps[_HEAT](maps_THW)[..., :3] * 255
    alpha_THW1 = (_OPACITY * maps_THW)[..., None]
    mixed_THWC = explanation.frames_THWC * (1 - alpha_THW1) + heat_THWC * alpha_THW1
    return np.asarray(mixed_THWC.round().clip(0, 255), dtype=np.uint8)


def draw_contact_sheet(explanation: Explanation, path: Path) -> None:
    """Write every frame with its map, and below each its weight, as a PNG."""
    overlaid_THWC = overlay_frames(explanation)
    num_frames = len(overlaid_THWC)
    columns = min(num_frames, _MAX_COLUMNS)
    rows = -(-num_frames // columns)
    cell_height = 1.35 * overlaid_THWC.shape[1] / overlaid_THWC.shape[2] + 0.55
    figure = new_figure(max(6.0, 1.4 * columns), rows * cell_height + 0.8)
    legend = " (orange speaks for it, blue against)" if (explanation.weights_T < 0).any() else ""
    (name,) = picture_names([explanation.class_name]).shown
    figure.suptitle(
        f"{written_text(Path(explanation.video).name)}: why {name} ({explanation.probability:.3f})\n"
        f"frames by {explanation.frame_method}{legend}, places by {explanation.map_method}",
        fontsize=10,
        parse_math=False,
    )
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[8, 1] * rows)
    largest = max(float(np.abs(explanation.weights_T).max()), 1e-12)
    for frame, (picture, weight) in enumerate(zip(overlaid_THWC, explanation.weights_T, strict=True)):
        row, column = divmod(frame, columns)
        axes = figure.add_subplot(grid[2 * row, column])
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(f"{explanation.seconds_T[frame]:.2f} s", fontsize=8)
        bar = figure.add_subplot(grid[2 * row + 1, column])
        bar.barh([0], [weight / largest], color="tab:orange" if weight >= 0 else "tab:blue")
        bar.axvline(0, color="0.5", linewidth=0.8)
        bar.set_xlim(min(0.0, float(explanation.weights_T.min()) / largest), 1)
        bar.set_axis_off()
    save_png(figure, path)


def iter_overlay_video(explanation: Explanation) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the frames of the overlay video (H', W', 3): enlarged, with a bar of each frame's weight."""
    overlaid_THWC = overlay_frames(explanation)
    scale = max(1, -(-_MIN_SIDE // min(overlaid_THWC.shape[1:3])))
    largest = max(float(explanation.weights_T.max()), 1e-12)
    for picture, weight in zip(overlaid_THWC, explanation.weights_T, strict=True):
        large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
        bar = np.zeros((_BAR_HEIGHT, large.shape[1], 3), np.uint8)
        bar[:, : round(large.shape[1] * max(0.0, float(weight)) / largest)] = _BAR_RGB
        framed = np.concatenate([large, bar])
        # 4:2:0 colour needs even sides.
        yield np.ascontiguousarray(framed[: framed.shape[0] // 2 * 2, : framed.shape[1] // 2 * 2])
