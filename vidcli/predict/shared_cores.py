"""Share what a model computes out to the cores: each computes a batch by itself, and waits for no other.

Where all cores share each operation of a small network, they wait for one another at the end of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor

from vidcli.arrays import Frames
from vidcli.runtime.threads import compute_alone, computing_alone


class SharedCores:
    """The cores of this machine, or the one device that computes everything.

    Attributes:
        count: how many compute at the same time.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = count = torch.get_num_threads() if device.type == "cpu" else 1
        self._cores = ThreadPoolExecutor(count, "vidcli-model", compute_alone) if count > 1 else None

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Compute without gradients; what is left for this thread itself takes one core.

        That is copying, which takes less time than cores wait for each other.
        """
        with torch.inference_mode(), nullcontext() if self._cores is None else computing_alone():
            yield

    def each(self, work: Sequence[tuple[Callable[..., Tensor], Frames | Tensor]]) -> list[Tensor]:
        """Return the result of each function of its input; on a CPU a core computes one by itself."""
        compute = torch.inference_mode()(lambda one: one[0](one[1]))
        return [*map(compute, work)] if self._cores is None else [*self._cores.map(compute, work)]


def parts_of(total: int, most: int) -> list[range]:
    """Return consecutive places of about the same number, `most` at most."""
    count = -(-total // most)
    edges = [total * number // count for number in range(count + 1)] if count else [0]
    return [range(start, end) for start, end in pairwise(edges)]
