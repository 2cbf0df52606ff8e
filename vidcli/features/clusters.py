"""What embeddings have in common: nearest neighbours and clusters, by the angle between vectors.

Sources: k-means++ (Arthur and Vassilvitskii 2007); spherical k-means (Dhillon and Modha 2001).

Shape suffixes: N videos, E numbers of an embedding, M neighbours, K clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidcli.arrays import Float32, Float64, Int64

_RESTARTS = 8
_MAX_STEPS = 100
_ROWS_AT_ONCE = 1024


def normalise(vectors_NE: Float32) -> Float64:
    """Return vectors less their mean, each of length one; equal vectors stay zero.

    Features after an activation share a large common part, beside which all angles are small.
    """
    centred_NE = vectors_NE.astype(np.float64) - vectors_NE.mean(0, dtype=np.float64)
    lengths_N1 = np.linalg.norm(centred_NE, axis=1, keepdims=True)
    return np.asarray(centred_NE / np.where(lengths_N1 > 1e-12, lengths_N1, 1.0))


def find_neighbours(vectors_NE: Float32, num_neighbours: int) -> tuple[Int64, Float64]:
    """Return the nearest other videos of each video and their cosine similarities, both (N, M).

    Args:
        vectors_NE: embeddings.
        num_neighbours: M; fewer where there are fewer other videos.
    """
    unit_NE = normalise(vectors_NE)
    most = min(num_neighbours, len(unit_NE) - 1)
    found, similar = [], []
    for start in range(0, len(unit_NE), _ROWS_AT_ONCE):
        similarity_BN = unit_NE[start : start + _ROWS_AT_ONCE] @ unit_NE.T
        rows = np.arange(len(similarity_BN))
        similarity_BN[rows, start + rows] = -np.inf
        order_BM = np.argsort(-similarity_BN, axis=1, kind="stable")[:, :most]
        found.append(order_BM)
        similar.append(np.take_along_axis(similarity_BN, order_BM, axis=1))
    return np.concatenate(found), np.concatenate(similar)


def share_of_like_neighbours(
    vectors_NE: Float32, labels: Sequence[str], groups: Sequence[str | None]
) -> tuple[float, int]:
    """Return how often the nearest video of another group has the same label, and for how many videos.

    Args:
        vectors_NE: embeddings.
        labels: the class of each video.
        groups: the group of each video; a video without one is a group of its own.
    """
    unit_NE = normalise(vectors_NE)
    names = [f"g{group}" if group is not None else f"v{n}" for n, group in enumerate(groups)]
    _, group_N = np.unique(names, return_inverse=True)
    _, label_N = np.unique(labels, return_inverse=True)
    same, num_asked = 0, 0
    for row in range(len(unit_NE)):
        others_N = group_N != group_N[row]
        if others_N.any():
            similarity_N = np.where(others_N, unit_NE @ unit_NE[row], -np.inf)
            same += int(label_N[similarity_N.argmax()] == label_N[row])
            num_asked += 1
    return (same / num_asked if num_asked else 0.0), num_asked


def form_clusters(vectors_NE: Float32, num_clusters: int, seed: int = 0) -> tuple[Int64, Float64]:
    """Return the cluster of each video, from 0 and the largest first, and its similarity to the centre.

    Args:
        vectors_NE: embeddings.
        num_clusters: K, at most N.
        seed: of the first centres.

    Raises:
        ValueError: there are more clusters than videos.
    """
    if not 1 <= num_clusters <= len(vectors_NE):
        raise ValueError(f"{num_clusters} clusters of {len(vectors_NE)} videos")
    unit_NE, rng = normalise(vectors_NE), np.random.default_rng(seed)
    tries = [_run_k_means(unit_NE, _first_centres(unit_NE, num_clusters, rng)) for _ in range(_RESTARTS)]
    cluster_N, similarity_N = max(tries, key=lambda found: float(found[1].sum()))
    order_K = np.argsort(-np.bincount(cluster_N, minlength=num_clusters), kind="stable")
    return np.argsort(order_K)[cluster_N], similarity_N


def _first_centres(unit_NE: Float64, num_clusters: int, rng: np.random.Generator) -> Float64:
    """Draw centres among the vectors, those far from the centres so far more often (k-means++)."""
    chosen = [int(rng.integers(len(unit_NE)))]
    while len(chosen) < num_clusters:
        distance_N = np.clip(1 - (unit_NE @ unit_NE[chosen].T).max(1), 0, None)
        distance_N[chosen] = 0
        total = distance_N.sum()
        left = np.setdiff1d(np.arange(len(unit_NE)), chosen)
        probabilities_N = (
            distance_N / total if total > 0 else np.isin(np.arange(len(unit_NE)), left) / len(left)
        )
        chosen.append(int(rng.choice(len(unit_NE), p=probabilities_N)))
    return unit_NE[chosen]


def _run_k_means(unit_NE: Float64, centres_KE: Float64) -> tuple[Int64, Float64]:
    cluster_N = np.full(len(unit_NE), -1)
    for _ in range(_MAX_STEPS):
        similarity_NK = unit_NE @ centres_KE.T
        nearest_N = similarity_NK.argmax(1)
        for cluster in np.setdiff1d(np.arange(len(centres_KE)), nearest_N):
            # A cluster without videos takes the one that is farthest from its own centre.
            sizes_K = np.bincount(nearest_N, minlength=len(centres_KE))
            own_N = np.where(sizes_K[nearest_N] > 1, similarity_NK.max(1), np.inf)
            nearest_N[own_N.argmin()] = cluster
        if (nearest_N == cluster_N).all():
            break
        cluster_N = nearest_N
        sums_KE = np.stack([unit_NE[cluster_N == cluster].sum(0) for cluster in range(len(centres_KE))])
        lengths_K1 = np.linalg.norm(sums_KE, axis=1, keepdims=True)
        centres_KE = sums_KE / np.where(lengths_K1 > 1e-12, lengths_K1, 1.0)
    return cluster_N, (unit_NE * centres_KE[cluster_N]).sum(1)
