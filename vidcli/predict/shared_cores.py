"""Share what a model computes out to the cores: each computes a batch by itself, and waits for no other.

Where all cores share each operation of a small network, they wait for one another at the end of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import TypeVar

from vidcli.runtime.threads import compute_alone, computing_alone, num_computing_threads

Input = TypeVar("Input")
Output = TypeVar("Output")


class SharedCores:
    """The cores of this machine, or the one device that computes everything.

    Attributes:
        count: how many compute at the same time.
    """

    def __init__(self, is_on_cpu: bool) -> None:
        """Start a thread a core.

        Args:
            is_on_cpu: whether the model computes there.
        """
        self.count = count = num_computing_threads() if is_on_cpu else 1
        self._cores = ThreadPoolExecutor(count, "vidcli-model", compute_alone) if count > 1 else None

    def sharing(self) -> AbstractContextManager[None]:
        """Let what is left for this thread itself take one core.

        That is copying, which takes less time than cores wait for each other.
        """
        return nullcontext() if self._cores is None else computing_alone()

    def each(self, work: Sequence[tuple[Callable[[Input], Output], Input]]) -> list[Output]:
        """Return the result of each function of its input; on a CPU a core computes one by itself."""
        return [*map(_compute, work)] if self._cores is None else [*self._cores.map(_compute, work)]


def _compute(one: tuple[Callable[[Input], Output], Input]) -> Output:
    function, value = one
    return function(value)


def parts_of(total: int, most: int) -> list[range]:
    """Return consecutive places of about the same number, `most` at most."""
    count = -(-total // most)
    edges = [total * number // count for number in range(count + 1)] if count else [0]
    return [range(start, end) for start, end in pairwise(edges)]
