"""Neighbours and clusters of embeddings, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from vidcli.features import clusters
from vidcli.features.clusters import find_neighbours, form_clusters, normalise, share_of_like_neighbours


def blobs(sizes=(12, 8, 5), spread=0.05, seed=0):
    """Return vectors around well separated directions, and which each belongs to."""
    rng = np.random.default_rng(seed)
    centres = np.eye(len(sizes), 6) * 3 + 10  # far from zero, as features after an activation are
    which = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[which] + rng.normal(0, spread, (len(which), 6))).astype(np.float32), which


def test_neighbours_are_the_nearest_others():
    vectors, which = blobs()
    found, similar = find_neighbours(vectors, 4)
    assert found.shape == similar.shape == (25, 4)
    assert (which[found] == which[:, None]).all()
    assert all(row not in found[row] for row in range(25))
    assert (np.diff(similar, axis=1) <= 0).all()
    unit = normalise(vectors)
    assert np.allclose(similar, np.take_along_axis(unit @ unit.T, found, 1))


def test_neighbours_in_blocks_are_the_same(monkeypatch):
    vectors, _ = blobs()
    whole = find_neighbours(vectors, 3)
    monkeypatch.setattr(clusters, "_ROWS_AT_ONCE", 4)
    blocked = find_neighbours(vectors, 3)
    assert np.array_equal(whole[0], blocked[0])
    assert np.allclose(whole[1], blocked[1])


def test_there_are_no_more_neighbours_than_videos():
    vectors, _ = blobs((2, 1))
    assert find_neighbours(vectors, 10)[0].shape == (3, 2)


def test_like_neighbours_are_sought_in_other_groups():
    # Two videos a recording that are nearly the same; a recording has one label, its look-alike another.
    vectors = np.array(
        [[1, 0, 0], [1, 0.01, 0], [1, 0.3, 0], [1, 0.31, 0], [-5, 0, 1], [-5, 0, 1.1]], np.float32
    )
    labels, groups = ["a", "a", "b", "b", "a", "a"], ["x", "x", "y", "y", "z", "z"]
    with_leak, _ = share_of_like_neighbours(vectors, labels, [None] * 6)
    honest, num_asked = share_of_like_neighbours(vectors, labels, groups)
    assert with_leak == 1
    assert honest < 0.5
    assert num_asked == 6
    assert share_of_like_neighbours(vectors, labels, ["one"] * 6) == (0, 0)


def test_clusters_are_found_and_the_largest_comes_first():
    vectors, which = blobs()
    found, similar = form_clusters(vectors, 3)
    assert (found == which).all()
    assert similar.min() > 0.9
    again, _ = form_clusters(vectors, 3)
    assert np.array_equal(found, again)


@pytest.mark.parametrize("num_clusters", [1, 4, 25])
def test_every_cluster_has_a_video(num_clusters):
    vectors, _ = blobs()
    found, _ = form_clusters(vectors, num_clusters)
    assert set(found) == set(range(num_clusters))


def test_equal_vectors_can_be_clustered():
    found, _ = form_clusters(np.ones((5, 3), np.float32), 3)
    assert set(found) == {0, 1, 2}


def test_more_clusters_than_videos_are_a_mistake():
    with pytest.raises(ValueError, match="4 clusters of 3 videos"):
        form_clusters(np.eye(3, dtype=np.float32), 4)
