"""Kernel ridge regression: the best linear answer to frozen features, in closed form.

    kernel_NN = mean over blocks of (x - mean) / spread . (x' - mean) / spread, each with a mean diagonal of 1
    coefficients_NK = (centred kernel + strength / weights)^-1 (targets - mean target)

With many more features than videos, the kernel of the videos is smaller than the covariance of the features,
and every fold of a cross-validation and every combination of blocks is a part of it: trying another costs
milliseconds. The solution is turned into the weights of a linear layer (Saunders et al. 1998).

Shape suffixes: N rows (videos, and mirrored ones), M rows to answer, D features of a block, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Float64, Int64

_LEAST_SPREAD = 1e-3
"""The least spread of a feature, as a share of the mean spread of its block: others hardly ever change."""
_COLUMNS_AT_ONCE = 2048
"""Features that are in memory in another precision than they are kept in."""


@dataclass(frozen=True)
class Block:
    """Features that are standardised together, such as those of one stream.

    Attributes:
        values_ND: features; float16 is enough.
        mean_D: mean of each feature.
        scale_D: what its difference from the mean is multiplied by.
    """

    values_ND: Tensor
    mean_D: Tensor
    scale_D: Tensor

    def of(self, rows: Int64) -> Block:
        """Return the block of some rows, standardised as all were."""
        is_all = len(rows) == len(self.values_ND) and bool((rows == np.arange(len(rows))).all())
        return self if is_all else replace(self, values_ND=self.values_ND[rows])

    def products(self) -> Float64:
        """Return the kernel (N, N): products of all pairs of rows.

        That of a row with itself is 1 in the mean of all rows that were standardised.
        """
        num_rows = len(self.values_ND)
        kernel_NN = torch.zeros(num_rows, num_rows, dtype=torch.float64)
        for part in self.standard_parts():
            kernel_NN += part @ part.T
        return np.asarray(kernel_NN.numpy())

    def standard_parts(self) -> Iterator[Tensor]:
        """Yield the standardised features, float32, some columns at a time."""
        for values, mean, scale in zip(
            torch.split(self.values_ND, _COLUMNS_AT_ONCE, dim=1),
            torch.split(self.mean_D, _COLUMNS_AT_ONCE),
            torch.split(self.scale_D, _COLUMNS_AT_ONCE),
            strict=True,
        ):
            yield values.to(torch.float32, copy=True).sub_(mean).mul_(scale)


def standardise(values_ND: Tensor) -> Block:
    """Return a block of features.

    Args:
        values_ND: features, of any floating type.
    """
    columns = torch.split(values_ND, _COLUMNS_AT_ONCE, dim=1)
    mean_D = torch.cat([part.float().mean(dim=0) for part in columns])
    spread_D = torch.cat([part.float().std(dim=0, correction=0) for part in columns])
    floor = _LEAST_SPREAD * float(spread_D.square().mean().sqrt())
    scale_D = 1 / (spread_D + max(floor, torch.finfo(torch.float32).tiny ** 0.5))
    block = Block(values_ND, mean_D, scale_D)
    size = sum(float(part.square().sum()) for part in block.standard_parts()) / len(values_ND) or 1.0
    return replace(block, scale_D=scale_D / size**0.5)


def solve(
    kernel_NN: Float64, targets_NK: Float64, weights_N: Float64, strength: float
) -> tuple[Float64, Float64]:
    """Return the coefficients (N, K) of the rows, which are centred, and the weighted mean target (K,).

    Args:
        kernel_NN: of the rows to learn from.
        targets_NK: their targets.
        weights_N: how much each row counts.
        strength: of the regularisation: 1 takes as much noise for granted as there is signal.
    """
    shares_N = weights_N / weights_N.sum()
    mean_N = shares_N @ kernel_NN
    centred_NN = kernel_NN - mean_N[None] - mean_N[:, None] + mean_N @ shares_N
    mean_K = shares_N @ targets_NK
    noise_NN = np.diag(strength * weights_N.mean() / weights_N)
    return np.linalg.solve(centred_NN + noise_NN, targets_NK - mean_K), mean_K


def answer(
    cross_MN: Float64, kernel_NN: Float64, weights_N: Float64, solution: tuple[Float64, Float64]
) -> Float64:
    """Return the scores (M, K) of rows that were not learnt from.

    Args:
        cross_MN: products of these rows with those learnt from.
        kernel_NN: of the rows learnt from.
        weights_N: as in `solve`.
        solution: what `solve` returned.
    """
    shares_N = weights_N / weights_N.sum()
    mean_N = shares_N @ kernel_NN
    centred_MN = cross_MN - (cross_MN @ shares_N)[:, None] - mean_N[None] + mean_N @ shares_N
    coefficients_NK, mean_K = solution
    return np.asarray(centred_MN @ coefficients_NK + mean_K)


def leave_one_out(kernel_NN: Float64, targets_NK: Float64, weights_N: Float64, strength: float) -> Float64:
    """Return the scores (N, K) of each row by a solution that has not learnt from it, without solving again.

    The residual of a row that is left out is its residual over one less its own influence (Allen 1974).

    Args:
        kernel_NN: of the rows to learn from.
        targets_NK: their targets.
        weights_N: how much each row counts.
        strength: as in `solve`.
    """
    influence_NN = answer(
        kernel_NN, kernel_NN, weights_N, solve(kernel_NN, np.eye(len(kernel_NN)), weights_N, strength)
    )
    residual_NK = targets_NK - influence_NN @ targets_NK
    return np.asarray(targets_NK - residual_NK / (1 - influence_NN.diagonal())[:, None])


def linear_layer(
    blocks: Sequence[Block], weights_N: Float64, solution: tuple[Float64, Float64]
) -> tuple[Tensor, Tensor]:
    """Return weight (K, D) and bias (K,) of the linear layer that answers as a solution does.

    Args:
        blocks: whose mean kernel was solved; D counts the features of all of them.
        weights_N: as in `solve`.
        solution: what `solve` returned.
    """
    coefficients_NK, mean_K = solution
    shares_N = torch.from_numpy(weights_N / weights_N.sum())
    coefficients = torch.from_numpy(coefficients_NK)
    weight_parts: list[Tensor] = []
    bias_K = torch.from_numpy(mean_K).clone()
    for block in blocks:
        for values, mean, scale in zip(
            torch.split(block.values_ND, _COLUMNS_AT_ONCE, dim=1),
            torch.split(block.mean_D.double(), _COLUMNS_AT_ONCE),
            torch.split(block.scale_D.double(), _COLUMNS_AT_ONCE),
            strict=True,
        ):
            standard = values.to(torch.float64, copy=True).sub_(mean).mul_(scale)
            centre = shares_N @ standard
            weight_KD = coefficients.T @ standard.sub_(centre) / len(blocks) * scale
            bias_K -= weight_KD @ (mean + centre / scale)
            weight_parts.append(weight_KD.float())
    return torch.cat(weight_parts, dim=1), bias_K.float()


def linear_scores(blocks: Sequence[Block], weight_KD: Tensor, bias_K: Tensor) -> Float64:
    """Return the scores (N, K) that a linear layer gives the rows of blocks.

    Args:
        blocks: as in `linear_layer`.
        weight_KD: of the layer.
        bias_K: of the layer.
    """
    columns = [part for block in blocks for part in torch.split(block.values_ND, _COLUMNS_AT_ONCE, dim=1)]
    weights = torch.split(weight_KD, [part.shape[1] for part in columns], dim=1)
    scores_NK = bias_K.double().repeat(len(columns[0]), 1)
    for part_ND, part_KD in zip(columns, weights, strict=True):
        scores_NK += part_ND.float() @ part_KD.T
    return np.asarray(scores_NK.numpy())
