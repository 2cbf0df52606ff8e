"""A guard that the kernel holds: a process that opens a socket to anywhere ends at once.

Guards in Python see nothing of what C libraries do. This one is a filter of system calls (seccomp):
`socket` with any domain but AF_UNIX kills the process with SIGSYS, in every thread and in every child,
and cannot be lifted again.

    python -m tests.socket_guard '[["predict", "a.mp4"], ...]'    runs commands of vidcli under it
    python -m tests.socket_guard --open                           opens a socket as a C library does
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import socket
import struct
import sys
from collections.abc import Sequence

NO_GUARD = 77
"""Exit code where the kernel does not allow the guard."""

# From <linux/audit.h> and <asm/unistd.h>: architecture, number of `socket`.
_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in `struct seccomp_data`
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny_sockets() -> bool:
    """Install the guard in this process; return whether the kernel took it."""
    if not sys.platform.startswith("linux") or platform.machine() not in _ARCHITECTURES:
        return False
    architecture, number = _ARCHITECTURES[platform.machine()]
    instructions = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_EQUAL, 0, 4, architecture),  # another architecture's calls have other numbers: kill
            (_LOAD, 0, 0, _NUMBER),
            (_EQUAL, 0, 3, number),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_EQUAL, 1, 0, int(socket.AF_UNIX)),
            (_RETURN, 0, 0, _KILL_PROCESS),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    program = _Program(len(instructions) // 8, instructions)
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return not library.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)


def run_commands(commands: Sequence[Sequence[str]]) -> None:
    """Run commands of vidcli, one after the other, until one fails."""
    from vidcli.commands import app

    for command in commands:
        print(f"RUNNING {' '.join(command)}", file=sys.stderr, flush=True)
        try:
            app(list(command), prog_name="vidcli")
        except SystemExit as leaving:
            if leaving.code:
                sys.exit(f"exit code {leaving.code}")


if __name__ == "__main__":
    if not deny_sockets():
        sys.exit(NO_GUARD)
    if sys.argv[1] == "--open":
        ctypes.CDLL(None).socket(int(socket.AF_INET), int(socket.SOCK_DGRAM), 0)
        os._exit(0)
    socket.socket(socket.AF_UNIX).close()  # allowed
    run_commands(json.loads(sys.argv[1]))
