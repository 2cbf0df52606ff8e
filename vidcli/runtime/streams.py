"""The three standard streams of a command, which may be closed, full, or read by nobody any more.

Results on standard output that cannot be written are an error, of which one message tells. Messages on
standard error that cannot be written are lost, for there is nobody to tell, and the work goes on.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import IO, Any, TextIO, cast

from vidcli.errors import StreamError

_BROKEN_PIPE = 141
"""As of a program that SIGPIPE ended: whoever read the results has seen enough."""


class StandardStreams:
    """Guards around `sys.stdout` and `sys.stderr`, from when they are made on.

    A write to standard output that fails raises `StreamError`, once; what comes after is dropped.
    """

    def __init__(self) -> None:
        """Put the guards in place, and something harmless in the place of streams that are closed."""
        for number in range(3):  # a file opened later would get the number, and what is meant for the stream
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if sys.stdin is None:
            sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (as long as the process)
        self._out = _Guard(_raw_of(sys.stdout), is_vital=True)
        sys.stdout = _text_over(self._out, sys.stdout, is_line_buffered=False)
        sys.stderr = _text_over(
            _Guard(_raw_of(sys.stderr), is_vital=False), sys.stderr, is_line_buffered=True
        )

    def finish(self) -> StreamError | None:
        """Write what is still to be written; return why results were lost, if some were."""
        with suppress(StreamError):
            sys.stdout.flush()
        sys.stderr.flush()
        return self._out.failure


class _Guard(io.RawIOBase):
    """The bytes of a stream, of which an error ends the writing and comes once."""

    def __init__(self, raw: IO[bytes] | None, is_vital: bool) -> None:
        self._raw, self._is_vital = raw, is_vital
        self.failure: StreamError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return super().fileno() if self._raw is None else self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw is not None and self._raw.isatty()

    def write(self, content: bytes) -> int | None:  # type: ignore[override]
        """Write bytes, or drop them after a failure; return how many were taken."""
        if self.failure is None:
            try:
                if self._raw is None:
                    raise OSError("it is closed")
                return self._raw.write(content)
            except BrokenPipeError:
                self.failure = StreamError("nobody reads it any more", _BROKEN_PIPE)
            except OSError as error:
                self.failure = StreamError(error.strerror or str(error))
            if self._is_vital:
                raise self.failure
        return len(content)


def _raw_of(stream: TextIO | None) -> IO[bytes] | None:
    """Return what a text stream writes bytes to, without a buffer; None where it is closed."""
    if stream is None:
        return None
    buffer: Any = stream.buffer
    raw: IO[bytes] = getattr(buffer, "raw", buffer)  # `python -u` has no buffer
    return raw


def _text_over(guard: _Guard, like: TextIO | None, is_line_buffered: bool) -> io.TextIOWrapper:
    """Return a text stream over a guard, of the encoding and the buffering of another."""
    buffer = io.BufferedWriter(cast("io.RawIOBase", guard))  # typeshed knows of files only
    if like is None:
        return io.TextIOWrapper(buffer, "utf-8", "backslashreplace")
    is_line_buffered = is_line_buffered or bool(like.line_buffering or getattr(like, "write_through", False))
    return io.TextIOWrapper(buffer, like.encoding, like.errors, line_buffering=is_line_buffered)
