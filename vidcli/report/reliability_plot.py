"""The reliability curve: whether probabilities are as often right as they say."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vidcli.evaluate import CalibrationScores
from vidcli.evaluate.details import MIN_VIDEOS
from vidcli.report.figures import INKS, new_figure, save_png, style_axes


def draw_reliability(calibration: CalibrationScores, path: Path, is_multi_label: bool = False) -> None:
    """Write the reliability curve as a PNG: accuracy by probability above, the number of videos below.

    Points of few videos, which say little, are hollow.

    Args:
        calibration: the curve and its error.
        path: the file to write.
        is_multi_label: the curve is of all pairs of a video and a class, and counts how often the class
            is there.
    """
    save_png(build_reliability(calibration, is_multi_label), path)


def build_reliability(
    calibration: CalibrationScores, is_multi_label: bool, size: tuple[float, float] = (5.2, 6.0)
) -> Figure:
    """Return the figure of `draw_reliability`.

    Args:
        calibration: the curve and its error.
        is_multi_label: as for `draw_reliability`.
        size: width and height in inches.
    """
    figure = new_figure(*size)
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style_axes(curve)
    style_axes(counts)
    curve.plot([0, 1], [0, 1], color=INKS["soft"], linestyle=":", label="as often right as it says")
    known = [row for row in calibration.bins if row.confidence is not None]
    x, y = [row.confidence for row in known], [row.accuracy for row in known]
    curve.plot(x, y, marker="o", label=f"this model, error {calibration.ece:.3f}")
    few = [(row.confidence, row.accuracy) for row in known if row.num_videos < MIN_VIDEOS]
    if few:
        label = f"of fewer than {MIN_VIDEOS} videos"
        curve.plot(*zip(*few, strict=True), "o", mfc=INKS["card"], mec=INKS["soft"], label=label)
    curve.set_ylabel("share that is there" if is_multi_label else "accuracy")
    curve.set_ylim(-0.02, 1.02)
    curve.legend(loc="upper left", fontsize="small")
    curve.set_title(
        "how often a class is there, by its probability" if is_multi_label else "accuracy by probability"
    )
    counts.bar(
        [row.low for row in calibration.bins],
        [row.num_videos for row in calibration.bins],
        width=1 / len(calibration.bins),
        align="edge",
        color=INKS["s0"],
        edgecolor=INKS["card"],
    )
    counts.set_xlim(0, 1)
    counts.tick_params(axis="x", pad=8)  # the lowest number of the other axis is near
    counts.set_xlabel("probability of a class" if is_multi_label else "probability of the predicted class")
    counts.set_ylabel("videos x classes" if is_multi_label else "videos")
    counts.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    return figure
