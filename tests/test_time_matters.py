"""The built-in videos are told apart by time alone: a trained model falls to chance on shuffled frames.

Four of the classes, two pairs of partners under the reversal of time, without shapes that stand
still in the background, so that a quarter of a minute of training is enough.
"""

from __future__ import annotations

import pytest
import torch

from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.predict import Predictor
from vidcli.synthetic import MOTION_PAIRS, MotionVideoOptions, write_motion_videos
from vidcli.train import start_run

CPU = torch.device("cpu")
PARTNER = {name: partner for pair in MOTION_PAIRS[:2] for name, partner in (pair, pair[::-1])}
NUM_TEST_PER_CLASS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("time") / "motion"
    look = MotionVideoOptions(size=(32, 32), num_frames=8, num_distractors=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidcli.synthetic.folder.MOTION_CLASSES", tuple(PARTNER))
        write_motion_videos(folder, 100, 0, NUM_TEST_PER_CLASS, seed=0, options=look)
    return folder


@pytest.fixture(scope="module")
def run(data, small_config, tmp_path_factory):
    config = small_config(
        data__val_fraction=0, data__workers=1, model__shift=True, model__frame_differences=True,
        model__grid=4, model__width=32, model__hidden=32,
        train__epochs=6, train__batch_size=16, train__lr=2e-3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("time") / "run"
    start_run(config, data, folder, CPU, lambda event: None)
    return folder


@pytest.fixture(scope="module")
def items(data):
    return of_split(load_items(data), "test")


def accuracies(run, items, shuffle_seed=None):
    """Return the share of videos whose class beats all others, and whose class beats its partner."""
    predictor = Predictor.load(run, CPU, shuffle_seed=shuffle_seed)
    probabilities = [
        dict(zip(p.class_names, p.probabilities, strict=True)) for p in predictor.predict_many(items)
    ]
    pairs = list(zip(items, probabilities, strict=True))
    top1 = sum(max(p, key=p.get) == item.label for item, p in pairs) / len(items)
    within = sum(p[item.label] > p[PARTNER[item.label]] for item, p in pairs) / len(items)
    return top1, within


def test_ordered_frames_are_told_apart(run, items):
    assert len(items) == 4 * NUM_TEST_PER_CLASS
    top1, within = accuracies(run, items)
    assert top1 >= 0.9
    assert within >= 0.95


def test_shuffled_frames_are_guessed_within_their_pair(run, items):
    # Guessing 160 times between two is right in 80 with a standard deviation of 6.3 videos, 0.04:
    # these limits are five of them away from chance, the 0.95 above eleven.
    _, within = accuracies(run, items, shuffle_seed=0)
    assert 0.3 <= within <= 0.7
