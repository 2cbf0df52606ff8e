from __future__ import annotations

import numpy as np
import pytest

from vidcli.train.look_groups import group_by_look


@pytest.mark.parametrize("seed", range(3))
def test_places_are_found_whatever_the_classes_look_like(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_M, places_M = rng.integers(0, 4, 160), rng.integers(0, 8, 160)
    of_class, of_place = rng.normal(0, 20, (4, 50)), rng.normal(0, 3, (8, 50))
    features_MD = of_class[labels_M] + of_place[places_M] + rng.normal(0, 0.3, (160, 50))
    found_M = group_by_look(features_MD, labels_M, seed=0)
    same_found, same_place = found_M[:, None] == found_M, places_M[:, None] == places_M
    assert (same_found & same_place).sum() / same_place.sum() > 0.75
    same_class = labels_M[:, None] == labels_M
    assert (same_found & same_class).sum() / same_class.sum() < 0.3


def test_the_same_seed_gives_the_same_groups() -> None:
    features_MD = np.random.default_rng(0).normal(size=(30, 10))
    labels_M = np.arange(30) % 3
    first, second = (group_by_look(features_MD, labels_M, seed=5) for _ in range(2))
    assert (first == second).all()


def test_few_videos_that_look_the_same() -> None:
    assert group_by_look(np.ones((5, 3)), np.array([0, 0, 1, 1, 1]), seed=0).shape == (5,)
