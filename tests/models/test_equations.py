"""Layers against their published equations, written out again in float64 NumPy.

Shape suffixes: B batch, T frames, N = B * T, C channels, H W pixels, E width, U units.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from vidcli.config import ModelConfig
from vidcli.models.attentive import AttentiveHead, grid_positions
from vidcli.models.backbones import build_simple_cnn
from vidcli.models.heads import (
    FrameAttention,
    RecurrentHead,
    TransformerLayer,
    dot_product_attention,
    sinusoidal_positions,
)
from vidcli.models.shift import temporal_shift

WIDTH, HIDDEN, CLASSES = 9, 8, 3


def to_numpy(tensor):
    return tensor.detach().double().numpy()


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def scramble(module):
    """Give every parameter, biases included, a value that an equation cannot overlook."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.double().eval()


def recurrent_head(kind, **settings):
    config = ModelConfig(width=WIDTH, hidden=HIDDEN, **settings)
    return scramble(RecurrentHead(config, CLASSES, kind))


def features(num_clips=2, num_frames=5):
    return torch.randn(num_clips, num_frames, WIDTH, generator=torch.Generator().manual_seed(1)).double()


def layer_weights(head, layer, suffix=""):
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [to_numpy(getattr(head.recurrent, f"{name}_l{layer}{suffix}")) for name in names]


def rnn_steps(x_TE, weights):
    """h_t = tanh(W [h_{t-1}, x_t] + b), h before frame 0 zero."""
    w_x, w_h, b_x, b_h = weights
    w_UV, b_U = np.concatenate([w_h, w_x], axis=1), b_x + b_h
    h_U, steps = np.zeros(len(w_h)), []
    for x_E in x_TE:
        h_U = np.tanh(w_UV @ np.concatenate([h_U, x_E]) + b_U)
        steps.append(h_U)
    return np.stack(steps)


