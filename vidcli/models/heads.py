"""Heads: from the features of a clip's frames (B, T, E) to logits (B, K), for any T >= 1.

Shape suffixes: B batch, T frames, E width (features a frame), U units, K classes, A attention
heads, e features of one attention head (E / A).

Every head is built from the settings and the number of classes. Logits go to the softmax
of the loss as they are; no activation follows the last linear layer.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError

RecurrentState: TypeAlias = "Tensor | tuple[Tensor, Tensor]"
"""What a recurrent network keeps from frame to frame (layers, B, U); an LSTM's has two parts."""


def dot_product_attention(x_BTE: Tensor) -> tuple[Tensor, Tensor]:
    """Let every frame gather the frames that resemble it.

        a_ij = softmax over j of x_i · x_j        context_i = sum over j of a_ij x_j

    Returns:
        context_BTE, and weights_BTT whose rows (i) sum to one over their columns (j).
    """
    weights_BTT = torch.softmax(x_BTE @ x_BTE.transpose(1, 2), dim=2)
    return weights_BTT @ x_BTE, weights_BTT


def sinusoidal_positions(num_frames: int, width: int) -> Tensor:
    """Return positions_TE: sines and cosines of falling frequency (Vaswani et al. 2017).

    They need no training and exist for every T, also beyond those seen in training.
    """
    frame_T1 = torch.arange(num_frames, dtype=torch.float32)[:, None]
    rate_h = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    angles_Th = frame_T1 * rate_h
    return torch.stack([angles_Th.sin(), angles_Th.cos()], dim=2).flatten(1)[:, :width]


class MeanHead(nn.Module):
    """Average over time, then a linear layer: blind to the order of frames."""

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.output = build_output(config.width, num_classes)

    def forward(self, features_BTE: Tensor) -> Tensor:
        """Return logits_BK."""
        logits_BK: Tensor = self.output(features_BTE.mean(dim=1))
        return logits_BK


