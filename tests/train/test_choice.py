"""What is chosen by cross-validation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vidcli.config import ModelConfig
from vidcli.models import descriptor_sizes
from vidcli.models.registry import find_backbone
from vidcli.train.choice import STRENGTHS, Candidate, Examples, Part, try_all

PANELS, STREAMS = ("whole", "window", "follow"), ("appearance", "motion")
PARTS: list[Part] = [(panel, stream) for panel in PANELS for stream in STREAMS]


def examples(num_rows: int = 1, mirrored: bool = False) -> Examples:
    """Return 24 videos of two classes in six folds, each with so many rows."""
    labels = np.arange(24) % 2
    copies = num_rows * (2 if mirrored else 1)
    targets = np.where(np.tile(labels, copies)[:, None] == np.arange(2), 1.0, -1.0)
    return Examples(
        targets,
        np.ones(len(targets)),
        np.tile(np.arange(24), copies),
        np.arange(len(targets)) >= 24 * num_rows,
        np.arange(24) // 4,
        is_multi_label=False,
    )


def kernels(telling: set[Part], given: Examples) -> dict[Part, np.ndarray]:
    """Return kernels of which some tell the classes apart, and the others are noise."""
    rng = np.random.default_rng(0)
    signs = given.targets_NK[:, 0]
    found = {}
    for part in PARTS:
        features = rng.normal(size=(24, 40))[given.video_N] + rng.normal(size=(len(signs), 40)) / 4
        if part in telling:
            features[:, :20] += signs[:, None]
        found[part] = features @ features.T / 40
    return found


@pytest.mark.parametrize("part", PARTS)
def test_what_tells_the_classes_apart_is_found_among_all(part: Part) -> None:
    given = examples()
    best = try_all(kernels({part}, given), given).trials[0]
    assert best.top1 == 1
    assert part in best.candidate.parts


def test_as_many_combinations_as_do_best_with_one_strength_are_tried_with_all() -> None:
    given = examples()
    of = kernels(set(), given)
    trials = try_all(of, given).trials
    assert len(trials) == len({t.candidate.parts for t in trials}) == 32
    usual = {
        parts: max(t.score for t in try_all({part: of[part] for part in parts}, given, [1.0]).trials)
        for count in range(1, 7)
        for parts in combinations(of, count)
    }
    chosen = {t.candidate.parts for t in trials}
    assert min(usual[parts] for parts in chosen) >= max(usual[p] for p in usual if p not in chosen)
    assert [t.score for t in trials] == sorted((t.score for t in trials), reverse=True)


def test_the_best_of_plain_videos_learn_from_all_rows() -> None:
    given = examples(num_rows=2, mirrored=True)
    of = kernels({("follow", "motion")}, given)
    trials = try_all(of, given).trials
    assert len(trials) == 4 * 2
    assert {t.candidate.mirrored for t in trials} == {False, True}
    plain = {part: kernel[:24, :24] for part, kernel in of.items()}
    alone = [trial.candidate.parts for trial in try_all(plain, examples()).trials[:4]]
    assert {trial.candidate.parts for trial in trials} == set(alone)
    assert {t.candidate.mirrored for t in try_all(of, given, only_mirrored=True).trials} == {True}


@pytest.mark.parametrize(
    ("parts", "panels", "streams"),
    [
        ([("window", "motion")], ("window",), "motion"),
        (PARTS, PANELS, "appearance+motion"),
        ([("whole", "motion"), ("follow", "motion")], ("whole", "follow"), "motion"),
        ([PARTS[1], PARTS[2], PARTS[3], PARTS[4]], PANELS, "motion,appearance+motion,appearance"),
    ],
)
def test_a_candidate_is_told_in_settings(parts: list[Part], panels: tuple[str, ...], streams: str) -> None:
    candidate = Candidate(tuple(parts), False, 1.0)
    assert (candidate.panels, candidate.streams) == (panels, streams)
    config = ModelConfig(streams=candidate.streams, panels=len(panels))
    sizes = descriptor_sizes(find_backbone("timm:test_resnet").build(3), config)
    assert [(panels[panel], stream) for panel, stream in sizes] == parts


def test_a_known_strength_leaves_nothing_to_choose() -> None:
    given = examples(num_rows=2)
    (trial,) = try_all(kernels(set(), given), given, [3.0]).trials
    assert trial.candidate == Candidate(tuple(PARTS), False, 3.0)


def test_of_known_strengths_the_best_is_taken_for_all_parts() -> None:
    given = examples(num_rows=2)
    of = kernels(set(), given)
    alone = {strength: try_all(of, given, [strength]).trials[0].score for strength in (10.0, 0.001)}
    assert alone[10.0] != alone[0.001]
    (trial,) = try_all(of, given, [*alone]).trials
    assert trial.candidate == Candidate(tuple(PARTS), False, max(alone, key=lambda one: alone[one]))


def test_what_every_candidate_answers_is_kept() -> None:
    given = examples(num_rows=2)
    of = kernels({PARTS[0]}, given)
    choice = try_all(of, given)
    num_all, num_compared, num_last = 2 ** len(PARTS) - 1, 32 * len(STRENGTHS), 4 * len(STRENGTHS)
    assert choice.right_CM.shape == (num_all + num_compared + num_last, 24)
    alone = try_all({PARTS[0]: of[PARTS[0]]}, given, [1.0])
    np.testing.assert_array_equal(
        alone.right_CM[0], alone.trials[0].logits_MK.argmax(axis=1) == np.arange(24) % 2
    )
    np.testing.assert_array_equal(alone.right_CM.mean(axis=1), [alone.trials[0].top1])
