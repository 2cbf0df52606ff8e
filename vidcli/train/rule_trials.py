"""How good segments are that validation recordings give, when windows are read and smoothed in one way.

Shape suffixes: W windows, N cells or frames, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from vidcli.arrays import Float64
from vidcli.evaluate.recordings import LabelledRecording, align
from vidcli.evaluate.segment_matching import ScoredRecording, match_segments, runs_of, temporal_ious
from vidcli.evaluate.segment_scores import score_timelines
from vidcli.models.timeline_rules import TimelineRules
from vidcli.predict.presence import stream_present
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.segments import Timeline
from vidcli.predict.window_plan import WindowCells, WindowPlan, window_weights

SHARES = (0.25, 0.5, 1.0)
"""Of how long nearly all segments of a class last: what the shortest one may be."""
_NEARLY_ALL = 0.05
_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of a class of a multi-label model, beside the one that it was calibrated to."""
_HIT = 0.5


@dataclass(frozen=True)
class RulesTrial:
    """One way to make segments, and how good these are on the validation recordings."""

    rules: TimelineRules
    macro_f1: float
    segmental_f1: float

    @property
    def score(self) -> float:
        """What ways are compared by."""
        return (self.macro_f1 + self.segmental_f1) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        known = replace(self.rules, temporal=None).to_dict() | {
            "temporal": self.rules.temporal is not None,
            "macro_f1": self.macro_f1,
            "f1@50": self.segmental_f1,
        }
        return {name: value for name, value in known.items() if name != "log_transitions"}


@dataclass(frozen=True)
class RecordingWindows:
    """The windows of one recording.

    Attributes:
        recording: as it is labelled.
        probabilities_WK: of each class in each window.
        num_cells: of the timeline.
        seconds: of the video.
        present: when its subject is in the picture; None for always.
    """

    recording: LabelledRecording
    probabilities_WK: Float64
    num_cells: int
    seconds: float
    present: tuple[tuple[float, float], ...] | None = None


class RuleTrials:
    """Tries ways to make segments of the same windows, which are all read in one way."""

    def __init__(
        self,
        windows: Sequence[RecordingWindows],
        plan: WindowPlan,
        cells: Sequence[Float64],
        class_names: tuple[str, ...],
        thresholds: Sequence[float] | None,
    ) -> None:
        """Keep what is tried.

        Args:
            windows: of each validation recording.
            plan: how they lie.
            cells: of each recording (N, K), as `read_cells` or a network over time makes them of windows.
            class_names: of the K classes.
            thresholds: of a multi-label model, as it was calibrated; None for any other.
        """
        self._windows, self._plan, self._names, self._thresholds = windows, plan, class_names, thresholds
        self._cells = cells

    def of(self, rules: TimelineRules) -> RulesTrial:
        """Return how good the segments are that some rules make."""
        # One group for all: intervals are not asked for, and take long.
        aligned = [replace(one, group="") for one in self._segmented(rules)]
        overall = score_timelines(aligned).overall
        return RulesTrial(rules, overall["macro_f1"].value or 0.0, overall["f1@50"].value or 0.0)

    def of_each_class(self, shortest: Sequence[float]) -> Iterator[TimelineRules]:
        """Yield rules of a multi-label model: as it was calibrated, then with what is best for each class.

        Args:
            shortest: seconds that nearly all segments of each class last at least.
        """
        assert self._thresholds is not None
        step, usual = self._plan.cell_seconds, tuple(self._thresholds)
        plain = TimelineRules(step, thresholds=usual)
        yield plain
        tried = [
            replace(
                plain,
                smoothing="duration",
                min_seconds=tuple(max(step, share * one) for one in shortest),
                thresholds=usual if threshold is None else (threshold,) * len(usual),
            )
            for share in (0.0, *SHARES)
            for threshold in (None, *_THRESHOLDS)
        ]
        # The first of equally good ones: as calibrated, and hardly smoothed.
        best_K = np.stack([self._score_classes(rules) for rules in tried]).argmax(axis=0).tolist()
        yield replace(
            plain,
            smoothing="duration",
            min_seconds=tuple(tried[best].min_seconds[k] for k, best in enumerate(best_K)),
            thresholds=tuple(tried[best].thresholds[k] for k, best in enumerate(best_K)),
        )

    def _score_classes(self, rules: TimelineRules) -> Float64:
        """Return the mean of F1 over frames and F1 over segments of each class (K); 0 where there is none."""
        parts = np.sum([_counts(one) for one in self._segmented(rules)], axis=0)
        both_K, frames_K, hits_K, segments_K = parts
        found: Float64 = both_K / np.maximum(frames_K, 1) + hits_K / np.maximum(segments_K, 1)
        return found

    def _segmented(self, rules: TimelineRules) -> Iterator[ScoredRecording]:
        """Yield what a person and the rules say of each recording."""
        names, plan = self._names, self._plan
        for one, cells_NK in zip(self._windows, self._cells, strict=True):
            make = partial(
                stream_segments,
                class_names=names,
                cell_seconds=plan.cell_seconds,
                min_seconds=0.0,
                threshold=None,
                thresholds=self._thresholds,
                rules=rules,
            )
            stream = stream_present(
                make,
                lambda start, end, cells_NK=cells_NK: cells_NK[start:end],  # type: ignore[misc]
                plan.cell_seconds,
                one.present,
            )
            segments = tuple(stream.finish(len(cells_NK), one.seconds))
            timeline = Timeline(
                str(one.recording.path), names, plan.cell_seconds, one.seconds, cells_NK, segments
            )
            yield align(one.recording, timeline, names, self._thresholds is not None)


def shortest_of(lengths: Sequence[Sequence[float]], step_seconds: float) -> list[float]:
    """Return how long nearly all segments of each class last at least.

    Args:
        lengths: of the segments of each class, in seconds.
        step_seconds: for a class without any.
    """
    return [float(np.quantile(of, _NEARLY_ALL)) if of else step_seconds for of in lengths]


def read_cells(windows: RecordingWindows, plan: WindowPlan, reading: str) -> Float64:
    """Return the probabilities of the cells of a recording (N, K).

    Args:
        windows: of the recording.
        plan: how they lie.
        reading: one of `READINGS`.
    """
    weights = window_weights(plan.num_cells, reading)
    cells = WindowCells(windows.probabilities_WK.shape[1], weights)
    for probabilities_K in windows.probabilities_WK:
        cells.add_window(probabilities_K)
    return cells.means(0, windows.num_cells)


def _counts(recording: ScoredRecording) -> Float64:
    """Return twice the frames in which each class is rightly told, all frames with it in truth or answer, and
    the same of segments (4, K).
    """
    known_N1 = recording.known_N[:, None]
    truth_NK, predicted_NK = recording.truth_NK & known_N1, recording.predicted_NK & known_N1
    counts = np.zeros((4, truth_NK.shape[1]))
    counts[0] = 2 * (truth_NK & predicted_NK).sum(axis=0)
    counts[1] = truth_NK.sum(axis=0) + predicted_NK.sum(axis=0)
    for k in range(truth_NK.shape[1]):
        true_S2, predicted_S2 = runs_of(truth_NK[:, k]), runs_of(predicted_NK[:, k])
        counts[2, k] = 2 * match_segments(temporal_ious(predicted_S2, true_S2), _HIT).sum()
        counts[3, k] = len(true_S2) + len(predicted_S2)
    return counts
