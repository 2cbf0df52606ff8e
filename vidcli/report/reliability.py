"""Whether probabilities are as often right as they say."""

from __future__ import annotations

from pathlib import Path

from vidcli.evaluate import CalibrationScores
from vidcli.evaluate.details import MIN_VIDEOS
from vidcli.report.canvas import new_figure, save_png


def draw_reliability(calibration: CalibrationScores, path: Path, is_multi_label: bool = False) -> None:
    """Write the reliability curve as a PNG: accuracy by probability above, how many videos below.

    Points of few videos, which say little, are hollow.

    Of a multi-label model it is of all videos and classes: how often a class is there.
    """
    figure = new_figure(5.2, 6.0)
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as often right as it says")
    told = [row for row in calibration.bins if row.confidence is not None]
    x, y = [row.confidence for row in told], [row.accuracy for row in told]
    curve.plot(x, y, marker="o", label=f"this model, error {calibration.ece:.3f}")
    few = [(row.confidence, row.accuracy) for row in told if row.num_videos < MIN_VIDEOS]
    if few:
        label = f"of fewer than {MIN_VIDEOS}"
        curve.plot(*zip(*few, strict=True), "o", mfc="white", mec="0.5", label=label)
    curve.set_ylabel("share that is there" if is_multi_label else "accuracy")
    curve.set_ylim(-0.02, 1.02)
    curve.legend(loc="upper left", fontsize="small")
    curve.set_title("calibration, 15 bins of equal width")
    counts.bar(
        [row.low for row in calibration.bins],
        [row.num_videos for row in calibration.bins],
        width=1 / len(calibration.bins),
        align="edge",
        edgecolor="white",
    )
    counts.set_xlim(0, 1)
    counts.set_xlabel("probability of a class" if is_multi_label else "probability of the predicted class")
    counts.set_ylabel("videos x classes" if is_multi_label else "videos")
    counts.yaxis.get_major_locator().set_params(integer=True)
    save_png(figure, path)
