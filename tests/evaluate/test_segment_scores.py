"""Scores of timelines against plain implementations of their definitions, on random segmentations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from vidcli.arrays import Bool, Float64
from vidcli.evaluate import segment_scores
from vidcli.evaluate.segment_matching import ScoredRecording, edit_score, match_segments
from vidcli.evaluate.segment_scores import OVERLAPS, TEMPORAL_IOUS, TimelineScores, score_timelines
from vidcli.evaluate.time_precision import average_precision

Segments = list[tuple[int, int, int]]
"""Label, first frame and end, which is left out."""
NUM_CLASSES = 3
FRAME = 0.25


def random_labels(rng: np.random.Generator, num_frames: int) -> list[int]:
    labels: list[int] = []
    while len(labels) < num_frames:
        labels += [int(rng.integers(NUM_CLASSES))] * int(rng.integers(1, 12))
    return labels[:num_frames]


def one_hot(labels: Sequence[int]) -> Bool:
    return np.array(labels)[:, None] == np.arange(NUM_CLASSES)


def random_recording(seed: int, multi_label: bool = False) -> ScoredRecording:
    """Return a recording whose prediction is the truth, disturbed; a part of it is not labelled."""
    rng = np.random.default_rng(seed)
    num_frames = int(rng.integers(60, 120))
    truth = random_labels(rng, num_frames)
    guess = [label if rng.random() < 0.8 else int(rng.integers(NUM_CLASSES)) for label in truth]
    known = np.ones(num_frames, dtype=bool)
    known[20 : 20 + int(rng.integers(0, 15))] = False
    truth_NK, predicted_NK = one_hot(truth), one_hot(guess)
    if multi_label:
        truth_NK, predicted_NK = (
            truth_NK | (rng.random(truth_NK.shape) < 0.2),
            predicted_NK & (rng.random(truth_NK.shape) < 0.9),
        )
    cells = rng.random((-(-num_frames // 4), NUM_CLASSES)).round(2)
    return ScoredRecording(truth_NK, predicted_NK, known, cells, 4, FRAME, f"r{seed}", multi_label)


def segments_of(mask: Bool, label: int) -> Segments:
    found: Segments = []
    for frame, is_there in enumerate([*mask.tolist(), False]):
        if is_there and (not found or found[-1][2] >= 0):
            found.append((label, frame, -1))
        elif not is_there and found and found[-1][2] < 0:
            found[-1] = (label, found[-1][1], frame)
    return found


def iou(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    frames, others = set(range(*one[1:])), set(range(*other[1:]))
    return len(frames & others) / len(frames | others)


def both_sides(one: ScoredRecording, label: int) -> tuple[Segments, Segments]:
    true = segments_of(one.truth_NK[:, label] & one.known_N, label)
    return true, segments_of(one.predicted_NK[:, label] & one.known_N, label)


def plain_frame_accuracy(recordings: Sequence[ScoredRecording]) -> float:
    right = total = 0
    for one in recordings:
        for truth, guess, known in zip(one.truth_NK, one.predicted_NK, one.known_N, strict=True):
            if known:
                total += 1
                right += (
                    bool((truth & guess).any()) if not one.is_multi_label else bool((truth == guess).all())
                )
    return right / total


def plain_frame_f1(recordings: Sequence[ScoredRecording], label: int) -> float:
    tp = fp = fn = 0
    for one in recordings:
        for truth, guess, known in zip(
            one.truth_NK[:, label], one.predicted_NK[:, label], one.known_N, strict=True
        ):
            tp, fp, fn = (
                tp + (known and truth and guess),
                fp + (known and guess and not truth),
                fn + (known and truth and not guess),
            )
    return float(2 * tp / (2 * tp + fp + fn))


def plain_segmental_f1(recordings: Sequence[ScoredRecording], least: float) -> float:
    """Lea et al. 2017: a predicted segment is right if the true one it overlaps most was not hit before."""
    tp = fp = fn = 0
    for one in recordings:
        for label in range(NUM_CLASSES):
            true, predicted = both_sides(one, label)
            hit = [False] * len(true)
            for guess in predicted:
                overlaps = [iou(guess, truth) for truth in true]
                best = overlaps.index(max(overlaps)) if overlaps else -1
                if best >= 0 and overlaps[best] >= least and not hit[best]:
                    hit[best] = True
                    tp += 1
                else:
                    fp += 1
            fn += len(true) - sum(hit)
    return 2 * tp / (2 * tp + fp + fn)


def plain_edit(one: Sequence[int], other: Sequence[int]) -> float:
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            replaced = table[i - 1][j - 1] + (one[i - 1] != other[j - 1])
            table[i][j] = min(replaced, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return 1 - table[-1][-1] / max(len(one), len(other))


def plain_edit_of(one: ScoredRecording) -> float:
    sides = []
    for mask in (one.truth_NK, one.predicted_NK):
        labels: list[int] = []
        last = None
        for row, known in zip(mask, one.known_N, strict=True):
            label = (int(row.argmax()) if row.any() else -1) if known else None
            if label is not None and label != last:
                labels.append(label)
            last = label
        sides.append(labels)
    return plain_edit(*sides)


def plain_detection(recordings: Sequence[ScoredRecording], label: int, least: float) -> float:
    """ActivityNet: by falling score, each hits the free true segment it overlaps most; rising precision."""
    guesses = []
    num_true = 0
    for number, one in enumerate(recordings):
        true, predicted = both_sides(one, label)
        num_true += len(true)
        for guess in predicted:
            size = one.frames_per_cell
            cells = range(guess[1] // size, -(-guess[2] // size))
            guesses.append(
                (float(np.mean([one.probabilities_CK[c, label] for c in cells])), number, guess, true)
            )
    guesses.sort(key=lambda guess: -guess[0])
    taken: set[tuple[int, int]] = set()
    hits = []
    for _, number, guess, true in guesses:
        free = [(iou(guess, truth), n) for n, truth in enumerate(true) if (number, n) not in taken]
        best = max(free, default=(0.0, -1), key=lambda pair: pair[0])
        hits.append(best[0] >= least)
        if hits[-1]:
            taken.add((number, best[1]))
    precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precisions[n:]) for n, hit in enumerate(hits) if hit) / num_true


def plain_frame_precision(recordings: Sequence[ScoredRecording], label: int) -> float:
    """Mean over true frames of the precision among all frames that are scored at least as high."""
    pairs = [
        (one.probabilities_CK[frame // 4, label], one.truth_NK[frame, label])
        for one in recordings
        for frame in np.flatnonzero(one.known_N)
    ]
    found = []
    for score, truth in pairs:
        if truth:
            above = [other for sure, other in pairs if sure >= score]
            found.append(sum(above) / len(above))
    return float(np.mean(found))


@pytest.fixture(scope="module", params=[False, True], ids=["one label", "several"])
def recordings(request: pytest.FixtureRequest) -> list[ScoredRecording]:
    return [random_recording(seed, request.param) for seed in range(4)]


@pytest.fixture(scope="module")
def scores(recordings: list[ScoredRecording]) -> TimelineScores:
    return score_timelines(recordings)


def test_scores_of_time(recordings: list[ScoredRecording], scores: TimelineScores) -> None:
    assert scores.overall["frame_accuracy"].value == pytest.approx(plain_frame_accuracy(recordings))
    f1s = [plain_frame_f1(recordings, label) for label in range(NUM_CLASSES)]
    precisions = [plain_frame_precision(recordings, label) for label in range(NUM_CLASSES)]
    assert [one["f1"].value for one in scores.per_class] == pytest.approx(f1s)
    assert [one["average_precision"].value for one in scores.per_class] == pytest.approx(precisions)
    assert scores.overall["macro_f1"].value == pytest.approx(np.mean(f1s))
    assert scores.overall["frame_map"].value == pytest.approx(np.mean(precisions))
    known = sum(int(one.known_N.sum()) for one in recordings)
    assert scores.labelled_seconds == pytest.approx(known * FRAME)
    assert scores.unlabelled_seconds == pytest.approx(
        sum(len(one.known_N) for one in recordings) * FRAME - known * FRAME
    )


@pytest.mark.parametrize("least", OVERLAPS)
def test_segmental_f1(least: float, recordings: list[ScoredRecording], scores: TimelineScores) -> None:
    found = scores.overall[f"f1@{round(100 * least)}"].value
    assert found == pytest.approx(plain_segmental_f1(recordings, least))


def test_edit_score(recordings: list[ScoredRecording], scores: TimelineScores) -> None:
    if recordings[0].is_multi_label:
        assert scores.overall["edit_score"].value is None
    else:
        assert scores.overall["edit_score"].value == pytest.approx(
            np.mean([plain_edit_of(r) for r in recordings])
        )


def test_edit_scores_of_random_sequences() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = (rng.integers(3, size=rng.integers(1, 12)).tolist() for _ in range(2))
        assert edit_score(one, other) == pytest.approx(plain_edit(one, other))
    assert (edit_score([], []), edit_score([], [1, 2])) == (1.0, 0.0)


def test_detection(recordings: list[ScoredRecording], scores: TimelineScores) -> None:
    means = []
    for least in TEMPORAL_IOUS:
        plain = np.mean([plain_detection(recordings, label, least) for label in range(NUM_CLASSES)])
        assert scores.overall[f"map@{least:g}"].value == pytest.approx(plain)
        means.append(plain)
    assert scores.overall["map@0.3:0.7"].value == pytest.approx(np.mean(means))


def test_detection_takes_the_next_true_segment_where_the_nearest_is_taken() -> None:
    truth = np.zeros((40, NUM_CLASSES), dtype=bool)
    truth[0:20, 0] = truth[21:39, 0] = True
    predicted = np.zeros_like(truth)
    predicted[0:7, 0] = predicted[8:32, 0] = True  # the second overlaps the first true one most, too
    cells = np.where(np.arange(40)[:, None] < 8, 1.0, 0.5).repeat(NUM_CLASSES, axis=1)
    one = ScoredRecording(truth, predicted, np.ones(40, dtype=bool), cells, 1, FRAME, "r")
    assert plain_detection([one], 0, 0.25) == 1.0
    assert score_timelines([one]).overall["map@0.3"].value == 1.0


def test_bouts(recordings: list[ScoredRecording], scores: TimelineScores) -> None:
    for label, found in enumerate(scores.per_class):
        counts = dict.fromkeys(("true", "predicted", "missed", "false", "split", "merged"), 0)
        starts, ends = [], []
        for one in recordings:
            true, predicted = both_sides(one, label)
            counts["true"] += len(true)
            counts["predicted"] += len(predicted)
            for truth in true:
                over = [guess for guess in predicted if iou(truth, guess) > 0]
                counts["missed"] += not over
                counts["split"] += len(over) > 1
                if over:
                    nearest = max(over, key=lambda guess: iou(truth, guess))
                    starts.append(abs(nearest[1] - truth[1]) * FRAME)
                    ends.append(abs(nearest[2] - truth[2]) * FRAME)
            for guess in predicted:
                over = [truth for truth in true if iou(truth, guess) > 0]
                counts["false"] += not over
                counts["merged"] += len(over) > 1
        assert {name: found[f"num_{name}"].value for name in counts} == counts
        assert found["start_error_seconds"].value == pytest.approx(np.mean(starts))
        assert found["end_error_seconds"].value == pytest.approx(np.mean(ends))


def test_a_draw_is_the_score_of_the_recordings_drawn(
    recordings: list[ScoredRecording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_scores, "_NUM_DRAWS", 1)
    for seed in range(4):
        counts = segment_scores.draw_recordings([one.group for one in recordings], seed)
        assert counts is not None
        drawn = [one for one, count in zip(recordings, counts[0], strict=True) for _ in range(int(count))]
        direct = score_timelines([replace(one, group=str(n)) for n, one in enumerate(drawn)])
        for name, score in score_timelines(recordings, seed).overall.items():
            if score.value is not None:
                # Where a segment is drawn twice, its precision is taken once, behind both.
                near = pytest.approx((direct.overall[name].value,) * 2, abs=0.02 if "map@" in name else 1e-9)
                assert score.interval == near, name


def test_intervals_are_wider_where_recordings_belong_together(recordings: list[ScoredRecording]) -> None:
    many = [replace(random_recording(seed), group=f"r{seed}") for seed in range(12)]
    grouped = [replace(one, group=f"g{n // 4}") for n, one in enumerate(many)]
    whole, fewer = (score_timelines(one).overall["frame_accuracy"] for one in (many, grouped))
    assert whole.value == fewer.value
    assert whole.interval is not None
    assert whole.value is not None
    assert whole.interval[0] < whole.value < whole.interval[1]
    assert score_timelines(many[:1]).overall["frame_accuracy"].interval is None
    assert score_timelines([replace(one, group="g") for one in many]).overall["macro_f1"].interval is None


def test_a_perfect_and_an_empty_prediction() -> None:
    one = random_recording(1)
    perfect = replace(
        one, predicted_NK=one.truth_NK, probabilities_CK=np.ones((len(one.truth_NK), 3)), frames_per_cell=1
    )
    for name, score in score_timelines([perfect]).overall.items():
        expected = 0.0 if name.endswith(("_share", "_seconds")) else 1.0
        if name not in ("frame_map",):  # every frame is as sure as the others
            assert score.value == expected, name
    nothing = replace(one, predicted_NK=np.zeros_like(one.truth_NK))
    scores = score_timelines([nothing]).overall
    assert (scores["frame_accuracy"].value, scores["missed_share"].value) == (0.0, 1.0)
    assert scores["false_share"].value is None  # of no bout
    assert scores["map@0.5"].value == 0.0


def test_the_baseline_is_the_class_with_most_time() -> None:
    one = random_recording(2)
    seconds = (one.truth_NK & one.known_N[:, None]).sum(axis=0)
    assert score_timelines([one]).baseline == pytest.approx(seconds.max() / one.known_N.sum())


def test_a_true_segment_is_hit_once() -> None:
    ious: Float64 = np.array([[0.6, 0.5], [0.7, 0.55]])
    assert match_segments(ious, 0.5).tolist() == [True, False]
    assert match_segments(ious, 0.5, only_nearest=False).tolist() == [True, True]


def test_average_precision_without_truth_is_none() -> None:
    assert math.isnan(average_precision(np.zeros((1, 2)), np.ones((1, 2)))[0])
    assert average_precision(np.array([[1.0, 0.0, 1.0]]), np.ones((1, 3)))[0] == pytest.approx(
        (1 + 2 / 3) / 2
    )
