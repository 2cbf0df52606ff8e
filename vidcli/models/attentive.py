"""The attentive head: learnt queries look at every cell of every frame.

Shape suffixes: B batch, T frames, P places a frame, E width (features a cell), Q queries, K classes, A
attention heads, e features of one attention head (E / A), L = T * P tokens of a clip.

    tokens_BTPE + positions of time, row and column
      │ self-attention layers over all tokens, one fewer than `model.layers`
    tokens_BLE
      │ queries_QE gather them:    a = softmax of (W_q query)·(W_k norm(token)) / sqrt(e)
      │                            y = query + sum of a (W_v norm(token))
      │                            y = y + MLP(norm(y))
    mean over queries, linear layer
      │
    logits_BK

Source: the attentive probe of V-JEPA 2 (arXiv:2506.09985, section 5), which has one query and three layers of
self-attention. Its cross-attention has no projection after it; its tokens bring their positions, ours do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.models.heads import (
    TransformerLayer,
    build_output,
    require_equal_shares,
    sinusoidal_positions,
)


class CellTokens(nn.Module):
    """Make each cell of a frame a token: cells_BTF, F = D * P, to tokens_BTPD."""

    def __init__(self, num_places: int) -> None:
        super().__init__()
        self.num_places = num_places

    def forward(self, cells_BTF: Tensor) -> Tensor:
        """Return tokens_BTPD."""
        return torch.unflatten(cells_BTF, 2, (-1, self.num_places)).transpose(2, 3)


class AttentiveHead(nn.Module):
    """Learnt queries that gather from all cells of all frames, then a linear layer.

    `model.hidden` is the width of the two-layer networks.

    Raises:
        ConfigError: the attention heads cannot share the width equally.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        require_equal_shares(config)
        width, self.attention_heads = config.width, config.attention_heads
        self.layers = nn.ModuleList(
            TransformerLayer(width, config.hidden, config.attention_heads, config.dropout)
            for _ in range(config.layers - 1)
        )
        self.queries_QE = nn.Parameter(torch.empty(config.queries, width))
        nn.init.trunc_normal_(self.queries_QE, std=0.02)
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, config.hidden)
        self.contract = nn.Linear(config.hidden, width)
        self.dropout = nn.Dropout(config.dropout)
        for linear in (self.query, self.key_value, self.expand, self.contract):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.output = build_output(width, num_classes)

    def forward(self, tokens_BTPE: Tensor) -> Tensor:
        """Return logits_BK; (B, T, E) is taken for one token a frame."""
        gathered_BQE, _ = self._gather(tokens_BTPE)
        expanded_BQU = self.dropout(F.gelu(self.expand(self.norm2(gathered_BQE))))
        gathered_BQE = gathered_BQE + self.dropout(self.contract(expanded_BQU))
        logits_BK: Tensor = self.output(gathered_BQE.mean(dim=1))
        return logits_BK

    def frame_weights(self, tokens_BTPE: Tensor) -> Tensor:
        """Return weights_BT: the attention that the cells of each frame receive; a clip's sum to one.

        The mean is over attention heads and queries.
        """
        weights_BL = self._gather(tokens_BTPE)[1].mean(dim=(1, 2))
        return torch.unflatten(weights_BL, 1, (tokens_BTPE.shape[1], -1)).sum(dim=2)

    def _gather(self, tokens_BTPE: Tensor) -> tuple[Tensor, Tensor]:
        """Return gathered_BQE, queries included, and weights_BAQL, whose rows sum to one."""
        if tokens_BTPE.dim() == 3:
            tokens_BTPE = tokens_BTPE.unsqueeze(2)
        positions_TPE = grid_positions(*tokens_BTPE.shape[1:])
        tokens_BLE = (tokens_BTPE + positions_TPE.to(tokens_BTPE)).flatten(1, 2)
        for layer in self.layers:
            tokens_BLE, _ = layer(tokens_BLE)
        key_value_2BALe = (
            self.key_value(self.norm1(tokens_BLE))
            .unflatten(2, (2, self.attention_heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        key_BALe, value_BALe = key_value_2BALe.unbind(0)
        query_AQe = self.query(self.queries_QE).unflatten(1, (self.attention_heads, -1)).transpose(0, 1)
        scale = query_AQe.shape[-1] ** -0.5
        weights_BAQL = torch.softmax(query_AQe @ key_BALe.transpose(2, 3) * scale, dim=3)
        context_BQE = (weights_BAQL @ value_BALe).transpose(1, 2).flatten(2)
        return self.queries_QE + context_BQE, weights_BAQL


def grid_positions(num_frames: int, num_places: int, width: int) -> Tensor:
    """Return positions_TPE of the cells of square grids: sines and cosines of time, row and column.

    Row and column have a third of the features each, time the rest.

    Args:
        num_frames: T.
        num_places: P, a square number.
        width: E.
    """
    side, share = round(num_places**0.5), width // 3
    time_TE = sinusoidal_positions(num_frames, width - 2 * share)
    place_SE = sinusoidal_positions(side, share)
    return torch.cat(
        [
            time_TE[:, None].expand(-1, num_places, -1),
            place_SE.repeat_interleave(side, 0).expand(num_frames, -1, -1),
            place_SE.repeat(side, 1).expand(num_frames, -1, -1),
        ],
        dim=2,
    )
