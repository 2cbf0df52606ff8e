"""Train, evaluate and use a video classifier from the command line.

`vidcli.commands` is the way in for people, `load` for other programs:

    import vidcli
    model = vidcli.load("runs/demo")
    prediction = model.predict("video.mp4")
    prediction.label, prediction.probability, prediction.top(3)

Importing the package is cheap: torch and PyAV come with the first `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from vidcli.predict import Predictor

__version__ = "0.1.0"


def load(
    model: str | os.PathLike[str] | None = None, device: str = "auto", threshold: float | None = None
) -> Predictor:
    """Return a model ready to predict, with its own sampling, preprocessing and calibration.

    Args:
        model: run directory or model file; None takes VIDCLI_MODEL, then the newest run under `runs/`.
        device: auto, cpu, cuda, cuda:1 or mps.
        threshold: `prediction.is_unknown` where no class is at least this probable; None never.

    Raises:
        CheckpointError: there is no such model, or it cannot be read.
        DeviceError: the device is unknown or not there.
    """
    from vidcli.predict import Predictor

    predictor = Predictor.load(model, device)
    predictor.threshold = threshold
    return predictor