def lstm_steps(x_TE, weights):
    """Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates i, f, g, o."""
    w_x, w_h, b_x, b_h = weights
    h, c, steps = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for x_E in x_TE:
        i, f, g, o = np.split(w_x @ x_E + b_x + w_h @ h + b_h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.stack(steps)


def gru_steps(x_TE, weights):
    """Cho et al. 2014, with the reset gate after the recurrent product; gates r, z, n."""
    w_x, w_h, b_x, b_h = weights
    h, steps = np.zeros(HIDDEN), []
    for x_E in x_TE:
        x_r, x_z, x_n = np.split(w_x @ x_E + b_x, 3)
        h_r, h_z, h_n = np.split(w_h @ h + b_h, 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        h = (1 - z) * np.tanh(x_n + r * h_n) + z * h
        steps.append(h)
    return np.stack(steps)


STEPS = {nn.RNN: rnn_steps, nn.LSTM: lstm_steps, nn.GRU: gru_steps}


def classify(head, last_BU):
    return last_BU @ to_numpy(head.output.weight).T + to_numpy(head.output.bias)


@pytest.mark.parametrize("kind", STEPS)
def test_two_recurrent_layers_follow_their_equation(kind):
    head, x_BTE = recurrent_head(kind, layers=2), features()
    last = []
    for x_TE in to_numpy(x_BTE):
        for layer in range(2):
            x_TE = STEPS[kind](x_TE, layer_weights(head, layer))
        last.append(x_TE[-1])
    np.testing.assert_allclose(to_numpy(head(x_BTE)), classify(head, np.stack(last)), rtol=1e-10)


@pytest.mark.parametrize("kind", STEPS)
def test_bidirectional_joins_last_forward_and_first_backward_state(kind):
    head, x_BTE = recurrent_head(kind, bidirectional=True), features()
    last = []
    for x_TE in to_numpy(x_BTE):
        forward_U = STEPS[kind](x_TE, layer_weights(head, 0))[-1]
        backward_U = STEPS[kind](x_TE[::-1], layer_weights(head, 0, "_reverse"))[-1]
        last.append(np.concatenate([forward_U, backward_U]))
    np.testing.assert_allclose(to_numpy(head(x_BTE)), classify(head, np.stack(last)), rtol=1e-10)


def test_attention_weights_sum_to_one_over_the_frames_looked_at():
    x_BTE = features()
    context_BTE, weights_BTT = dot_product_attention(x_BTE)
    x = to_numpy(x_BTE)
    expected_context = np.zeros_like(x)
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            a_j = softmax(np.array([x[b, i] @ x[b, j] for j in range(x.shape[1])]), axis=0)
            np.testing.assert_allclose(to_numpy(weights_BTT[b, i]), a_j, rtol=1e-10)
            expected_context[b, i] = sum(a_j[j] * x[b, j] for j in range(x.shape[1]))
    np.testing.assert_allclose(to_numpy(context_BTE), expected_context, rtol=1e-10)
    # The matrix of dot products is symmetric, its softmax is not: the wrong axis would show here.
    assert not torch.allclose(weights_BTT.sum(dim=1), torch.ones(2, 5).double())


def test_frame_attention_normalises_scales_and_scales_back():
    attention, x_BTE = scramble(FrameAttention(WIDTH)), features()
    x = to_numpy(x_BTE)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + attention.norm.eps)
    normed = normed * to_numpy(attention.norm.weight) + to_numpy(attention.norm.bias)
    weights = softmax(normed @ normed.transpose(0, 2, 1) / np.sqrt(WIDTH), axis=2)
    context_BTE, weights_BTT = attention(x_BTE)
    np.testing.assert_allclose(to_numpy(weights_BTT), weights, rtol=1e-10)
    np.testing.assert_allclose(to_numpy(context_BTE), weights @ normed, rtol=1e-10)


def test_transformer_layer_equals_torchs():
    ours = scramble(TransformerLayer(WIDTH, HIDDEN, attention_heads=3, dropout=0.0))
    theirs = nn.TransformerEncoderLayer(
        WIDTH, 3, HIDDEN, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    renamed = {
        "norm1.": "norm1.",
        "query_key_value.": "self_attn.in_proj_",
        "mix.": "self_attn.out_proj.",
        "norm2.": "norm2.",
        "expand.": "linear1.",
        "contract.": "linear2.",
    }
    theirs.load_state_dict(
        {
            new + end: ours.state_dict()[old + end]
            for old, new in renamed.items()
            for end in ("weight", "bias")
        }
    )
    x_BTE = features()
    out_BTE, weights_BATT = ours(x_BTE)
    expected_BTE = theirs.double().train()(x_BTE)  # without dropout, training is the plain path
    torch.testing.assert_close(out_BTE, expected_BTE, rtol=1e-10, atol=1e-10)
    assert weights_BATT.shape == (2, 3, 5, 5)
    torch.testing.assert_close(weights_BATT.sum(dim=3), torch.ones(2, 3, 5).double())


def test_sinusoidal_positions():
    positions_TE = sinusoidal_positions(6, WIDTH).numpy()  # an odd width: the last cosine has no place
    assert positions_TE.shape == (6, WIDTH)
    for t in range(6):
        for i in range(WIDTH):
            angle = t / 10_000 ** ((i - i % 2) / WIDTH)
            assert positions_TE[t, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-5)


def test_simple_cnn_convolves_cuts_at_zero_and_takes_the_maximum():
    backbone = scramble(build_simple_cnn(3))
    frame_CHW = np.random.default_rng(0).normal(size=(3, 6, 8))
    weight, bias = to_numpy(backbone.conv1.weight), to_numpy(backbone.conv1.bias)
    padded = np.pad(frame_CHW, ((0, 0), (1, 1), (1, 1)))
    convolved = np.zeros((32, 6, 8))
    for row in range(6):
        for column in range(8):
            patch = padded[:, row : row + 3, column : column + 3]
            convolved[:, row, column] = (weight * patch).sum(axis=(1, 2, 3)) + bias
    rectified = np.maximum(convolved, 0)
    pooled = rectified.reshape(32, 3, 2, 4, 2).max(axis=(2, 4))
    first_stage = nn.Sequential(*list(backbone)[:3])(torch.from_numpy(frame_CHW)[None])
    np.testing.assert_allclose(to_numpy(first_stage[0]), pooled, rtol=1e-10, atol=1e-12)
    assert backbone(torch.from_numpy(frame_CHW)[None]).shape == (1, 64, 1, 2)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_temporal_shift_is_the_loop(num_frames, layout):
    x_NCHW = torch.randn(3 * num_frames, 19, 2, 4, generator=torch.Generator().manual_seed(0))
    expected = np.zeros(x_NCHW.shape)
    x, fold = x_NCHW.numpy(), 19 // 8
    for clip in range(3):
        for t in range(num_frames):
            n = clip * num_frames + t
            if t > 0:
                expected[n, :fold] = x[n - 1, :fold]
            if t < num_frames - 1:
                expected[n, fold : 2 * fold] = x[n + 1, fold : 2 * fold]
            expected[n, 2 * fold :] = x[n, 2 * fold :]
    shifted_NCHW = temporal_shift(x_NCHW.contiguous(memory_format=layout), num_frames)
    np.testing.assert_array_equal(shifted_NCHW.numpy(), expected)
    assert shifted_NCHW.is_contiguous(memory_format=torch.channels_last)


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return x * to_numpy(norm.weight) + to_numpy(norm.bias)


def gelu(x):
    erf = np.vectorize(math.erf)
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def linear(x, layer):
    return x @ to_numpy(layer.weight).T + to_numpy(layer.bias)


def test_queries_gather_by_their_equation():
    """y_q = query_q + sum over l of a_ql v_l, a = softmax(q k / sqrt(e)); then y + MLP(norm(y)), averaged."""
    config = ModelConfig(width=12, hidden=HIDDEN, attention_heads=3, queries=2)
    head = scramble(AttentiveHead(config, CLASSES))
    tokens_BTPE = torch.randn(2, 5, 4, 12, generator=torch.Generator().manual_seed(1)).double()
    positions_TPE = to_numpy(grid_positions(5, 4, 12))
    logits = []
    for tokens_TPE in to_numpy(tokens_BTPE):
        tokens_LE = layer_norm((tokens_TPE + positions_TPE).reshape(20, 12), head.norm1)
        queries_QE = to_numpy(head.queries_QE)
        query_QE = linear(queries_QE, head.query)
        key_LE, value_LE = np.split(linear(tokens_LE, head.key_value), 2, axis=1)
        y_QE = queries_QE.copy()
        for start in range(0, 12, 4):
            part = slice(start, start + 4)
            weights_QL = softmax(query_QE[:, part] @ key_LE[:, part].T / 2.0, axis=1)
            y_QE[:, part] += weights_QL @ value_LE[:, part]
        y_QE += linear(gelu(linear(layer_norm(y_QE, head.norm2), head.expand)), head.contract)
        logits.append(linear(y_QE.mean(0), head.output))
    np.testing.assert_allclose(to_numpy(head(tokens_BTPE)), np.stack(logits), rtol=1e-6)


def test_grid_positions_tell_time_row_and_column():
    """(sin, cos) of t / 10000^(2i / width) for time, then for the row, then for the column."""
    positions_TPE = to_numpy(grid_positions(3, 4, 12))
    for time, place in np.ndindex(3, 4):
        expected = []
        for position in (time, place // 2, place % 2):
            rates = 10_000.0 ** (-np.arange(0, 4, 2) / 4)
            expected += [f(position * rate) for rate in rates for f in (np.sin, np.cos)]
        np.testing.assert_allclose(positions_TPE[time, place], expected, atol=1e-6)
