"""A video in, class probabilities out.

inputs     what was named, to videos; a process's share of them
predictor  a video to its probabilities: the one path that predict, eval and validation share
results    files of results that a killed run continues
parquet    the same as Parquet, which needs pyarrow
"""

from vidcli.predict.inputs import collect_videos
from vidcli.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "collect_videos"]
