from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from vidcli.runtime import memory
from vidcli.runtime.memory import free_memory, keep_freed_memory, usual_memory

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems have another allocator"
)

# Three tensors of 40 MiB at a time, which glibc gives back at once if it is left alone (it keeps some of
# smaller ones, or not, by where they lie); counts the pages that came anew.
FAULTS = """
import resource, sys
import torch
from vidcli.runtime import memory as allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        kept = [torch.zeros(10 << 20) for _ in range(3)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def usual():
    with allocator.usual_memory():
        return faults()

if "keep" in sys.argv:
    assert allocator.keep_freed_memory()
for _ in range(2):
    faults()
at_first, between = faults(), usual()
faults()
print(at_first, between, faults())
"""


def count_faults(*arguments: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


@linux
def test_what_is_freed_is_there_for_what_comes_next() -> None:
    pages = 4 * 3 * (40 << 20) // resource.getpagesize()
    kept, usual, kept_again = count_faults("keep")
    assert kept < pages / 5
    assert usual > pages / 5
    assert kept_again < pages / 5
    assert count_faults()[0] > pages / 5  # nobody asked for it


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
    with usual_memory():
        pass


def test_free_memory_is_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    whole = free_memory()
    assert 10**7 < whole <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory() == pytest.approx(whole / 4, rel=0.3)


def test_a_system_that_tells_nothing_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(memory.Path, "exists", lambda path: False)
    monkeypatch.setattr(memory, "_container_memory", lambda: iter(()))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert free_memory() == 2 << 30
