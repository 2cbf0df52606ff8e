"""The processes of one run, as `torchrun` starts them; alone, a run is a group of one.

Everything in a group happens at the same place in every process: whoever asks the others something
waits until all have asked. The main process (rank 0) alone writes and prints.

    rank        which process of all           local rank   which on its machine
    share       of a batch, of the videos to check or to validate: every R-th, from the rank on

Control goes over gloo on the CPU, gradients over NCCL where they are on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from vidcli.errors import ConfigError, PeerError, VidcliError
from vidcli.runtime.launcher import all_ranks, num_processes, num_restarts

Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        local_rank: of this process among those of its machine.
        local_size: number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, values: Sequence[Value]) -> Sequence[Value]:
        """Return this process's part: the parts of all hold each value once."""
        return values[self.rank :: self.size]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _peers_ended():
            distributed.all_gather_object(values, value)
        return values

    def gather_shares(self, values: Sequence[Value]) -> list[Value]:
        """Undo `share`: return all values in their order."""
        shares = self.gather(list(values))
        merged = [share[row] for row in range(len(shares[0])) for share in shares if row < len(share)]
        assert len(merged) == sum(len(share) for share in shares)
        return merged

    def trade(self, values_B: Tensor, partners: Sequence[int], sizes: Sequence[int]) -> Tensor:
        """Return for each row of this process's part of a batch that of its partner, whoever has it.

        Each process is sent the rows that it asks for, and no others.

        Args:
            values_B: this process's rows.
            partners: a permutation of the rows of the whole batch, the same in all processes; the
                parts lie in it as `share` takes them.
            sizes: rows of each process, by rank.
        """
        if self.size == 1:
            return values_B[list(partners)]
        homes = sorted((row, rank) for rank, size in enumerate(sizes) for row in range(size))
        wanted: list[list[tuple[int, int]]] = [[] for _ in sizes]  # by each process, for each of its rows
        for (_, rank), partner in zip(homes, partners, strict=True):
            wanted[rank].append(homes[partner])
        sent = [[row for row, home in rows if home == self.rank] for rows in wanted]
        sources = [home for _, home in wanted[self.rank]]
        arrives = sorted(range(len(sources)), key=sources.__getitem__)  # ordered by who sends
        outgoing = values_B[[row for rows in sent for row in rows]].contiguous()
        incoming = outgoing.new_empty((len(sources), *values_B.shape[1:]))
        with _peers_ended():
            distributed.all_to_all_single(
                incoming, outgoing, [sources.count(rank) for rank in range(self.size)], list(map(len, sent))
            )
        traded_B = torch.empty_like(values_B)
        traded_B[arrives] = incoming
        return traded_B

    def gather_numbers(self, *numbers: float) -> list[list[float]]:
        """Return a few numbers of all processes, by rank; faster than `gather`."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, dtype=torch.float64)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _peers_ended():
            distributed.all_gather(parts, own)
        return [part.tolist() for part in parts]

    def largest(self, *numbers: float) -> list[float]:
        """Return the largest of each number over all processes; of a flag, whether any has raised it."""
        return [max(column) for column in zip(*self.gather_numbers(*numbers), strict=True)]

    def from_main(self, function: Callable[[], Value]) -> Value:
        """Run a function in the main process and return its result in all.

        Raises:
            VidcliError: what the function raised, in the main process.
            PeerError: in the others then.
        """
        if self.size == 1:
            return function()
        outcome: list[Any] = [None, None]
        failure: VidcliError | None = None
        if self.is_main:
            try:
                outcome[0] = function()
            except VidcliError as error:
                failure, outcome[1] = error, error.exit_code
        with _peers_ended():
            distributed.broadcast_object_list(outcome, src=0)
        if failure is not None:
            raise failure
        if outcome[1] is not None:
            raise PeerError(outcome[1])
        result: Value = outcome[0]
        return result

    def of_all(self, error: VidcliError) -> VidcliError:
        """Return what to raise for an error that all processes met: the main one alone tells it."""
        return error if self.is_main else PeerError(error.exit_code)

    def first_on_each_machine(self, function: Callable[[], Value]) -> Value:
        """Run a function in one process of each machine, then in the others.

        For what the first leaves on the machine's disk and the others only find.
        """
        results = [function()] if self.local_rank == 0 else []
        self.gather(None)
        return results[0] if results else function()

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients are averaged over all processes; alone, the model itself."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        return DistributedDataParallel(model)

    def copy_buffers(self, model: nn.Module) -> None:
        """Give all processes the running statistics of the main one."""
        if self.size > 1:
            with _peers_ended():
                for buffer in model.buffers():
                    distributed.broadcast(buffer, src=0)


ALONE = Group()
"""The group of a run in one process."""


@contextmanager
def join_group(device: torch.device) -> Generator[Group, None, None]:
    """Join the processes that `torchrun` started, until the body ends; otherwise be a group of one.

    Args:
        device: what this process computes on.

    Raises:
        ConfigError: the environment is not that of torchrun, or the device cannot be shared.
    """
    if num_processes() == 1:
        yield ALONE
        return
    group = Group(*all_ranks())
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device.type}: several processes need cuda or cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _peers_ended():
        store, _, _ = next(rendezvous("env://"))
        # torchrun may keep its store when it starts processes again, and with it the addresses of
        # those that are gone.
        store = PrefixStore(f"vidcli/{group.size}/{num_restarts()}", store)
        distributed.init_process_group(backend, store=store, rank=group.rank, world_size=group.size)
    # Of 1x1 convolutions in channels_last, whose strides are the same in any order.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    yield group
    # Not after an error: the others may be gone, and saying goodbye would wait for them.
    distributed.destroy_process_group()


@contextmanager
def _peers_ended() -> Generator[None, None, None]:
    """Translate what torch raises where another process is gone: that one says why."""
    try:
        yield
    except RuntimeError as error:
        if is_peer_failure(error):
            raise PeerError from error
        raise


def is_peer_failure(error: RuntimeError) -> bool:
    """Tell whether torch raised this because another process is gone."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or "gloo" in text or "nccl" in text
