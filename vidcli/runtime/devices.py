"""Which device to compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidcli.errors import DeviceError
from vidcli.runtime.launcher import local_rank, num_local_processes

if TYPE_CHECKING:
    import torch

CPU = "cpu"


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that `--device` names; auto takes CUDA, then Apple's mps, then the CPU.

    Of several processes that torchrun started on a machine, each gets a CUDA device of its own.

    Raises:
        DeviceError: the device is unknown or not there; says which are.
    """
    import torch

    num_processes = num_local_processes()
    if num_processes > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        num_devices = torch.cuda.device_count()
        if num_processes > num_devices:
            raise DeviceError(
                f"{num_processes} processes on a machine with {num_devices} CUDA devices: start at most "
                f"--nproc-per-node {num_devices}, or compute on the CPU with --device cpu"
            )
        return torch.device("cuda", local_rank())
    if num_processes > 1 and name.startswith("cuda:"):
        raise DeviceError(f"--device {name}: of several processes each takes its own; say --device cuda")
    if name == "auto":
        return torch.device(available_devices()[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in {torch.device(known).type for known in available_devices()} or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise DeviceError(
            f"--device {name}: not found on this machine; there is {', '.join(available_devices())}"
        )
    return device


def available_devices() -> list[str]:
    """Return the devices of this machine, the fastest kind first; the CPU is always the last."""
    import torch

    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def describe_device(name: str) -> str:
    """Return a device with its product name, such as `cuda:0 (NVIDIA H200)`."""
    import torch

    if name.startswith("cuda"):
        return f"{name} ({torch.cuda.get_device_name(name)})"
    if name == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return name
