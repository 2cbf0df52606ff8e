"""A network over the cells of a timeline as plain values; torch is imported where it is built of them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vidcli.models.temporal_network import TemporalNetwork

_MOST_CHANNELS = 512


@dataclass(frozen=True)
class TemporalWeights:
    """A network over cells as plain values, which go wherever the description of a model goes.

    Attributes:
        channels: C.
        uses_motion: cells also say how the box of the subject moves.
        weights: its float16 parameters in their order, little-endian, in base64.
    """

    channels: int
    uses_motion: bool
    weights: str

    def build(self, num_classes: int) -> TemporalNetwork:
        """Return the network.

        Raises:
            ValueError: the weights are not those of such a network.
        """
        if not 1 <= self.channels <= _MOST_CHANNELS:
            raise ValueError(f"a temporal network of {self.channels} channels")
        import torch

        from vidcli.models.temporal_network import TemporalNetwork

        network = TemporalNetwork(num_classes, self.channels, self.uses_motion).eval()
        sizes = [parameter.numel() for parameter in network.parameters()]
        try:
            values = np.frombuffer(base64.b64decode(self.weights, validate=True), "<f2")
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"weights of a temporal network that cannot be read ({error})") from error
        if len(values) != sum(sizes) or not np.isfinite(values).all():
            raise ValueError(
                f"a temporal network with {len(values)} weights, expected {sum(sizes)} finite ones"
            )
        parts = torch.split(torch.from_numpy(values.astype(np.float32)), sizes)
        with torch.no_grad():
            for parameter, part in zip(network.parameters(), parts, strict=True):
                parameter.copy_(part.view_as(parameter))
        return network


def pack_network(network: TemporalNetwork) -> TemporalWeights:
    """Return a network as plain values."""
    import torch

    flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).cpu().numpy()
    packed = base64.b64encode(flat.astype("<f2").tobytes()).decode()
    return TemporalWeights(network.output.in_features, network.uses_motion, packed)
