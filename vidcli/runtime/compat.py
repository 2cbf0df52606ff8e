"""Private or fragile interfaces of other libraries, each behind one function.

A docstring says which versions the function was tried with. `tests/runtime/test_compat.py` fails when one of
the interfaces changes or goes. This module imports no heavy library before a function needs it.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import logging
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm


def run_exit_functions() -> None:
    """Wait for threads, and call what was registered with `atexit`, as the interpreter does when it ends.

    Tried with CPython 3.11. `threading._shutdown` and `atexit._run_exitfuncs` are private.
    """
    threading._shutdown()  # type: ignore[attr-defined]
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


def onnx_messages() -> ModuleType:
    """Return the classes of ONNX's messages (`ModelProto` and the like), without the rest of its library.

    The rest brings NumPy's further types and a C++ library, which take three times as long to import. Tried
    with onnx 1.23; that its package keeps the classes in `onnx_ml_pb2.py` is private.

    Raises:
        ImportError: ONNX is not installed.
    """
    name = "onnx.onnx_ml_pb2"
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("onnx")
    if package is None or not package.submodule_search_locations:
        raise ImportError("there is no package of that name")
    (folder, *_) = package.submodule_search_locations
    spec = importlib.util.spec_from_file_location(name, Path(folder) / "onnx_ml_pb2.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module  # for the library, should it be imported later
    return module


def compiler_error_type() -> type[Exception]:
    """Return the type of the errors that `torch.compile` raises where it cannot compile a model.

    Tried with torch 2.14.1. `torch._dynamo.exc` is private.
    """
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


@contextmanager
def compiler_unloaded() -> Iterator[None]:
    """Within this, import torchvision or timm without torch's compiler, which takes two seconds to load.

    They ask two things of it: torchvision for one function that its RoI align calls, which no model here
    uses, and `torch.jit.ignore` to keep methods of timm from being compiled that describe a network and are
    no part of its computation. Whatever else is asked loads the compiler. Tried with torch 2.14.1,
    torchvision 0.29 and timm 1.0.31; `torch._dynamo` is private.
    """
    names = ("torch._dynamo", "torch._dynamo.utils")
    if not any(name in sys.modules for name in names):
        sys.modules.update({name: _CompilerUnloaded(name) for name in names})
    try:
        yield
    finally:
        _forget_stand_ins()


class _CompilerUnloaded(ModuleType):
    """Stands in for a module of torch's compiler."""

    def __getattr__(self, name: str) -> Any:
        if name == "disable":
            return lambda function, *_, **__: function
        if name == "is_compile_supported":
            return lambda *args: getattr(importlib.import_module(self.__name__), name)(*args)
        if name.startswith("__"):
            raise AttributeError(name)
        _forget_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def _forget_stand_ins() -> None:
    # In a list first, since other threads may import meanwhile.
    for name, module in list(sys.modules.items()):
        if isinstance(module, _CompilerUnloaded):
            del sys.modules[name]


def ignore_stride_warning() -> None:
    """Silence a warning of DistributedDataParallel about weights of 1x1 convolutions in channels_last.

    Their strides differ although the order in memory is the same. Tried with torch 2.14.1; the message of
    the warning may change.
    """
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")


def google_file_system() -> type[Any]:
    """Return gcsfs's file system without what asks Google by gRPC for the kind of each bucket.

    That one prints a warning for every file where there are no credentials. It also asks six times for what
    fails, in half a minute that nothing can interrupt; this one asks once. Tried with gcsfs 2026.10.
    `_request` is private.
    """
    from gcsfs.core import GCSFileSystem

    asked_once = getattr(GCSFileSystem._request, "__wrapped__", GCSFileSystem._request)
    return type("GoogleFileSystem", (GCSFileSystem,), {"_request": asked_once})


def ask_azure_once(system: Any) -> None:
    """Keep a file system of adlfs from asking four times for what fails, in a minute without an answer.

    Tried with adlfs 2026.8 and azure-storage-blob 12.31. `_config` is private.
    """
    system.service_client._config.retry_policy.total_retries = 0


def silence_ray() -> None:
    """Keep what Ray would print off standard output, where results may go, and off standard error.

    Tried with ray 2.60. It has an option for what actors print, but none for what it says of machines that
    are lost (`print_worker_logs` is private), nor for its client, whose `LogstreamClient` is not documented.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    worker: Any = importlib.import_module("ray._private.worker")
    worker.print_worker_logs = _say_nothing
    client: Any = importlib.import_module("ray.util.client.logsclient").LogstreamClient
    client.stdstream = client.log = _say_nothing


def _say_nothing(*args: object, **named: object) -> None:
    pass
