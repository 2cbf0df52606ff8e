"""A network over time learns what only the cells around a moment tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcli.config import load_config
from vidcli.data.items import VideoItem
from vidcli.evaluate.recordings import recordings_of
from vidcli.models.cell_refiner import NUM_MOTIONS
from vidcli.train.temporal_training import LabelledCells, choose_recordings, fit_temporal


def _recording(seed: int, moves: bool) -> LabelledCells:
    """Return cells of which the class is told in the first of twelve, or by how a box moves."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 2, 40), 12)
    probabilities = np.full((len(labels), 2), 0.5)
    motion = np.zeros((len(labels), NUM_MOTIONS))
    if moves:
        motion[:, 0] = 2.0 * labels - 1
    else:
        probabilities[::12] = np.where(labels[::12, None] == [0, 1], 1.0, 0.0)
    return LabelledCells(probabilities, motion, labels.astype(np.int64))


@pytest.mark.parametrize("moves", [False, True])
def test_context_and_motion_are_learnt(moves: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vidcli.train.temporal_training._STEPS", 60)
    monkeypatch.setattr("vidcli.train.temporal_training._CHANNELS", 16)
    learnt = [_recording(seed, moves) for seed in range(4)]
    learnt[0].labels_N[:100] = -1  # not known
    temporal = fit_temporal(learnt, seed=0)
    assert temporal == fit_temporal(learnt, seed=0)
    assert temporal.uses_motion == moves
    new = _recording(9, moves)
    refined = temporal.build(2).refine(new.probabilities_NK, new.motion_NM)
    assert (refined.argmax(axis=1) == new.labels_N).mean() > 0.85


def test_recordings_are_drawn_up_to_a_length():
    items = [VideoItem(Path(f"{n}.mp4"), "a", "train", None, 0, 10) for n in range(5)]
    recordings = recordings_of(items)
    config = load_config(None, [])
    assert len(choose_recordings(recordings, 35, config)) == 3
    assert choose_recordings(recordings, 0, config) == []
    assert {one.path.name for one in choose_recordings(recordings, 50, config)} == {
        f"{n}.mp4" for n in range(5)
    }
