"""The main job from end to end on the built-in motion videos: train, eval, predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from vidcli.config import Config
from vidcli.data.items import class_names_of
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.evaluate import Evaluation, evaluate
from vidcli.predict import Prediction, Predictor
from vidcli.train import Event, start_run

DEMO_RECIPE = "demo"


@dataclass(frozen=True)
class DemoResult:
    """What the demo reached.

    Attributes:
        data: folder of the videos.
        run: directory of the trained model.
        scores: on the test videos, whose seeds were never trained on.
        shuffled_scores: on the same videos with their frames in random order.
        examples: one test video of each class.
    """

    data: Path
    run: Path
    scores: Evaluation
    shuffled_scores: Evaluation
    examples: list[Prediction]


def run_demo(
    config: Config,
    data: Path,
    out: Path | None,
    device: torch.device,
    on_event: Callable[[Event], None],
) -> DemoResult:
    """Train on a folder of motion videos, and evaluate on those held out.

    Args:
        config: the demo recipe, or a changed one.
        data: folder that `make_motion_data` filled.
        out: run directory; None makes one under `runs/`.
        device: where to compute.
        on_event: told what training does.
    """
    run, _ = start_run(config, data, out, device, on_event)
    predictor = Predictor.load(run, device)
    items = of_split(load_items(data), "test")
    labels = [item.label for item in items]
    predictions = list(predictor.predict_many(items))
    shuffled = list(Predictor.load(run, device, shuffle_seed=0).predict_many(items))
    first_of_class = [labels.index(name) for name in class_names_of(items)]
    return DemoResult(
        data,
        run,
        evaluate(predictions, labels, predictor.class_names, predictor.calibration),
        evaluate(shuffled, labels, predictor.class_names, predictor.calibration),
        [predictions[index] for index in first_of_class],
    )
