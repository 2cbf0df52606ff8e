"""The processes of one run, as `torchrun` starts them; a run in one process is a group of one.

All processes of a group call the same methods in the same order: each waits until all have called. Only the
main process, rank 0, writes and prints.

    rank        number of a process among all    local rank   number among those on its machine
    share       part of the videos or of a batch: every R-th of R processes, starting at the rank

Values go over gloo on the CPU, gradients on a GPU over NCCL.
"""

from __future__ import annotations

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
from vidcli.runtime.compat import ignore_stride_warning
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
        """Return this process's part of the values; the parts of all processes hold each value once."""
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
        """Return the partner of each row of this process's part of a batch, from whichever process has it.

        Each process is sent only the rows that it needs.

        Args:
            values_B: this process's rows.
            partners: index of the partner of each row of the whole batch, the same in all processes. The rows
                of the batch are in the order that `gather_shares` gives.
            sizes: number of rows of each process, by rank.
        """
        if self.size == 1:
            return values_B[list(partners)]
        homes = sorted((row, rank) for rank, size in enumerate(sizes) for row in range(size))
        wanted: list[list[tuple[int, int]]] = [[] for _ in sizes]  # (row, rank), by the process that needs it
        for (_, rank), partner in zip(homes, partners, strict=True):
            wanted[rank].append(homes[partner])
        sent = [[row for row, home in rows if home == self.rank] for rows in wanted]
        sources = [home for _, home in wanted[self.rank]]
        arrives = sorted(range(len(sources)), key=sources.__getitem__)  # in the order of the senders
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
        """Return numbers of all processes, a row a rank; faster than `gather`."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, dtype=torch.float64)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _peers_ended():
            distributed.all_gather(parts, own)
        return [part.tolist() for part in parts]

    def largest(self, *numbers: float) -> list[float]:
        """Return the largest of each number over all processes; of a flag, whether it is set in any."""
        return [max(column) for column in zip(*self.gather_numbers(*numbers), strict=True)]

    def from_main(self, function: Callable[[], Value]) -> Value:
        """Run a function in the main process only, and return its result in all.

        Raises:
            VidcliError: in the main process, what the function raised.
            PeerError: in the other processes, where the function raised a VidcliError.
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
        """Return what to raise for an error of all processes, so that only the main one prints it."""
        return error if self.is_main else PeerError(error.exit_code)

    def first_on_each_machine(self, function: Callable[[], Value]) -> Value:
        """Run a function in one process of each machine, then in the others.

        The others then find on the disk what the first has downloaded.
        """
        results = [function()] if self.local_rank == 0 else []
        self.gather(None)
        return results[0] if results else function()

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients are averaged over all processes; the model itself in one process."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        return DistributedDataParallel(model)

    def copy_buffers(self, model: nn.Module) -> None:
        """Overwrite the buffers of a model, such as running statistics, by those of the main process."""
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
        # torchrun may keep its store when it starts processes again, with the addresses of the old ones.
        store = PrefixStore(f"vidcli/{group.size}/{num_restarts()}", store)
        distributed.init_process_group(backend, store=store, rank=group.rank, world_size=group.size)
    ignore_stride_warning()
    yield group
    # After an error the group is not destroyed: that would wait for processes that may be gone.
    distributed.destroy_process_group()


@contextmanager
def _peers_ended() -> Generator[None, None, None]:
    """Raise PeerError for what torch raises where another process is gone, which has said why itself."""
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
