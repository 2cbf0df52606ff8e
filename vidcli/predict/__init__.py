"""Classify videos.

inputs        the videos that a command line names
predictor     a video to its probabilities: the one path that predict, eval and validation share
prediction    the result, and how it is written
results       files of results that a killed run continues; `parquet` is one of them

timeline      a long video, window by window
merging       the cells of a timeline to segments
segments      the result, and how it is written
live          a video that is still being filmed

annotate      labels drawn into the pictures of a video
saved_frames  the frames that the model reads, as pictures
embedding     what the head of a model sees of a video; `embedding_files` writes it
"""

from vidcli.predict.inputs import collect_videos
from vidcli.predict.prediction import Prediction
from vidcli.predict.predictor import Predictor

__all__ = ["Prediction", "Predictor", "collect_videos"]
