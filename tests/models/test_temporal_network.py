"""A network over time goes into plain values and comes back, and sees as far as it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidcli.models.temporal_network import (
    NUM_MOTIONS,
    REACH,
    TemporalNetwork,
    seconds_seen,
)
from vidcli.models.temporal_weights import pack_network


@pytest.fixture(scope="module")
def network() -> TemporalNetwork:
    torch.manual_seed(0)
    return pack_network(TemporalNetwork(3, 8, uses_motion=True, dropout=0.5)).build(3)


def test_plain_values_give_the_same_network(network: TemporalNetwork):
    again = pack_network(network).build(3)
    rng = np.random.default_rng(0)
    cells, motion = rng.dirichlet(np.ones(3), 50), rng.normal(size=(50, NUM_MOTIONS))
    refined = network.refine(cells, motion)
    np.testing.assert_array_equal(again.refine(cells, motion), refined)
    np.testing.assert_allclose(refined.sum(axis=1), 1)
    assert not np.allclose(network.refine(cells, 0 * motion), refined)


def test_a_cell_depends_on_those_within_reach_and_no_others(network: TemporalNetwork):
    motion = np.zeros((4 * REACH, NUM_MOTIONS))
    cells = np.full((4 * REACH, 3), 1 / 3)
    other = cells.copy()
    other[2 * REACH] = [1, 0, 0]
    changed = np.flatnonzero((network.refine(cells, motion) != network.refine(other, motion)).any(axis=1))
    assert (changed[0], changed[-1]) == (REACH, 3 * REACH)
    assert seconds_seen(0.1) == 14  # 131 cells


def test_weights_of_another_network_are_refused(network: TemporalNetwork):
    with pytest.raises(ValueError, match=r"temporal network with .* weights, expected"):
        pack_network(network).build(4)
