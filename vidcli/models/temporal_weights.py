"""A network over the cells of a timeline as plain values, which go where the description of a model goes."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vidcli.models.cell_refiner import CellRefiner, shapes_of

if TYPE_CHECKING:
    from vidcli.models.temporal_network import TemporalNetwork

_MOST_CHANNELS = 512


@dataclass(frozen=True)
class TemporalWeights:
    """A network over cells as plain values.

    Attributes:
        channels: C.
        uses_motion: cells also say how the box of the subject moves.
        weights: its float16 parameters in their order, little-endian, in base64.
    """

    channels: int
    uses_motion: bool
    weights: str

    def build(self, num_classes: int) -> CellRefiner:
        """Return what computes the network.

        Raises:
            ValueError: the weights are not those of such a network.
        """
        if not 1 <= self.channels <= _MOST_CHANNELS:
            raise ValueError(f"a temporal network of {self.channels} channels")
        shapes = shapes_of(num_classes, self.channels, self.uses_motion)
        sizes = [math.prod(shape) for shape in shapes]
        try:
            values = np.frombuffer(base64.b64decode(self.weights, validate=True), "<f2")
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"weights of a temporal network that cannot be read ({error})") from error
        if len(values) != sum(sizes) or not np.isfinite(values).all():
            raise ValueError(
                f"a temporal network with {len(values)} weights, expected {sum(sizes)} finite ones"
            )
        parts = np.split(values.astype(np.float32), np.cumsum(sizes)[:-1])
        parameters = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return CellRefiner(parameters, self.uses_motion)


def pack_network(network: TemporalNetwork) -> TemporalWeights:
    """Return a network as plain values."""
    import torch

    flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).cpu().numpy()
    packed = base64.b64encode(flat.astype("<f2").tobytes()).decode()
    return TemporalWeights(network.output.in_features, network.uses_motion, packed)
