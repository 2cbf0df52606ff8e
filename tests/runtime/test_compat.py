"""Private interfaces of other libraries are still there and still do what is asked of them."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from tests.forks import run_forked
from vidcli.runtime import compat


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_it_is_light() -> None:
    script = "import sys; import vidcli.runtime.compat; print({'torch', 'av', 'rich'} & sys.modules.keys())"
    assert run(script) == "set()\n"


def test_exit_functions_run_last_registered_first_and_once() -> None:
    script = (
        "import atexit; from vidcli.runtime.compat import run_exit_functions; "
        "[atexit.register(print, name) for name in 'ab']; run_exit_functions(); print('end')"
    )
    assert run(script).split() == ["b", "a", "end"]


def test_threads_end_before_exit_functions_run() -> None:
    script = (
        "import atexit, threading, time; from vidcli.runtime.compat import run_exit_functions; "
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start(); "
        "atexit.register(print, 'exit'); run_exit_functions()"
    )
    assert run(script).split() == ["thread", "exit"]


def test_a_command_that_brought_torch_ends_without_taking_it_apart() -> None:
    script = (
        "import atexit, sys, torch, vidcli.__main__ as m; "
        "Late = type('Late', (), {'__del__': lambda self: print('taken apart')}); kept = Late(); "
        "atexit.register(print, 'exit'); sys.argv = ['vidcli', 'settings', '--help']; m.main()"
    )
    told = run_forked(["-c", script]).stdout
    assert "Usage" in told
    assert told.endswith("exit\n")


def test_every_batchnorm_is_known_and_no_other_norm() -> None:
    norms = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2)]
    assert all(map(compat.is_batchnorm, norms))
    others = [
        nn.LayerNorm(2),
        nn.GroupNorm(1, 2),
        nn.InstanceNorm2d(2, affine=True).weight,
        nn.Conv2d(2, 2, 1),
    ]
    assert not any(map(compat.is_batchnorm, others))


def test_tensors_are_copied_in_place() -> None:
    targets = [torch.zeros(3), torch.zeros(2, 2, dtype=torch.int64)]
    places = [target.data_ptr() for target in targets]
    compat.copy_tensors(iter(targets), iter([torch.arange(3.0), torch.ones(2, 2, dtype=torch.int64)]))
    assert [target.tolist() for target in targets] == [[0, 1, 2], [[1, 1], [1, 1]]]
    assert [target.data_ptr() for target in targets] == places
    compat.copy_tensors([], [])


def test_libraries_load_without_the_compiler_and_it_works_afterwards() -> None:
    script = """
import sys, torch
from vidcli.config import load_config
from vidcli.models import build_model, settle_clip
from vidcli.runtime.compat import compiler_unloaded

with compiler_unloaded():
    import torchvision
print("torch._dynamo" in sys.modules)
config = load_config("auto")  # with a network of timm, which is tried with the recipe's frames and built
build_model(settle_clip(config).model, 2)
print("timm" in sys.modules, "torch._dynamo" in sys.modules, "sympy" in sys.modules)
from torchvision.ops import roi_align
boxes = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
print(roi_align(torch.ones(1, 1, 4, 4), boxes, 1).item())
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
print("_dynamo/__init__.py" in torch._dynamo.__file__.replace(chr(92), "/"))
"""
    assert run(script).split() == ["False", "True", "False", "False", "1.0", "2.0", "True"]


def test_what_else_is_asked_of_the_compiler_loads_it() -> None:
    script = """
import sys, torch
from vidcli.runtime.compat import compiler_unloaded

with compiler_unloaded():
    import torch._dynamo
    print(type(torch._dynamo.config).__name__, "torch._dynamo.config" in sys.modules)
print(torch._dynamo.is_compiling())
"""
    assert run(script).split() == ["ConfigModuleInstance", "True", "False"]


def test_what_cannot_be_compiled_raises_the_known_error() -> None:
    script = """
import torch
from vidcli.runtime.compat import compiler_error_type

def broken(module, inputs):
    raise RuntimeError("no compiler here")

try:
    torch.compile(lambda x: x + 1, backend=broken)(torch.ones(1))
except compiler_error_type():
    print("known")
"""
    assert run_forked(["-c", script]).stdout == "known\n"


def test_the_warning_of_strides_is_silent() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        compat.ignore_stride_warning()
        warnings.warn("Grad strides do not match bucket view strides. This may", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in told] == ["something else"]


@pytest.mark.parametrize("is_silent", [False, True])
def test_ray_prints_nothing_once_it_is_silenced(is_silent: bool) -> None:
    pytest.importorskip("ray")
    script = f"""
from vidcli.runtime.compat import silence_ray
from ray._private.worker import print_to_stdstream
from ray.util.client.logsclient import LogstreamClient

if {is_silent}:
    silence_ray()
print_to_stdstream({{"lines": ["a machine is lost"], "pid": "raylet", "is_err": False}}, ignore_prefix=False)
LogstreamClient.stdstream(None, level=-1, msg="of its client")
"""
    told = run(script)
    assert told == "" if is_silent else "a machine is lost" in told and "of its client" in told


@pytest.mark.parametrize("first", ["messages", "library"])
def test_the_messages_of_onnx_are_those_of_its_library(first: str) -> None:
    pytest.importorskip("onnx")
    script = (
        "import sys\nfrom vidcli.runtime.compat import onnx_messages\n"
        f"if {first == 'library'}:\n    import onnx\n"
        "messages = onnx_messages()\nprint('onnx' in sys.modules)\nimport onnx\n"
        "model = messages.ModelProto(ir_version=9)\n"
        "assert onnx.ModelProto is messages.ModelProto\n"
        "assert onnx.ModelProto.FromString(model.SerializeToString()) == model\n"
        "assert messages.TensorProto.DEFAULT == onnx.TensorProto.DEFAULT\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(first == "library")


def test_google_is_asked_once_and_for_no_kind_of_bucket() -> None:
    core = pytest.importorskip("gcsfs.core")
    kind = compat.google_file_system()
    assert kind.__mro__[1] is core.GCSFileSystem
    assert kind._request is not core.GCSFileSystem._request
    assert kind._request.__name__ == "_request"


def test_azure_is_asked_once() -> None:
    adlfs = pytest.importorskip("adlfs")
    system = adlfs.AzureBlobFileSystem(account_name="me", account_key="a2V5", skip_instance_cache=True)
    compat.ask_azure_once(system)
    blob = system.service_client.get_blob_client("videos", "a.mp4")
    assert [
        policy.total_retries for policy in blob._pipeline._impl_policies if hasattr(policy, "total_retries")
    ] == [0]
