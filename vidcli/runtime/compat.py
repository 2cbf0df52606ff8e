"""Private or fragile interfaces of other libraries, each behind one function.

A docstring says which versions the function was tried with. `tests/runtime/test_compat.py` fails when one of
the interfaces changes or goes. This module imports no heavy library before a function needs it.
"""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm


def run_exit_functions() -> None:
    """Call the functions that were registered with `atexit`, as the interpreter does when it ends.

    Tried with CPython 3.11. `atexit._run_exitfuncs` is private.
    """
    atexit._run_exitfuncs()


def is_batchnorm(module: object) -> TypeGuard[_BatchNorm]:
    """Tell whether a module is BatchNorm of any number of dimensions, SyncBatchNorm included.

    Tried with torch 2.14.1. The common base class `_BatchNorm` is private.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    return isinstance(module, _BatchNorm)


def copy_tensors(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    """Overwrite each target by its source; all at once, which is ten times as fast for small tensors.

    Tried with torch 2.14.1. `torch._foreach_copy_` is private.

    Args:
        targets: tensors that are overwritten.
        sources: tensors of the same number and shapes.
    """
    import torch

    if targets := list(targets):
        torch._foreach_copy_(targets, list(sources))


def compiler_error_type() -> type[Exception]:
    """Return the type of the errors that `torch.compile` raises where it cannot compile a model.

    Tried with torch 2.14.1. `torch._dynamo.exc` is private.
    """
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


def ignore_stride_warning() -> None:
    """Silence a warning of DistributedDataParallel about weights of 1x1 convolutions in channels_last.

    Their strides differ although the order in memory is the same. Tried with torch 2.14.1; the message of
    the warning may change.
    """
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
