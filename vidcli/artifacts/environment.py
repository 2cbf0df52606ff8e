"""Versions and hardware of a run, without the names of machine and user."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch

import vidcli
from vidcli.runtime.devices import describe_device
from vidcli.video import library_versions


def describe_environment(device: str) -> dict[str, str]:
    """Return versions and hardware by name; `device` is the device of the run, such as `cuda:0`."""
    return {
        "vidcli": vidcli.__version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        **library_versions(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "device": describe_device(device),
    }


def _processor() -> str:
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
