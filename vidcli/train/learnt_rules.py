"""Learn on validation recordings how the windows of a timeline become segments.

Every way to read windows and to smooth them is tried on the same windows. The best by the mean of the frame
macro F1 and the segmental F1@50 is kept with the model; of equally good ones the simplest. Where a moment can
have several classes, these do not compete: each has the threshold and the shortest duration that are best for
it.

With `data.context_windows`, a network over time learns from windows of training recordings, and all is tried
once more on what it makes of those of the validation recordings. Where that is better, a network that learnt
from both is kept.

Shape suffixes: W windows, N cells, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from vidcli.arrays import Float64
from vidcli.data.background import rows_by_subject
from vidcli.data.items import VideoItem, labels_of
from vidcli.errors import VideoError
from vidcli.evaluate.recordings import LabelledRecording, recordings_of
from vidcli.models.cell_refiner import seconds_seen
from vidcli.models.timeline_rules import READINGS, TimelineRules
from vidcli.predict import Predictor
from vidcli.predict.timeline import classify_windows
from vidcli.predict.window_plan import WindowPlan, learnt_plan
from vidcli.train.rule_trials import (
    SHARES,
    RecordingWindows,
    RulesTrial,
    RuleTrials,
    read_cells,
    shortest_of,
)
from vidcli.train.temporal_training import TemporalTraining, choose_recordings

_WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.8)
_UNSEEN = 0.5
"""Times that each class is taken to have followed each other one, beside what was counted."""


def learn_rules(
    predictor: Predictor,
    spans: Sequence[VideoItem],
    clips: Sequence[VideoItem],
    progress: Callable[[int, int], None],
    tell: Callable[[VideoError], None],
) -> list[RulesTrial]:
    """Return what was tried, the best first; nothing where there is no validation recording.

    Args:
        predictor: of the model.
        spans: labelled spans of all recordings, with their splits.
        clips: that the model learnt from.
        progress: called with the seconds of recordings that are done and of all.
        tell: takes the error of each recording that cannot be decoded, and is left out.
    """
    plan = learnt_plan(predictor.config, None)
    recordings = recordings_of(item for item in spans if item.split == "val")
    if plan is None or not recordings:
        return []
    thresholds = predictor.calibration.thresholds
    most = 0 if thresholds is not None else predictor.config.data.context_windows
    learnt = [item for item in spans if item.split == "train"]
    chosen = choose_recordings(recordings_of(learnt), round(most * plan.cell_seconds), predictor.config)
    found = list(_classify(predictor, [*recordings, *chosen], plan, progress, tell))
    windows = [one for one in found if one.recording in recordings]
    if not windows:
        return []
    names, trials = predictor.class_names, list[RulesTrial]()
    for reading in READINGS:
        cells = [read_cells(one, plan, reading) for one in windows]
        ways = RuleTrials(windows, plan, cells, names, thresholds)
        rules: Iterable[TimelineRules]
        if thresholds is None:
            rules = _candidates(names, learnt, clips, plan)
        else:
            rules = ways.of_each_class(shortest_of(_durations(names, learnt, True), plan.cell_seconds))
        trials += [ways.of(replace(one, reading=reading)) for one in rules]
    if len(found) > len(windows):
        context = TemporalTraining(found, plan, predictor.config, names)
        temporal = context.fit(lambda one: one.recording not in recordings)
        refined = [context.refine(one, temporal) for one in windows]
        ways = RuleTrials(windows, plan, refined, names, None)
        for one in _candidates(names, learnt, clips, plan):
            trials.append(ways.of(replace(one, reading="middle", temporal=temporal)))
        trials.sort(key=lambda trial: -trial.score)
        if trials[0].rules.temporal is not None:  # chosen: now it may learn from all there is
            best = replace(trials[0].rules, temporal=context.fit(lambda one: True))
            trials[0] = replace(trials[0], rules=best)
    return sorted(trials, key=lambda trial: -trial.score)


def describe_gain(trials: Sequence[RulesTrial], num_recordings: int) -> str:
    """Return a sentence on the best way to make segments, beside leaving them as they come.

    Args:
        trials: as `learn_rules` returned them.
        num_recordings: that they were tried on.
    """
    best = trials[0]
    plain = next(
        trial for trial in trials if trial.rules.smoothing == "none" and trial.rules.reading == "mean"
    )
    names = {
        "none": "timelines are not smoothed",
        "duration": "timelines have a shortest duration of each class"
        + (" and a threshold of its own" if best.rules.thresholds else ""),
        "viterbi": "timelines are smoothed by learnt transitions between classes (Viterbi)",
    }
    read = " and read at the middles of windows" if best.rules.reading == "middle" else ""
    told = (
        f"{names[best.rules.smoothing]}{read}: on {num_recordings} validation recordings F1@50 "
        f"{best.segmental_f1:.3f} and macro F1 {best.macro_f1:.3f}, without that {plain.segmental_f1:.3f} "
        f"and {plain.macro_f1:.3f}"
    )
    alone = next(trial for trial in trials if trial.rules.temporal is None)
    seen = next((trial for trial in trials if trial.rules.temporal is not None), None)
    if seen is None:
        return told
    reach = f"a network over time, which sees {seconds_seen(best.rules.step_seconds)} s around a moment,"
    if seen is best:
        return (
            f"{reach} is kept: without it the best F1@50 is {alone.segmental_f1:.3f} and macro F1 "
            f"{alone.macro_f1:.3f}; {told}"
        )
    return (
        f"{told}; {reach} is left out, since with it F1@50 is {seen.segmental_f1:.3f} and macro F1 "
        f"{seen.macro_f1:.3f}"
    )


def _classify(
    predictor: Predictor,
    recordings: Sequence[LabelledRecording],
    plan: WindowPlan,
    progress: Callable[[int, int], None],
    tell: Callable[[VideoError], None],
) -> Iterator[RecordingWindows]:
    """Yield the windows of each recording that can be decoded, and tell why one cannot."""
    done = 0.0
    for number, recording in enumerate(recordings):

        def show(
            seconds: float, of: float, before: float = done, left: int = len(recordings) - number
        ) -> None:
            progress(round(before + seconds), round(before + of * left))

        try:
            found = classify_windows(predictor, recording.video, plan, show)
            present = predictor.views.present(recording.video)
        except VideoError as error:
            tell(error)
            continue
        done += found[2]
        yield RecordingWindows(recording, *found, present)


def _candidates(
    names: Sequence[str], spans: Sequence[VideoItem], clips: Sequence[VideoItem], plan: WindowPlan
) -> Iterator[TimelineRules]:
    """Yield the ways to smooth, the simplest first."""
    step, num_classes = plan.cell_seconds, len(names)
    plain = TimelineRules(step)
    yield plain
    shortest = shortest_of(_durations(names, spans), step)
    for share in SHARES:
        seconds = tuple(max(step, share * one) for one in shortest)
        yield replace(plain, smoothing="duration", min_seconds=seconds)
    transitions_KK = np.log(count_transitions(names, spans, step))
    counts = Counter(clip.label for clip in clips)
    shares_K = np.array([max(1, counts[name]) for name in names], dtype=np.float64)
    for prior_K in (np.log(shares_K / shares_K.sum()), np.zeros(num_classes)):
        for weight in _WEIGHTS:
            yield replace(
                plain,
                smoothing="viterbi",
                log_prior=tuple(prior_K.tolist()),
                log_transitions=tuple(map(tuple, transitions_KK.tolist())),
                weight=weight,
            )


def _durations(
    names: Sequence[str], spans: Sequence[VideoItem], multi_label: bool = False
) -> list[list[float]]:
    """Return how long the spans of each class last, in seconds.

    Args:
        names: of the classes.
        spans: labelled spans of recordings.
        multi_label: a span can have several classes; one of a class goes on where another begins with it.
    """
    lengths: dict[str, list[float]] = {name: [] for name in names}
    for rows in rows_by_subject(spans).values():
        until: dict[str, tuple[float, float]] = {}
        for span in sorted(rows, key=lambda row: row.start_seconds):
            for name in labels_of(span.label, multi_label):
                if span.end_seconds is None or name not in lengths:
                    continue
                first, last = until.get(name, (span.start_seconds, -1.0))
                if multi_label and last == span.start_seconds:
                    lengths[name].pop()
                else:
                    first = span.start_seconds
                until[name] = first, span.end_seconds
                lengths[name].append(span.end_seconds - first)
    return [lengths[name] for name in names]


def count_transitions(names: Sequence[str], spans: Sequence[VideoItem], step_seconds: float) -> Float64:
    """Return how probable each class, the column, is one step after each other one, the row, (K, K).

    A class lasts as long as its spans do on average. What follows it is counted where one span begins as
    another ends.

    Args:
        names: of the K classes.
        spans: labelled spans of recordings.
        step_seconds: from one cell to the next.
    """
    place = {name: number for number, name in enumerate(names)}
    follows_KK = np.full((len(names), len(names)), _UNSEEN)
    for rows in rows_by_subject(spans).values():
        rows = sorted(rows, key=lambda row: row.start_seconds)
        for one, other in pairwise(rows):
            touches = one.end_seconds is not None and other.start_seconds - one.end_seconds < step_seconds
            if touches and one.label in place and other.label in place:
                follows_KK[place[one.label], place[other.label]] += 1
    np.fill_diagonal(follows_KK, 0)
    cells = [max(1.5, float(np.mean(of)) / step_seconds) if of else 1.5 for of in _durations(names, spans)]
    leaves_K = 1 / np.array(cells)
    probable_KK = leaves_K[:, None] * follows_KK / follows_KK.sum(axis=1, keepdims=True)
    return np.asarray(probable_KK + np.diag(1 - leaves_K), dtype=np.float64)
