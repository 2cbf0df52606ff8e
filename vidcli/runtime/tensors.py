"""Tensors: files of them that torch wrote, read without running anything in them; tensors without values."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vidcli.runtime.files import open_regular


def load_plain_tensors(path: str | os.PathLike[str]) -> Any:
    """Return what torch saved in a file: tensors, numbers, strings and containers of them only.

    Raises:
        ValueError: it holds more than it says, as only a file made to fill the memory does.
        Exception: it is missing, damaged or holds objects; torch raises what its readers raise.
    """
    with open_regular(path) as file:
        return read_plain_tensors(file)


def read_plain_tensors(file: IO[bytes]) -> Any:
    """Return what torch saved in an open file, or in bytes that were read already; see `load_plain_tensors`.

    Raises:
        ValueError: it holds more than it says, as only a file made to fill the memory does.
        Exception: it is damaged or holds objects; torch raises what its readers raise.
    """
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("holds compressed parts, which torch does not write")
        if sum(entry.file_size for entry in entries) > file.seek(0, io.SEEK_END):
            raise ValueError("holds parts larger than itself")
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within this, layers are built of tensors that have types and shapes, no values, and take no memory.

    To draw random numbers for such tensors, torch would load its compiler, which takes two seconds.
    """
    with torch.device("meta"), _WithoutFilling():
        yield


_FILL = {Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.exponential_}


class _WithoutFilling(TorchFunctionMode):
    """Leaves tensors as they are where they would be filled with random numbers."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILL or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
