"""A network over time goes into plain values, and what computes these sees as it does, as far as it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidcli.models.cell_refiner import NUM_MOTIONS, REACH, CellRefiner, cell_inputs, seconds_seen
from vidcli.models.temporal_network import TemporalNetwork
from vidcli.models.temporal_weights import pack_network


def make(uses_motion: bool) -> TemporalNetwork:
    """Return a network whose parameters are all drawn, and which half precision holds."""
    torch.manual_seed(0)
    network = TemporalNetwork(3, 8, uses_motion, dropout=0.5).eval()
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter).mul(0.5).half().float()
    return network


@pytest.fixture(scope="module")
def refiner() -> CellRefiner:
    return pack_network(make(uses_motion=True)).build(3)


@pytest.mark.parametrize("uses_motion", [True, False])
@pytest.mark.parametrize("num_cells", [1, 50, 200])
def test_plain_values_answer_as_the_network_in_double_precision(num_cells: int, uses_motion: bool):
    network = make(uses_motion)
    rng = np.random.default_rng(0)
    cells = rng.dirichlet(np.full(3, 0.3), num_cells)
    motion = 3 * rng.normal(size=(num_cells, NUM_MOTIONS))
    inputs = torch.from_numpy(cell_inputs(cells, motion if uses_motion else None)).double()
    with torch.inference_mode():
        expected = network.double()(inputs.T[None])[0].softmax(0).T.numpy()
    refined = pack_network(network).build(3).refine(cells, motion)
    np.testing.assert_allclose(refined, expected, atol=1e-6)
    np.testing.assert_allclose(refined.sum(axis=1), 1)
    assert num_cells == 1 or refined.std() > 0.1


def test_a_network_sees_motion_where_it_uses_it(refiner: CellRefiner):
    cells, motion = np.full((50, 3), 1 / 3), np.random.default_rng(0).normal(size=(50, NUM_MOTIONS))
    assert not np.allclose(refiner.refine(cells, 0 * motion), refiner.refine(cells, motion))


def test_a_cell_depends_on_those_within_reach_and_no_others(refiner: CellRefiner):
    motion = np.zeros((4 * REACH, NUM_MOTIONS))
    cells = np.full((4 * REACH, 3), 1 / 3)
    other = cells.copy()
    other[2 * REACH] = [1, 0, 0]
    changed = np.flatnonzero((refiner.refine(cells, motion) != refiner.refine(other, motion)).any(axis=1))
    assert (changed[0], changed[-1]) == (REACH, 3 * REACH)
    assert seconds_seen(0.1) == 14  # 131 cells


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"temporal network with .* weights, expected"):
        pack_network(make(uses_motion=True)).build(4)
