"""`python -m vidcli` and the `vidcli` command."""

from __future__ import annotations

import os
import sys

from vidcli.commands import run
from vidcli.runtime.compat import run_exit_functions
from vidcli.runtime.launcher import num_processes
from vidcli.runtime.memory import keep_freed_memory

_SLOW_TO_UNLOAD = {"torch", "onnxruntime", "openvino"}


def main() -> None:
    """Run the command line and end the process with its exit code."""
    speak_utf8()
    # The process is ours; one that imports the package decides by itself.
    keep_freed_memory()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # it looks for them in every installed package
    code = run()
    if num_processes() > 1 or not _SLOW_TO_UNLOAD.isdisjoint(sys.modules):
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process without taking the interpreter apart.

    The libraries that torch brings touch 130 MB of their own when they are unloaded, which takes half a
    second and would be the most that many commands ever hold; those that run exported models take a tenth of
    a second. Of the processes of `torchrun`, what torch.distributed leaves running may be in C++ code when
    the interpreter ends, which then aborts ("terminate called without an active exception") a process whose
    work is done and saved.
    """
    run_exit_functions()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def speak_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale says another encoding, such as ASCII.

    Names of files and classes are UTF-8 on the disk and in every file of ours, whatever a locale says.
    """
    if os.name != "posix" or sys.flags.utf8_mode or _is_utf8(sys.getfilesystemencoding()):
        return
    arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, {**os.environ, "PYTHONUTF8": "1"})


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "") == "utf8"


if __name__ == "__main__":
    main()
