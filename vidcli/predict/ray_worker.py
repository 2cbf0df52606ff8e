"""What runs in an actor of Ray, on any machine: the predictor that the command has where it was given."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

import vidcli
from vidcli.artifacts.carried import unpacked
from vidcli.data.items import VideoItem
from vidcli.errors import VidcliError
from vidcli.predict.prediction import Prediction
from vidcli.predict.predictor import Predictor, with_boxes, with_views
from vidcli.runtime.devices import choose_device
from vidcli.runtime.memory import keep_freed_memory


@dataclass(frozen=True)
class Assignment:
    """What makes a predictor on another machine the same as here.

    Attributes:
        version: of vidcli.
        folder: where relative paths start.
        files: of the model; see `artifacts.carried`.
        device: cuda or cpu.
        num_cores: cores that one worker has.
        views, crops: clips a video and windows a clip.
        boxes: file or folder of boxes; None sees whole pictures.
        threshold: the probability below which the model abstains; None always answers.
    """

    version: str
    folder: str
    files: Mapping[str, bytes]
    device: str
    num_cores: int
    views: int
    crops: int
    boxes: str | None
    threshold: float | None

    def build(self) -> Predictor:
        """Return the predictor.

        Raises:
            VidcliError: the model cannot be loaded here.
        """
        if vidcli.__version__ != self.version:
            raise VidcliError(
                f"has vidcli {vidcli.__version__}, the command was given to {self.version}; install the same"
            )
        with suppress(OSError):  # a machine that sees none of the folders may still see addresses
            os.chdir(self.folder)
        keep_freed_memory()
        torch.set_num_threads(self.num_cores)
        with unpacked(self.files) as model:
            predictor = Predictor.load(model, choose_device(self.device))
        data = predictor.config.data.model_copy(update={"workers": self.num_cores})
        predictor.config = predictor.config.model_copy(update={"data": data})
        predictor = with_views(with_boxes(predictor, self.boxes), self.views, self.crops)
        predictor.abstain_below(self.threshold)
        return predictor


class RayWorker:
    """What an actor does. Errors that the user can fix are answers, so that Ray adds nothing to them."""

    def load(self, assignment: Assignment) -> str | None:
        """Load the model; return why that is impossible, or None."""
        try:
            self._predictor = assignment.build()
        except VidcliError as error:
            return f"{socket.gethostname()}: {error}"
        return None

    def predict(self, items: Sequence[VideoItem]) -> list[Prediction] | str:
        """Return the predictions of videos, or why there are none."""
        try:
            return [*self._predictor.predict_many(items)]
        except VidcliError as error:
            return f"{socket.gethostname()}: {error}"
