"""`python -m vidcli` and the `vidcli` command."""

from __future__ import annotations

import os
import sys

from vidcli.commands import run
from vidcli.runtime.compat import run_exit_functions
from vidcli.runtime.launcher import num_processes
from vidcli.runtime.memory import keep_freed_memory


def main() -> None:
    """Run the command line and end the process with its exit code."""
    speak_utf8()
    keep_freed_memory()  # the process is ours; one that imports the package decides by itself
    code = run()
    if num_processes() > 1 or "torch" in sys.modules:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process without taking the interpreter apart.

    The libraries that torch brings touch 130 MB of their own when they are unloaded, which takes half a
    second and would be the most that many commands ever hold. Of the processes of `torchrun`, what
    torch.distributed leaves running may be in C++ code when the interpreter ends, which then aborts
    ("terminate called without an active exception") a process whose work is done and saved.
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
