"""A video in, class probabilities out.

inputs     what was named, to videos
predictor  a video to its probabilities: the one path that predict, eval and validation share
"""

from vidcli.predict.inputs import collect_videos
from vidcli.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "collect_videos"]
