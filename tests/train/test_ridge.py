from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from vidcli.train.ridge import Block, answer, leave_one_out, linear_layer, linear_scores, solve, standardise

STRENGTH = 0.7


def random_blocks(seed: int) -> tuple[list[Block], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    values = [rng.normal(3, rng.uniform(0.1, 5, size), (12, size)) for size in (5, 9)]
    targets_NK = np.where(rng.integers(0, 3, 12)[:, None] == np.arange(3), 1.0, -0.5)
    weights_N = rng.uniform(0.5, 2, 12)
    return [standardise(torch.from_numpy(part)) for part in values], targets_NK, weights_N


def primal(blocks: list[Block], targets_NK: npt.NDArray[np.float64], weights_N: npt.NDArray[np.float64]):
    """Solve the weighted least squares over weights and bias directly, in float64."""
    rows = [(b.values_ND.numpy() - b.mean_D.double().numpy()) * b.scale_D.double().numpy() for b in blocks]
    design = np.concatenate([*rows], axis=1) / len(blocks) ** 0.5
    design = np.concatenate([design, np.ones((len(design), 1))], axis=1)
    penalty = STRENGTH * weights_N.mean() * np.eye(design.shape[1])
    penalty[-1, -1] = 0  # the bias is free
    weighted = design.T * weights_N
    return design, np.linalg.solve(weighted @ design + penalty, weighted @ targets_NK)


@pytest.mark.parametrize("seed", range(3))
def test_equals_weighted_least_squares(seed: int) -> None:
    blocks, targets_NK, weights_N = random_blocks(seed)
    kernel_NN = np.mean([block.products() for block in blocks], axis=0)
    solution = solve(kernel_NN, targets_NK, weights_N, STRENGTH)
    scores = answer(kernel_NN, kernel_NN, weights_N, solution)
    design, expected = primal(blocks, targets_NK, weights_N)
    np.testing.assert_allclose(scores, design @ expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_linear_layer_gives_the_same_scores(seed: int) -> None:
    blocks, targets_NK, weights_N = random_blocks(seed)
    kernel_NN = np.mean([block.products() for block in blocks], axis=0)
    solution = solve(kernel_NN, targets_NK, weights_N, STRENGTH)
    weight_KD, bias_K = linear_layer(blocks, weights_N, solution)
    values_ND = torch.cat([block.values_ND.float() for block in blocks], dim=1)
    expected = answer(kernel_NN, kernel_NN, weights_N, solution)
    np.testing.assert_allclose((values_ND @ weight_KD.T + bias_K).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(linear_scores(blocks, weight_KD, bias_K), expected, atol=1e-4)


def test_many_columns_are_computed_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, targets_NK, weights_N = random_blocks(0)
    kernel_NN = np.mean([block.products() for block in blocks], axis=0)
    solution = solve(kernel_NN, targets_NK, weights_N, STRENGTH)
    weight_KD, bias_K = linear_layer(blocks, weights_N, solution)
    scores = linear_scores(blocks, weight_KD, bias_K)
    values = [block.values_ND.clone() for block in blocks]
    monkeypatch.setattr("vidcli.train.ridge._COLUMNS_AT_ONCE", 3)
    parts = linear_layer(blocks, weights_N, solution)
    torch.testing.assert_close(parts, (weight_KD, bias_K))
    np.testing.assert_allclose(linear_scores(blocks, *parts), scores, atol=1e-5)
    np.testing.assert_allclose(np.mean([b.products() for b in blocks], axis=0), kernel_NN, atol=1e-5)
    # Nothing is changed in place.
    assert all(torch.equal(block.values_ND, kept) for block, kept in zip(blocks, values, strict=True))


def test_all_rows_are_the_block_itself() -> None:
    blocks, _, _ = random_blocks(0)
    rows = np.arange(len(blocks[0].values_ND))
    assert blocks[0].of(rows) is blocks[0]
    assert torch.equal(blocks[0].of(rows[::-1].copy()).values_ND, blocks[0].values_ND.flip(0))


def test_each_block_counts_the_same() -> None:
    blocks, _, _ = random_blocks(0)
    for block in blocks:
        assert np.diag(block.products()).mean() == pytest.approx(1)


def test_a_constant_feature_counts_for_nothing() -> None:
    values_ND = torch.tensor([[1.0, 7.0], [2.0, 7.0], [4.0, 7.0]])
    alone = standardise(values_ND[:, :1])
    np.testing.assert_allclose(standardise(values_ND).products(), alone.products(), atol=1e-5)


def test_features_that_never_change_give_an_empty_kernel() -> None:
    block = standardise(torch.full((3, 4), 2.0))
    assert not block.products().any()
    assert torch.isfinite(block.scale_D).all()


def test_rows_are_left_out_as_if_solved_anew() -> None:
    blocks, targets_NK, weights_N = random_blocks(0)
    kernel_NN = sum(block.products() for block in blocks) / len(blocks)
    left_out = leave_one_out(kernel_NN, targets_NK, weights_N, STRENGTH)
    for row in range(len(kernel_NN)):
        others = np.arange(len(kernel_NN)) != row
        own, weights = kernel_NN[np.ix_(others, others)], weights_N[others]
        # The strength counts in mean weights, which change when a row goes.
        strength = STRENGTH * weights_N.mean() / weights.mean()
        solution = solve(own, targets_NK[others], weights, strength)
        expected = answer(kernel_NN[row, others][None], own, weights, solution)[0]
        np.testing.assert_allclose(left_out[row], expected, atol=1e-9)


def test_some_rows_are_standardised_as_all_were() -> None:
    block = standardise(torch.from_numpy(np.random.default_rng(0).normal(3, 2, (9, 20))))
    rows = np.array([7, 1, 4])
    np.testing.assert_allclose(block.of(rows).products(), block.products()[np.ix_(rows, rows)], rtol=1e-5)
