"""The most probable sequence of labels, told as far as it is certain."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from vidcli.config import load_config
from vidcli.models.temporal_network import TemporalNetwork
from vidcli.models.temporal_weights import pack_network
from vidcli.models.timeline_rules import TimelineRules, rules_from_dict
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.viterbi import ViterbiStream
from vidcli.predict.window_plan import WindowCells, learnt_plan, window_weights

STAY = np.log(np.array([[0.9, 0.06, 0.04], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]]))


def best_labels(scores_NK, transitions_KK):
    """Try every sequence."""

    def total(labels):
        steps = sum(transitions_KK[one, other] for one, other in itertools.pairwise(labels))
        return sum(row[label] for row, label in zip(scores_NK, labels, strict=True)) + steps

    return max(itertools.product(range(scores_NK.shape[1]), repeat=len(scores_NK)), key=total)


def labels_of(stretches):
    return [label for start, end, label in stretches for _ in range(start, end)]


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_sequences_is_found(seed: int):
    scores_NK = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), 8))
    stream = ViterbiStream(lambda start, end: scores_NK[start:end], STAY)
    assert tuple(labels_of(stream.finish(8))) == best_labels(scores_NK, STAY)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_told_early_is_what_the_whole_says(seed: int):
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(3, size=40), rng.integers(1, 60, size=40))
    scores_NK = np.log(0.2 * rng.dirichlet(np.ones(3), len(truth)) + 0.8 * np.eye(3)[truth])
    whole = ViterbiStream(lambda start, end: scores_NK[start:end], STAY).finish(len(truth))
    stream = ViterbiStream(lambda start, end: scores_NK[start:end], STAY)
    early = [stretch for cell in range(1, len(truth) + 1) for stretch in stream.advance(cell)]
    assert len(early) > 5  # not only at the end
    assert [*early, *stream.finish(len(truth))] == whole
    assert [start for start, _, _ in whole[1:]] == [end for _, end, _ in whole[:-1]]


def test_rules_smooth_what_single_cells_say():
    names = ("a", "b", "c")
    table = np.full((30, 3), 0.1)
    table[np.arange(30), [0] * 10 + [1] + [0] * 9 + [2] * 10] = 0.8

    def labels(rules: TimelineRules | None) -> list[tuple[str, float]]:
        stream = stream_segments(lambda s, e: table[s:e], names, 0.5, 0.0, None, None, rules)
        return [(one.label, one.start_seconds) for one in stream.finish(30, 15.0)]

    plain = [("a", 0), ("b", 5), ("a", 5.5), ("c", 10)]
    assert labels(None) == labels(TimelineRules(0.5)) == plain
    smooth = [("a", 0), ("c", 10)]
    assert labels(TimelineRules(0.5, smoothing="duration", min_seconds=(0.5, 1.0, 0.5))) == smooth
    assert labels(TimelineRules(0.5, smoothing="duration", min_seconds=(0.5, 0.5, 6.0))) == plain[:3]
    rows = tuple(map(tuple, STAY.tolist()))
    viterbi = TimelineRules(0.5, "middle", "viterbi", (), (0.0, 0.0, 0.0), rows, 0.7)
    assert labels(viterbi) == smooth
    assert rules_from_dict(viterbi.to_dict(), 3) == viterbi
    seen = replace(viterbi, temporal=pack_network(TemporalNetwork(3, 4, uses_motion=True)))
    assert rules_from_dict(json.loads(json.dumps(seen.to_dict())), 3) == seen


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"step_seconds": 0.1, "more": 1},
        {"step_seconds": 0},
        {"step_seconds": "x"},
        {"step_seconds": None},
        {"step_seconds": 0.1, "reading": "edge"},
        {"step_seconds": 0.1, "temporal": {"channels": 4}},
        {"step_seconds": 0.1, "temporal": {"channels": 4, "uses_motion": True, "weights": "?"}},
        {"step_seconds": 0.1, "temporal": {"channels": 4, "uses_motion": True, "weights": "AAAA"}},
        {"step_seconds": 0.1, "temporal": {"channels": 10**9, "uses_motion": True, "weights": ""}},
        {"step_seconds": 0.1, "smoothing": "magic"},
        {"step_seconds": 0.1, "smoothing": "duration", "min_seconds": [1, 2]},
        {"step_seconds": 0.1, "smoothing": "duration", "min_seconds": [1, 2, float("nan")]},
        {
            "step_seconds": 0.1,
            "smoothing": "viterbi",
            "log_prior": [0, 0, 0],
            "log_transitions": [[0, 0, 0]] * 2,
        },
        {
            "step_seconds": 0.1,
            "smoothing": "viterbi",
            "log_prior": [0, 0, 0],
            "log_transitions": [[0, 0]] * 3,
        },
    ],
)
def test_damaged_rules_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match=r"timeline rules|could not convert|temporal network"):
        rules_from_dict(wrong, 3)


def test_cells_are_read_over_all_windows_or_at_their_middles():
    windows = np.eye(6)
    means = {}
    for reading in ("mean", "middle"):
        cells = WindowCells(6, window_weights(4, reading))
        for row in windows:
            cells.add_window(row)
        means[reading] = cells.means(0, 9)
    np.testing.assert_allclose(means["mean"][4], [0, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 0])
    # Cell 4 lies between the middles of windows 2, from 2 up to 6, and 3, from 3 up to 7.
    np.testing.assert_allclose(means["middle"][4], [0, 0, 1 / 2, 1 / 2, 0, 0], atol=1e-5)
    np.testing.assert_allclose(means["middle"][0], windows[0])  # nothing else is there
    assert window_weights(5, "middle").round(3).tolist() == [0, 0, 1, 0, 0]


def test_models_of_cut_spans_keep_the_length_of_their_clips():
    cut = load_config(None, ["clip.sampling=dense", "clip.stride_seconds=0.1", "data.clips_per_span=9"])
    plan = learnt_plan(cut, None)
    assert plan is not None
    assert (plan.window_seconds, plan.step) == (pytest.approx(1.6), 2)
    wider = learnt_plan(cut, TimelineRules(0.4))
    assert wider is not None
    assert wider.step == 4
    assert learnt_plan(load_config(None, ["clip.sampling=dense"]), None) is None
