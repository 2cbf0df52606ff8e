"""The queue: what a label would teach, and which labels are wrong."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.review.conftest import kernels_of
from vidcli.data.items import VideoItem
from vidcli.review import queue
from vidcli.review.knowledge import Opinion, learn
from vidcli.train.choice import mean_kernel

NAMES = ("a", "b", "c")


def clusters(num_each: int, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    centres = np.eye(3, 8) * 6
    points = np.concatenate([centre + spread * rng.normal(size=(num_each, 8)) for centre in centres])
    return points, [name for name in NAMES for _ in range(num_each)]


def items_of(labels: list[str]) -> list[VideoItem]:
    return [VideoItem(Path(f"{n}.mp4"), label) for n, label in enumerate(labels)]


def test_without_labels_each_cluster_is_seen_first() -> None:
    points, truth = clusters(20)
    open_ = np.ones(60, bool)
    places = queue.rank_unlabelled(kernels_of(points), None, [None] * 60, open_, 3)
    assert {truth[place.position] for place in places} == set(NAMES)
    assert "unlike what is labelled" in places[0].reason


def test_each_clip_explains_most_of_those_that_are_left() -> None:
    kernels = kernels_of(clusters(5)[0])
    products, known, noise = mean_kernel(kernels.of_part, kernels.all_parts), [1, 7], queue._NOISE
    kernel = queue.covariance_given(products, np.arange(15), np.arange(0))
    labels = ["a" if n in known else None for n in range(15)]

    def left(given: list[int], others: list[int]) -> float:
        inverse = np.linalg.inv(kernel[np.ix_(given, given)] + noise * np.eye(len(given)))
        cross = kernel[np.ix_(others, given)]
        return float(np.trace(kernel[np.ix_(others, others)] - cross @ inverse @ cross.T))

    places = queue.rank_unlabelled(kernels, None, labels, np.array([label is None for label in labels]), 3)
    for place in places:
        others = [n for n in range(15) if n not in known]
        best = min(others, key=lambda n: left([*known, n], others))
        assert place.position == best
        known.append(best)


def test_clips_with_long_descriptors_do_not_come_before_all_others() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([10 * rng.normal(size=(20, 8)), rng.normal(size=(20, 8))])
    points[:20, 0] += 20
    points[20:, 0] -= 2
    places = queue.rank_unlabelled(kernels_of(points), None, [None] * 40, np.ones(40, bool), 6)
    assert 2 <= sum(place.position < 20 for place in places) <= 4


def test_a_clip_is_called_unlike_what_is_labelled_while_nothing_like_it_is() -> None:
    points, truth = clusters(5, spread=0.2)
    labels = ["a", *[None] * 4, "b", *[None] * 9]
    opinion = learn(kernels_of(points), items_of(truth), labels)
    places = queue.rank_unlabelled(
        kernels_of(points), opinion, labels, np.array([label is None for label in labels]), 13
    )
    unlike = [truth[place.position] for place in places if "unlike what is labelled" in place.reason]
    assert unlike == ["c"]
    assert truth[places[0].position] == "c"


def test_doubt_and_rare_classes_come_first_among_clips_that_are_alike_to_none() -> None:
    asked = [[0.98, 0.01, 0.01], [0.5, 0.49, 0.01], [0.1, 0, 0.9]]
    labels: list[str | None] = [*"aaabbbc", None, None, None]
    shares = np.array([*np.eye(3)[[0, 0, 0, 1, 1, 1, 2]], *asked])
    opinion = Opinion(NAMES, shares, np.eye(10), True, None)
    open_ = np.array([label is None for label in labels])
    places = queue.rank_unlabelled(kernels_of(np.eye(10)), opinion, labels, open_, 3)
    assert [place.position for place in places] == [9, 8, 7]
    assert places[0].reason.startswith("perhaps c, of which there are 1 labels")
    assert places[1].reason.startswith("torn between a (50%) and b (49%)")


def test_flipped_labels_are_the_most_suspicious() -> None:
    points, truth = clusters(40)
    rng = np.random.default_rng(1)
    flipped = set(rng.permutation(120)[:12].tolist())
    labels = [NAMES[(NAMES.index(name) + 1) % 3] if n in flipped else name for n, name in enumerate(truth)]
    opinion = learn(kernels_of(points), items_of(labels), labels)
    places = queue.rank_suspicious(opinion, labels, np.ones(120, bool), 18)
    found = flipped & {place.position for place in places}
    assert len(found) >= 11
    worst = places[0]
    assert worst.reason.startswith(f"labelled {labels[worst.position]}")
    assert f"looks like {truth[worst.position]}" in worst.reason


def test_what_somebody_checked_is_not_suspicious() -> None:
    points, truth = clusters(10)
    opinion = learn(kernels_of(points), items_of(truth), truth)
    open_ = np.arange(30) % 2 == 0
    places = queue.rank_suspicious(opinion, truth, open_, 30)
    assert sorted(place.position for place in places) == list(range(0, 30, 2))


def test_few_labels_are_no_ground_for_suspicion() -> None:
    points, truth = clusters(3)
    opinion = learn(kernels_of(points), items_of(truth), truth)
    assert opinion is not None
    assert not opinion.is_cross_validated
    assert queue.rank_suspicious(opinion, truth, np.ones(9, bool), 9) == []


def test_one_class_is_nothing_to_learn_from() -> None:
    points, truth = clusters(3)
    assert learn(kernels_of(points), items_of(truth), ["a"] * 3 + [None] * 6) is None


def test_labelled_clips_are_judged_without_their_own_label() -> None:
    points, truth = clusters(20, spread=0.3)
    truth[0] = "b"
    opinion = learn(kernels_of(points), items_of(truth), truth)
    assert opinion is not None
    assert opinion.is_cross_validated
    assert opinion.probabilities_NK[0].argmax() == 0


def test_copies_with_other_labels_are_named() -> None:
    places = queue.rank_disputed(
        [(0, 1), (1, 2), (2, 3)], ["v0", "v1", "v2", "v3"], ["a", "b", None, "b"], np.ones(4, bool), 10
    )
    assert [place.position for place in places] == [0, 1]
    assert places[0].reason == "labelled a; may show the same as v1, labelled b"


def test_classes_that_each_have_a_group_of_their_own_are_scored_by_clips_that_were_held_out() -> None:
    points, truth = clusters(10)
    items = [replace(item, group=f"{item.label}-{n % 2}") for n, item in enumerate(items_of(truth))]
    labels = [label if label != "c" else None for label in truth]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the mean of nothing
        opinion = learn(kernels_of(points), items, labels)
        alone = learn(kernels_of(points), [replace(item, group=item.label) for item in items], labels)
    assert opinion is not None
    assert opinion.top1 == 1.0
    assert alone is not None
    assert np.isfinite(alone.probabilities_NK).all()
