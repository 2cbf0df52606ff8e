"""Segments of a timeline in frames: which of them overlap, and how far two sequences of them differ.

Shape suffixes: N frames, C cells, K classes, S segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Bool, Float64, Int64


@dataclass(frozen=True)
class ScoredRecording:
    """What a person and a model say of one recording.

    Attributes:
        truth_NK: whether each class is there in each frame, as labelled.
        predicted_NK: the same, as the model says.
        known_N: whether anything is labelled in each frame, and be it that no class is there.
        probabilities_CK: of the classes in each cell, as long as `frames_per_cell` frames.
        frames_per_cell: number of frames of a cell.
        frame_seconds: length of a frame.
        group: recordings of one are drawn together.
        is_multi_label: a moment can have several classes; all of them must be right.
    """

    truth_NK: Bool
    predicted_NK: Bool
    known_N: Bool
    probabilities_CK: Float64
    frames_per_cell: int
    frame_seconds: float
    group: str
    is_multi_label: bool = False


def runs_of(mask_N: Bool) -> Int64:
    """Return first frame and end, which is left out, of each run of True (S, 2)."""
    steps = np.diff(np.concatenate([[0], mask_N.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1)


def temporal_ious(one_S2: Int64, other_S2: Int64) -> Float64:
    """Return the overlap of each segment with each other one, over what both cover together."""
    starts = np.maximum(one_S2[:, None, 0], other_S2[None, :, 0])
    ends = np.minimum(one_S2[:, None, 1], other_S2[None, :, 1])
    common = np.clip(ends - starts, 0, None)
    lengths = (one_S2[:, 1] - one_S2[:, 0])[:, None] + (other_S2[:, 1] - other_S2[:, 0])[None]
    ious: Float64 = common / (lengths - common)
    return ious


def match_segments(ious: Float64, least: float, only_nearest: bool = True) -> Bool:
    """Tell of each predicted segment, in order, whether it hits a true one that none before it has hit.

    Args:
        ious: overlap of each predicted with each true segment.
        least: overlap that is a hit.
        only_nearest: the true segment with the largest overlap counts, hit before or not, as in the
            segmental F1; else the largest of those that were not hit, as in the detection of ActivityNet.
    """
    hits = np.zeros(len(ious), dtype=np.bool_)
    taken = np.zeros(ious.shape[1], dtype=np.bool_)
    for number, row in enumerate(ious if ious.shape[1] else []):
        best = int(row.argmax() if only_nearest else np.where(taken, -1.0, row).argmax())
        if row[best] >= least and not taken[best]:
            hits[number] = taken[best] = True
    return hits


def edit_score(one: Sequence[int], other: Sequence[int]) -> float:
    """Return 1 minus the edit distance of two sequences over the length of the longer one."""
    if not one and not other:
        return 1.0
    ahead = np.array(other)
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for label in one:
        # What replacing and removing cost; adding then is the least over all starts to the left.
        best = np.concatenate([[row[0] + 1], np.minimum(row[:-1] + (ahead != label), row[1:] + 1)])
        row = np.minimum.accumulate(best - steps) + steps
    return 1 - float(row[-1]) / max(len(one), len(other))


def label_runs(mask_NK: Bool, known_N: Bool) -> list[int]:
    """Return the labels of the runs of known frames, in order; -1 is a run without a class."""
    labels_N = np.where(known_N, np.where(mask_NK.any(axis=1), mask_NK.argmax(axis=1), -1), -2)
    changes = np.flatnonzero(np.diff(labels_N, prepend=-3))
    return [int(label) for label in labels_N[changes] if label != -2]
