"""Make the pictures of the documentation: `python scripts/docs_pictures.py RUN`.

RUN is the run directory of `vidcli demo`, whose confusion matrix is copied.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vidcli.synthetic import MOTION_CLASSES, render_motion

DOCS = Path(__file__).parent.parent / "docs"
NUM_SHOWN = 8


def draw_motion_classes(path: Path) -> None:
    """Draw one clip of each class, a row each, left to right in time."""
    figure = Figure(figsize=(8.4, 7.4), layout="constrained")
    axes_KT = figure.subplots(len(MOTION_CLASSES), NUM_SHOWN)
    for seed, (class_name, axes_T) in enumerate(zip(MOTION_CLASSES, axes_KT, strict=True)):
        frames = render_motion(class_name, np.random.default_rng(seed // 2)).frames
        shown = frames[np.linspace(0, len(frames) - 1, NUM_SHOWN).astype(int)]
        for axes, frame in zip(axes_T, shown, strict=True):
            axes.imshow(frame)
            axes.set_xticks([])
            axes.set_yticks([])
        axes_T[0].set_ylabel(class_name, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    draw_motion_classes(DOCS / "motion.png")
    shutil.copy(Path(sys.argv[1]) / "eval-test" / "confusion.png", DOCS / "confusion.png")
