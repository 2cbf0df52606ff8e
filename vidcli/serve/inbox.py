"""The video of a request: an upload in a private folder, or a file below a folder that was allowed.

An upload is written as it arrives, never kept in memory, and removed when its answer is there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import HTTPException, Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from vidcli.runtime.files import remove_file, temporary_name
from vidcli.serve.metrics import Metrics
from vidcli.video import VIDEO_SUFFIXES

_MAX_JSON_BYTES = 2**16
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class Video:
    """The video of a request: the name that its client gives it, and where it is."""

    name: str
    path: Path


class Inbox:
    """Finds or receives the videos of requests."""

    def __init__(self, folder: Path, max_bytes: int, allowed: Sequence[Path], metrics: Metrics) -> None:
        """Keep where videos may be.

        Args:
            folder: for uploads; nobody else may write to it.
            max_bytes: the largest upload.
            allowed: folders whose files may be asked about.
            metrics: counts the bytes of uploads.
        """
        self._folder, self._max_bytes, self._metrics = folder, max_bytes, metrics
        self._allowed = [Path(os.path.realpath(path)) for path in allowed]

    async def receive(self, request: Request, held: ExitStack) -> Video:
        """Return the video of a request.

        Args:
            request: its body is read.
            held: removes an upload when it is closed.

        Raises:
            HTTPException: 400, 403, 413 or 415; says what is wrong with the request.
        """
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind == b"application/json":
            body = b"".join([part async for part in self._body(request, _MAX_JSON_BYTES)])
            return self._find(_path_in(body))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise HTTPException(
                415, "expected a video as multipart/form-data, or its path as application/json"
            )
        return await self._upload(request, options[b"boundary"], held)

    async def _upload(self, request: Request, boundary: bytes, held: ExitStack) -> Video:
        path = self._folder

        def open_file(name: str) -> BinaryIO:
            # FFmpeg looks at the content and at the suffix.
            nonlocal path
            suffix = Path(name).suffix.lower()
            path = self._folder / temporary_name(suffix if suffix in VIDEO_SUFFIXES else "")
            held.callback(remove_file, path)
            return writing.enter_context(open(path, "xb"))

        try:
            with ExitStack() as writing:
                form = _Form(boundary, open_file)
                async for part in self._body(request, self._max_bytes):
                    self._metrics.uploaded_bytes += len(part)
                    form.write(part)
        except FormParserError as error:
            raise HTTPException(400, f"the form is damaged ({error})") from error
        except OSError as error:
            raise HTTPException(507, f"the upload cannot be kept ({error.strerror})") from error
        if not form.is_complete or form.name is None:
            found = "cut off" if not form.is_complete else "without a file"
            raise HTTPException(
                400, f"the form is {found}; expected one file, as `curl -F video=@FILE` sends"
            )
        return Video(form.name, path)

    async def _body(self, request: Request, max_bytes: int) -> AsyncIterator[bytes]:
        """Yield the parts of a body, at most so many bytes."""
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else 0
        try:
            if size <= max_bytes:
                size = 0
                async for part in request.stream():
                    size += len(part)
                    if size > max_bytes:
                        break
                    yield part
        except ClientDisconnect as error:
            raise HTTPException(400, "the request is cut off") from error
        if size > max_bytes:
            raise HTTPException(
                413, f"the request is larger than {max_bytes / 2**20:g} MiB; see --max-upload-mib"
            )

    def _find(self, name: str) -> Video:
        """Return the file of that name, if it really lies below an allowed folder."""
        try:
            is_path = b"\0" not in os.fsencode(name) and not _PROTOCOL.match(name)
        except UnicodeEncodeError:
            is_path = False
        if not is_path:
            raise HTTPException(400, "the path is no file's name; expected one below a folder of --allow")
        if not self._allowed:
            raise HTTPException(403, "no folder is allowed; upload the video, or start with --allow DIR")
        paths = [Path(os.path.realpath(folder / name)) for folder in self._allowed]
        inside = [path for path, folder in zip(paths, self._allowed, strict=True) if folder in path.parents]
        if not inside:
            raise HTTPException(403, "the path leads out of the folders of --allow")
        # Where no folder has it, its prediction says so.
        return Video(name, next(filter(os.path.exists, inside), inside[0]))


def _path_in(body: bytes) -> str:
    try:
        path = json.loads(body)["path"]
    except (ValueError, TypeError, KeyError, RecursionError):
        path = None
    if not isinstance(path, str) or not path:
        raise HTTPException(400, 'expected a JSON object with the path of a video: {"path": "a.mp4"}')
    return path


class _Form:
    """Writes the file in a multipart form.

    Attributes:
        name: of the file, as the client gives it; None before its part begins.
        is_complete: whether the end of the form was reached.
    """

    def __init__(self, boundary: bytes, open_file: Callable[[str], BinaryIO]) -> None:
        self.name: str | None = None
        self.is_complete = False
        self._open_file = open_file
        self._file: BinaryIO | None = None  # of the part at hand, if it is one
        self._field, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": self._write,
                "on_end": self._end,
            },
        )

    def write(self, part: bytes) -> None:
        """Take the next bytes of the form."""
        self._parser.write(part)

    def _begin(self) -> None:
        self._file = None

    def _end_header(self) -> None:
        field, value = bytes(self._field).lower(), bytes(self._value)
        self._field.clear()
        self._value.clear()
        if field != b"content-disposition":
            return
        # Bytes of UTF-8, as browsers and curl send names; the parser wants each as a character.
        name = parse_options_header(value.decode("latin-1"))[1].get(b"filename")
        if name is None:
            return
        if self.name is not None:
            raise HTTPException(400, "the form holds several files; expected one")
        self.name = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
        self._file = self._open_file(self.name)

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self.is_complete = True
