"""Convolutions by oneDNN, against those of torch in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from vidcli.models.direct_convolution import convolve_directly

CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "one place": (lambda: nn.Conv2d(8, 16, 1), (4, 8, 12, 9)),
    "no bias": (lambda: nn.Conv2d(8, 16, 3, padding=1, bias=False), (1, 8, 12, 9)),
    "strides and gaps": (lambda: nn.Conv2d(4, 4, 3, stride=2, dilation=2, padding=(2, 1)), (2, 4, 15, 9)),
    "each channel alone": (lambda: nn.Conv2d(8, 8, 5, padding=2, groups=8), (2, 8, 12, 9)),
    "over time": (lambda: nn.Conv3d(16, 32, 3, padding=1), (1, 16, 4, 10, 10)),
    "one place and moment": (lambda: nn.Conv3d(16, 8, 1), (1, 16, 4, 6, 5)),
}


@pytest.fixture
def direct_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of channels of each convolution that was given to oneDNN directly."""
    calls: list[int] = []
    convolve = torch.mkldnn_convolution

    def counted(values: torch.Tensor, *others: object) -> torch.Tensor:
        calls.append(values.shape[1])
        return convolve(values, *others)

    monkeypatch.setattr(torch, "mkldnn_convolution", counted)
    return calls


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("layout", ["channels last", "channels first"])
def test_the_answer_is_that_of_the_equation(kind: str, layout: str, direct_calls: list[int]) -> None:
    build, shape = CONVOLUTIONS[kind]
    torch.manual_seed(0)
    network, values = nn.Sequential(build(), nn.ReLU()), torch.rand(shape) - 0.5
    if layout == "channels last":
        last = torch.channels_last if values.dim() == 4 else torch.channels_last_3d
        values = values.contiguous(memory_format=last)
    expected = copy.deepcopy(network).double()(values.double())
    names = list(network.state_dict())
    convolve_directly(network)
    with torch.inference_mode():
        torch.testing.assert_close(network(values), expected.float(), atol=1e-5, rtol=1e-4)
    assert direct_calls == [shape[1]]
    assert list(network.state_dict()) == names


def test_what_is_learnt_or_reduced_is_computed_as_ever(direct_calls: list[int]) -> None:
    network, values = nn.Sequential(nn.Conv2d(3, 4, 1)), torch.rand(2, 3, 5, 5)
    convolve_directly(network)
    network(values).sum().backward()
    weight = network[0].weight
    assert isinstance(weight, nn.Parameter)
    assert weight.grad is not None
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            assert network(values).dtype == torch.bfloat16
        assert network(values[:0]).shape == (0, 4, 5, 5)
        assert network(values[0]).shape == (4, 5, 5)
        assert copy.deepcopy(network).double()(values.double()).dtype == torch.float64
    assert direct_calls == []
    exported = torch.export.export(network.eval(), (values,)).module()
    torch.testing.assert_close(exported(values), network(values))
    assert direct_calls == []


def test_other_borders_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding="same"), nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
    )
    convolve_directly(network)
    assert [type(layer) for layer in network] == [nn.Conv2d, nn.Conv2d]