class RecurrentHead(nn.Module):
    """A recurrent network whose last state is classified; the state before frame 0 is zero.

    `bidirectional` joins the state after the last frame with the state that, reading backwards,
    is reached after the first one: both have seen the whole clip.

    Args:
        config: width, hidden, layers, bidirectional, dropout (between layers).
        num_classes: K.
        kind: nn.RNN, h_t = tanh(W [h_{t-1}, x_t] + b); or nn.LSTM or nn.GRU.
    """

    def __init__(
        self, config: ModelConfig, num_classes: int, kind: type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]
    ) -> None:
        super().__init__()
        self.recurrent = kind(
            config.width,
            config.hidden,
            num_layers=config.layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        _initialise_recurrent(self.recurrent)
        self.output = build_output(config.hidden * (2 if config.bidirectional else 1), num_classes)

    @property
    def is_one_way(self) -> bool:
        """Whether the network reads forward only, so that it can go on as frames come."""
        return not self.recurrent.bidirectional

    def forward(self, features_BTE: Tensor) -> Tensor:
        """Return logits_BK."""
        _, state = self.recurrent(features_BTE)
        return self._classify(state)

    def advance(self, features_BTE: Tensor, state: RecurrentState | None) -> tuple[Tensor, RecurrentState]:
        """Read frames that follow; return logits_BK of all so far, and the state to go on from.

        Args:
            features_BTE: the next frames, one or more.
            state: what the call before returned; None before frame 0.

        Raises:
            ValueError: the network reads backwards too, from an end that is not there yet.
        """
        if not self.is_one_way:
            raise ValueError("a bidirectional network cannot go on: it reads from the end as well")
        _, following = self.recurrent(features_BTE, state)
        return self._classify(following), following

    def _classify(self, state: RecurrentState) -> Tensor:
        """Return logits_BK of the last layer's state."""
        state_SBU = state[0] if isinstance(state, tuple) else state
        if self.recurrent.bidirectional:  # the last layer's two directions come last
            last_BU = torch.cat([state_SBU[-2], state_SBU[-1]], dim=1)
        else:
            last_BU = state_SBU[-1]
        logits_BK: Tensor = self.output(last_BU)
        return logits_BK


class FrameAttention(nn.Module):
    """Dot-product attention over layer-normalised features, scaled by E^-1/4.

    Raw dot products grow with E and would saturate the softmax at once. With both factors scaled
    by E^-1/4 those of unrelated frames are of order one, a frame's with itself is sqrt(E), and the
    norm's gain learns how sharp to be. The context is scaled back.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scale = width**-0.25

    def forward(self, features_BTE: Tensor) -> tuple[Tensor, Tensor]:
        """Return context_BTE and weights_BTT, whose rows sum to one."""
        context_BTE, weights_BTT = dot_product_attention(self.norm(features_BTE) * self.scale)
        return context_BTE / self.scale, weights_BTT

    def frame_weights(self, features_BTE: Tensor) -> Tensor:
        """Return weights_BT: the mean attention each frame receives; a clip's sum to one."""
        weights_BTT: Tensor = self(features_BTE)[1]
        return weights_BTT.mean(dim=1)


class AttentionHead(nn.Module):
    """Attention contexts averaged over time, then a linear layer: blind to the order of frames."""

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.attention = FrameAttention(config.width)
        self.output = build_output(config.width, num_classes)

    def forward(self, features_BTE: Tensor) -> Tensor:
        """Return logits_BK."""
        context_BTE, _ = self.attention(features_BTE)
        logits_BK: Tensor = self.output(context_BTE.mean(dim=1))
        return logits_BK

    def frame_weights(self, features_BTE: Tensor) -> Tensor:
        """Return weights_BT: the mean attention each frame receives; a clip's sum to one."""
        return self.attention.frame_weights(features_BTE)


class AttentionRnnHead(nn.Module):
    """Attention contexts read by a tanh recurrence, whose last state is classified."""

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.attention = FrameAttention(config.width)
        self.rnn = RecurrentHead(config, num_classes, nn.RNN)

    def forward(self, features_BTE: Tensor) -> Tensor:
        """Return logits_BK."""
        context_BTE, _ = self.attention(features_BTE)
        logits_BK: Tensor = self.rnn(context_BTE)
        return logits_BK

    def frame_weights(self, features_BTE: Tensor) -> Tensor:
        """Return weights_BT: the mean attention each frame receives; a clip's sum to one."""
        return self.attention.frame_weights(features_BTE)


class TransformerLayer(nn.Module):
    """Self-attention and a two-layer network, each normalised first and added to its input.

    Written out, not torch's: that one switches to a fused kernel in evaluation, which exporters
    do not know and which hides the attention weights. The numbers are the same.
    """

    def __init__(self, width: int, hidden: int, attention_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_heads = attention_heads
        self.norm1 = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.query_key_value, self.mix, self.expand, self.contract):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BTE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new x_BTE and weights_BATT, whose rows sum to one."""
        qkv_3BATe = (
            self.query_key_value(self.norm1(x_BTE))
            .unflatten(2, (3, self.attention_heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        query_BATe, key_BATe, value_BATe = qkv_3BATe.unbind(0)
        scale = query_BATe.shape[-1] ** -0.5
        weights_BATT = torch.softmax(query_BATe @ key_BATe.transpose(2, 3) * scale, dim=3)
        gathered_BTE = (weights_BATT @ value_BATe).transpose(1, 2).flatten(2)
        x_BTE = x_BTE + self.dropout(self.mix(gathered_BTE))
        expanded_BTU = self.dropout(F.gelu(self.expand(self.norm2(x_BTE))))
        return x_BTE + self.dropout(self.contract(expanded_BTU)), weights_BATT


class TransformerHead(nn.Module):
    """Transformer layers over frames with sinusoidal positions, averaged over time.

    `model.hidden` is the width of the layers' two-layer networks.

    Raises:
        ConfigError: the attention heads cannot share the width equally.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        require_equal_shares(config)
        self.layers = nn.ModuleList(
            TransformerLayer(config.width, config.hidden, config.attention_heads, config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = build_output(config.width, num_classes)

    def forward(self, features_BTE: Tensor) -> Tensor:
        """Return logits_BK."""
        x_BTE, _ = self._encode(features_BTE)
        logits_BK: Tensor = self.output(self.norm(x_BTE).mean(dim=1))
        return logits_BK

    def frame_weights(self, features_BTE: Tensor) -> Tensor:
        """Return weights_BT: the mean attention each frame receives in the last layer.

        The mean is over attention heads and over the frames that look; a clip's sum to one.
        """
        return self._encode(features_BTE)[1].mean(dim=(1, 2))

    def _encode(self, features_BTE: Tensor) -> tuple[Tensor, Tensor]:
        positions_TE = sinusoidal_positions(features_BTE.shape[1], features_BTE.shape[2])
        x_BTE = features_BTE + positions_TE.to(features_BTE)
        weights_BATT = torch.empty(0)
        for layer in self.layers:
            x_BTE, weights_BATT = layer(x_BTE)
        return x_BTE, weights_BATT


def require_equal_shares(config: ModelConfig) -> None:
    """Refuse a width that the attention heads cannot share equally.

    Raises:
        ConfigError: names a number of heads that could.
    """
    if config.width % config.attention_heads:
        raise ConfigError(
            f"model.attention_heads is {config.attention_heads} and does not divide model.width, "
            f"{config.width}. Choose a divisor, such as {math.gcd(config.attention_heads, config.width)}."
        )


def build_output(num_inputs: int, num_classes: int) -> nn.Linear:
    """Build the last layer; without a bias at first, so that no class starts ahead."""
    output = nn.Linear(num_inputs, num_classes)
    nn.init.zeros_(output.bias)
    return output


def _initialise_recurrent(recurrent: nn.RNN | nn.LSTM | nn.GRU) -> None:
    """Start gates balanced and memory lossless.

    Input weights are Xavier's and recurrent ones orthogonal, each gate by itself; biases are zero
    but the LSTM's forget gate, which starts open (Jozefowicz et al. 2015).
    """
    units = recurrent.hidden_size
    for name, parameter in recurrent.named_parameters():
        if name.startswith("weight_ih"):
            for gate_UE in torch.split(parameter.detach(), units):
                nn.init.xavier_uniform_(gate_UE)
        elif name.startswith("weight_hh"):
            for gate_UU in torch.split(parameter.detach(), units):
                nn.init.orthogonal_(gate_UU)
        else:
            nn.init.zeros_(parameter)
            if isinstance(recurrent, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(parameter.detach()[units : 2 * units])  # gates: input, forget, cell, output
