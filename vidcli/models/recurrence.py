"""Recurrent layers that survive export whole, for any number of frames.

Shape suffixes: T frames, B batch, E inputs, U units, G gates, D directions (1 or 2), S states
(layers times directions).

Tracing unrolls torch's own recurrences step by step, which fixes the number of frames. Here a layer
is one operator, and exporters write it as the one that ONNX has for it. Weights are kept in the
layout and gate order of ONNX:

    torch   GRU  reset update new          LSTM  input forget cell output
    ONNX    GRU  update reset new          LSTM  input output forget cell
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

_GATE_ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""For each gate of ONNX, which of torch's it is."""


@torch.library.custom_op("vidcli::recurrent_layer", mutates_args=())
def recurrent_layer(
    x_TBE: Tensor, weight_DGUE: Tensor, weight_DGUU: Tensor, bias_D2GU: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    """Run one recurrent layer from a zero state.

    Args:
        x_TBE: inputs.
        weight_DGUE: input weights (D, G * U, E), in ONNX's gate order.
        weight_DGUU: recurrent weights (D, G * U, U).
        bias_D2GU: input biases, then recurrent ones (D, 2 * G * U).
        kind: RNN (tanh), GRU or LSTM.

    Returns:
        states (T, D, B, U), and those after the last step in reading order (D, B, U).
    """
    units = weight_DGUU.shape[2]
    order = _GATE_ORDER[kind]
    to_torch = [order.index(gate) for gate in range(len(order))]

    def reorder(rows: Tensor) -> Tensor:
        return torch.unflatten(rows, 0, (len(order), units))[to_torch].flatten(0, 1).contiguous()

    weights: list[Tensor] = []
    for weight_GUE, weight_GUU, bias_2GU in zip(weight_DGUE, weight_DGUU, bias_D2GU, strict=True):
        biases = [reorder(half) for half in bias_2GU.chunk(2)]
        weights += [reorder(weight_GUE), reorder(weight_GUU), *biases]
    num_directions = weight_DGUE.shape[0]
    state_DBU = x_TBE.new_zeros(num_directions, x_TBE.shape[1], units)
    settings = (weights, True, 1, 0.0, False, num_directions == 2, False)
    if kind == "LSTM":
        states, last_DBU, _ = torch.lstm(x_TBE, (state_DBU, state_DBU), *settings)
    else:
        run = torch.gru if kind == "GRU" else torch.rnn_tanh
        states, last_DBU = run(x_TBE, state_DBU, *settings)
    states_TDBU = torch.unflatten(states, 2, (num_directions, units)).permute(0, 2, 1, 3)
    return states_TDBU.contiguous(), last_DBU.clone()


@recurrent_layer.register_fake
def _(
    x_TBE: Tensor, weight_DGUE: Tensor, weight_DGUU: Tensor, bias_D2GU: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    num_directions, units = weight_DGUU.shape[0], weight_DGUU.shape[2]
    num_frames, num_clips = x_TBE.shape[0], x_TBE.shape[1]
    return (
        x_TBE.new_empty(num_frames, num_directions, num_clips, units),
        x_TBE.new_empty(num_directions, num_clips, units),
    )


class ExportableRecurrence(nn.Module):
    """The layers of an RNN, LSTM or GRU that reads (B, T, E), as operators that export whole."""

    def __init__(self, recurrent: nn.RNN | nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.kind = "RNN" if recurrent.mode == "RNN_TANH" else recurrent.mode
        self.bidirectional = recurrent.bidirectional
        self.num_layers = recurrent.num_layers
        order = list(_GATE_ORDER[self.kind])
        directions = ("", "_reverse") if self.bidirectional else ("",)

        def stack(name: str, layer: int) -> Tensor:
            parts = [getattr(recurrent, f"{name}_l{layer}{end}").detach() for end in directions]
            gates = [torch.unflatten(part, 0, (len(order), recurrent.hidden_size))[order] for part in parts]
            return torch.stack([gate.flatten(0, 1) for gate in gates])

        for layer in range(self.num_layers):
            self.register_buffer(f"weight_ih_{layer}", stack("weight_ih", layer))
            self.register_buffer(f"weight_hh_{layer}", stack("weight_hh", layer))
            bias = torch.cat([stack("bias_ih", layer), stack("bias_hh", layer)], dim=1)
            self.register_buffer(f"bias_{layer}", bias)

    def forward(self, x_BTE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last layer's states (B, T, D * U), and the last states of all layers (S, B, U)."""
        x_TBE = x_BTE.transpose(0, 1)
        last = []
        for layer in range(self.num_layers):
            weights = (getattr(self, f"{name}_{layer}") for name in ("weight_ih", "weight_hh", "bias"))
            states_TDBU, last_DBU = recurrent_layer(x_TBE, *weights, self.kind)
            x_TBE = states_TDBU.transpose(1, 2).flatten(2)
            last.append(last_DBU)
        return x_TBE.transpose(0, 1), torch.cat(last)


def make_exportable(model: nn.Module) -> nn.Module:
    """Return a copy of a model, in evaluation mode, whose recurrent layers export whole."""
    exportable = copy.deepcopy(model).eval()
    for name, module in list(exportable.named_modules()):
        if isinstance(module, nn.RNN | nn.LSTM | nn.GRU):
            parent, _, attribute = name.rpartition(".")
            setattr(exportable.get_submodule(parent), attribute, ExportableRecurrence(module))
    return exportable
