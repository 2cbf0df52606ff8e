"""Average precisions of timelines, over frames and over detected segments, and how far draws scatter them.

Shape suffixes: R recordings, K classes, S segments, P predicted segments of all recordings, F frames of all
recordings, D draws, B bins of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from vidcli.arrays import Bool, Float64, Int64
from vidcli.evaluate.segment_matching import ScoredRecording, match_segments, runs_of, temporal_ious

_MAX_BINS = 1000

Precision: TypeAlias = tuple[Float64, Float64 | None]
"""An average precision of all recordings (1), and of each draw of them (D)."""


def frame_precision(recordings: Sequence[ScoredRecording], k: int, draws_DR: Float64 | None) -> Precision:
    """Return the average precision of a class over frames, each as heavy as it is long.

    Args:
        recordings: at least one.
        k: the class.
        draws_DR: how often each recording is in each draw; None where nothing is drawn.
    """
    scores, truths, owners, weights = [], [], [], []
    for number, one in enumerate(recordings):
        frames = np.flatnonzero(one.known_N)
        cells = np.minimum(frames // one.frames_per_cell, len(one.probabilities_CK) - 1)
        scores.append(one.probabilities_CK[cells, k] if len(one.probabilities_CK) else np.zeros(len(frames)))
        truths.append(one.truth_NK[frames, k])
        owners.append(np.full(len(frames), number))
        weights.append(np.full(len(frames), one.frame_seconds))
    truth_F, owner_F, weight_F = (np.concatenate(part) for part in (truths, owners, weights))
    values, bin_F = np.unique(-np.concatenate(scores), return_inverse=True)
    exact = _binned(bin_F, truth_F, owner_F, weight_F, (len(recordings), len(values)))
    whole = average_precision(*(part.sum(axis=0)[None] for part in exact))
    if draws_DR is None:
        return whole, None
    if len(values) > _MAX_BINS:  # only the interval may be a little coarser
        bin_F = bin_F * _MAX_BINS // len(values)
        exact = _binned(bin_F, truth_F, owner_F, weight_F, (len(recordings), _MAX_BINS))
    return whole, average_precision(draws_DR @ exact[0], draws_DR @ exact[1])


def _binned(
    bin_F: Int64, truth_F: Bool, owner_F: Int64, weight_F: Float64, shape: tuple[int, int]
) -> tuple[Float64, Float64]:
    """Return the weight of true frames and of all frames, by recording and bin (R, B)."""
    place_F = owner_F * shape[1] + bin_F
    true = np.zeros(shape)
    whole = np.zeros(shape)
    np.add.at(true.reshape(-1), place_F, weight_F * truth_F)
    np.add.at(whole.reshape(-1), place_F, weight_F)
    return true, whole


def average_precision(true_DB: Float64, all_DB: Float64) -> Float64:
    """Return the mean of the precision over the recall (D); NaN where nothing is true.

    Args:
        true_DB: weight of what is true in each bin of scores, from the highest score down.
        all_DB: weight of everything in it.
    """
    precision_DB = ratio(true_DB.cumsum(axis=1), all_DB.cumsum(axis=1))
    return ratio(np.nansum(precision_DB * true_DB, axis=1), true_DB.sum(axis=1))


def detection_precision(
    recordings: Sequence[ScoredRecording], k: int, least: float, draws_DR: Float64 | None
) -> Precision:
    """Return the average precision of the detection of a class at one temporal overlap.

    Args:
        recordings: at least one.
        k: the class.
        least: overlap that is a hit.
        draws_DR: how often each recording is in each draw; None where nothing is drawn.
    """
    scores, hits, owners, num_true_R = [], [], [], np.zeros(len(recordings))
    for number, one in enumerate(recordings):
        true_S2 = runs_of(one.truth_NK[:, k] & one.known_N)
        predicted_S2 = runs_of(one.predicted_NK[:, k] & one.known_N)
        sure_S = np.array([_confidence(one, k, first, end) for first, end in predicted_S2])
        order = np.argsort(-sure_S, kind="stable")
        scores.append(sure_S[order])
        hits.append(match_segments(temporal_ious(predicted_S2[order], true_S2), least, only_nearest=False))
        owners.append(np.full(len(order), number))
        num_true_R[number] = len(true_S2)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit_P, owner_P = np.concatenate(hits)[order], np.concatenate(owners)[order].astype(np.int64)

    def precision(draws_DR: Float64) -> Float64:
        weight_DP = draws_DR[:, owner_P]
        true_DP = weight_DP * hit_P
        precision_DP = ratio(true_DP.cumsum(axis=1), weight_DP.cumsum(axis=1))
        # The precision at a recall is the highest at that recall or beyond.
        envelope_DP = np.maximum.accumulate(np.nan_to_num(precision_DP)[:, ::-1], axis=1)[:, ::-1]
        return ratio((envelope_DP * true_DP).sum(axis=1), draws_DR @ num_true_R)

    return precision(np.ones((1, len(recordings)))), None if draws_DR is None else precision(draws_DR)


def _confidence(recording: ScoredRecording, k: int, first: int, end: int) -> float:
    """Return the mean probability of a class from a frame to another."""
    cells = slice(first // recording.frames_per_cell, -(-end // recording.frames_per_cell))
    inside = recording.probabilities_CK[cells, k]
    return float(inside.mean()) if len(inside) else 0.0


def ratio(numerator: Float64, denominator: Float64) -> Float64:
    """Return a ratio, NaN where it divides by nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
