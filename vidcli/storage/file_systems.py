"""What lies afar, by fsspec's file systems: its size and version, its bytes, and what a folder holds.

Credentials come only from where each library looks by itself: its environment variables, its files, the
machine's role. Broken connections are tried again, later each time. No error names more of an address than
may be shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import Any, TypeVar

from vidcli.runtime.plain import one_line
from vidcli.runtime.signals import leaving
from vidcli.storage.addresses import StoredPath, require_extra
from vidcli.storage.blocks import BLOCK_BYTES, BlockFile

Result = TypeVar("Result")

_DELAYS = (0.5, 2.0, 6.0)
"""Seconds before each further try."""
_PATIENCE_SECONDS = 30.0
_WITH_RANGES = ("s3", "gs", "az")
"""File systems that return a range without opening a file first."""
_ANSWERS_WORTH_ANOTHER_TRY = (408, 425, 429)
_URL = re.compile(r"\b[a-z0-9+.-]+://[^\s'\"<>)]+")
_NO_RANGES = (
    "the server gives no parts of files (HTTP Range), without which a few frames cannot be read; fetch the "
    "file first"
)


class StorageError(OSError):
    """What lies afar, or in a tar file, cannot be read; the message names no address."""


_LASTING = (
    *(StorageError, FileNotFoundError, PermissionError, IsADirectoryError),
    *(ImportError, NotImplementedError, TypeError, ValueError),  # an SSLCertVerificationError is the last
)
"""Errors that the same question meets again."""


@dataclass(frozen=True)
class Stored:
    """What is known of a file before it is read.

    Attributes:
        size: its bytes.
        version: its ETag or its time of change, whichever the server tells.
    """

    size: int
    version: str


@lru_cache(maxsize=1 << 16)
def describe_afar(path: StoredPath) -> Stored:
    """Return the size and version of a file, asked for once.

    Raises:
        StorageError: it is not there, or cannot be asked for.
    """
    info = _try(path, lambda system, place: system.info(place))
    if info.get("type") == "directory":
        raise StorageError("is a folder; expected a file")
    if info.get("size") is None or info.get("partial") is False:
        raise StorageError(_NO_RANGES)
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "Last-Modified", "blob_id")
    return Stored(int(info["size"]), next((str(info[name]) for name in names if info.get(name)), ""))


def open_afar(path: StoredPath) -> BlockFile:
    """Open a file by blocks.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    stored = describe_afar(path)
    if path.parts[0][:-1] in _WITH_RANGES:
        return BlockFile(
            lambda start, end: _try(path, lambda system, place: system.cat_file(place, start=start, end=end)),
            stored.size,
            (path, stored),
        )
    return BlockFile(_OpenedRanges(path, stored.size).fetch, stored.size, (path, stored))


class _OpenedRanges:
    """Ranges of a file that stays open between them."""

    def __init__(self, path: StoredPath, size: int) -> None:
        self._path, self._size = path, size
        self._file: Any = None

    def fetch(self, start: int, end: int) -> bytes:
        """Return the bytes between two places."""
        return _try(self._path, lambda system, place: self._read(system, place, start, end))

    def _read(self, system: Any, place: str, start: int, end: int) -> bytes:
        opened, self._file = self._file, None  # after an error it is opened anew
        if opened is None:
            whole = {"size": self._size, "cache_type": "none"} if self._path.parts[0] != "sftp:" else {}
            opened = system.open(place, "rb", block_size=BLOCK_BYTES, **whole)
        opened.seek(start)
        content = b""
        while len(content) < end - start and (part := opened.read(end - start - len(content))):
            content += part
        self._file = opened
        return content


def list_afar(folder: StoredPath) -> list[StoredPath]:
    """Return the files below a folder, or those that match a pattern, in the order of their paths.

    Raises:
        StorageError: it is not there, or cannot be listed.
    """
    scheme, _, place = folder.address.partition("://")
    if scheme == "https":
        raise StorageError("cannot be listed over https; expected a manifest of addresses")

    def ask(system: Any, inside: str) -> list[str]:
        return sorted(system.glob(inside) if has_magic(inside) else system.find(inside))

    names = _try(folder, ask)
    host = place.partition("/")[0]
    if scheme == "sftp":  # lists the paths on the host
        names = [f"{host}/{name.lstrip('/')}" for name in names]
    elif "@" in host:  # an account after the container
        names = [f"{host}/{name.partition('/')[2]}" for name in names]
    return [StoredPath(f"{scheme}:/{name}") for name in names]


def fetch_afar(path: StoredPath, target: Path) -> None:
    """Copy a file to a local one.

    Args:
        path: the file.
        target: the local one.

    Raises:
        StorageError: it is not there, cannot be read, or ends early.
    """
    source = open_afar(path)
    with open(target, "wb") as file:
        while block := source.read(16 * BLOCK_BYTES):
            file.write(block)


_systems: dict[tuple[object, ...], Any] = {}
_systems_lock = threading.Lock()
_silent_hosts: set[tuple[str, ...]] = set()
"""Those that did not answer however often they were asked; until one does, it is asked once a file."""


def _try(path: StoredPath, ask: Callable[[Any, str], Result]) -> Result:
    """Return what `ask` returns, given a file system and a place in it; broken connections are tried again.

    Raises:
        StorageError: it cannot be had.
    """
    host = path.parts[:2]
    for delay in (*(() if host in _silent_hosts else _DELAYS), None):
        key, system = None, None
        try:
            key, system, place = _connect(path)
            answer = ask(system, place)
            _silent_hosts.discard(host)
            return answer
        except Exception as error:  # of five libraries, their clients and the network
            if leaving.is_set():
                raise StorageError("was given up") from error
            if delay is None or not _may_pass(error):
                if delay is None and _status_of(error) is None:
                    _silent_hosts.add(host)
                raise StorageError(_reason(error)) from error
            with _systems_lock:
                if key is not None and _systems.get(key) is system:
                    del _systems[key]
            leaving.wait(delay)
    raise AssertionError


def _connect(path: StoredPath) -> tuple[tuple[object, ...], Any, str]:
    """Return the key and the file system of an address, shared by all threads, and the place in it."""
    from fsspec import get_filesystem_class

    scheme, address = path.parts[0][:-1], path.address
    require_extra(scheme)
    if scheme == "sftp":
        from sshfs import SSHFileSystem as kind  # checks the server's key, unlike fsspec's own
    else:
        kind = get_filesystem_class(scheme)
    options: dict[str, Any] = {} if scheme == "https" else dict(kind._get_kwargs_from_urls(address))
    if scheme == "sftp":
        # The empty tuple is asyncssh's own default: the keys in ~/.ssh/known_hosts.
        options |= {"known_hosts": (), "timeout": _PATIENCE_SECONDS}
    elif scheme == "https":
        options["get_client"] = _open_session
    elif scheme == "s3":
        options["config_kwargs"] = {"connect_timeout": _PATIENCE_SECONDS, "read_timeout": _PATIENCE_SECONDS}
    if scheme in _WITH_RANGES:
        options["use_listings_cache"] = False
    key = (scheme, *((name, str(value)) for name, value in sorted(options.items())))
    with _systems_lock:
        if key not in _systems:
            _systems[key] = kind(skip_instance_cache=True, **options)
        return key, _systems[key], kind._strip_protocol(address)


async def _open_session(loop: Any, **options: Any) -> Any:
    """Return aiohttp's session, in which no redirect changes the scheme or leads into a private network."""
    import asyncio
    import ipaddress
    import ssl

    import aiohttp

    async def check(session: Any, context: Any, params: Any) -> None:
        target = params.response.url.join(type(params.response.url)(params.response.headers["Location"]))
        if target.scheme != params.url.scheme:
            raise StorageError(
                f"redirects from {params.url.scheme}:// to {target.scheme}://, which is not followed"
            )
        if target.host != params.url.host:
            found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port)
            if not all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found):
                raise StorageError("redirects into a private network, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context()),
        timeout=aiohttp.ClientTimeout(None, sock_connect=_PATIENCE_SECONDS, sock_read=_PATIENCE_SECONDS),
        trust_env=True,
        trace_configs=[trace],
        **options,
    )


def _may_pass(error: BaseException) -> bool:
    """Tell whether an error may be gone when the same is asked again."""
    status = _status_of(error)
    if status is not None:
        return status >= 500 or status in _ANSWERS_WORTH_ANOTHER_TRY
    cause = _root_of(error)
    return not (isinstance(cause, _LASTING) or _is_missing(cause) or _names_credentials(cause))


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error, or what caused it, tells."""
    for one in _chain(error):
        status = getattr(one, "status", None)
        response = getattr(one, "response", None)
        if status is None and isinstance(response, dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        status = status if status is not None else getattr(response, "status_code", None)
        if isinstance(status, int) and status >= 400:
            return status
    return None


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (cause := found[-1].__cause__) is not None and len(found) < 10:
        found.append(cause)
    return found


def _root_of(error: BaseException) -> BaseException:
    # fsspec tells of every error while it asks for a size over HTTP that there is no such file.
    return _chain(error)[-1] if isinstance(error, FileNotFoundError) else error


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or type(error).__name__ == "SFTPNoSuchFile"


def _names_credentials(error: BaseException) -> bool:
    told = f"{type(error).__name__} {error}".casefold()
    return any(word in told for word in ("credential", "permissiondenied", "hostkeynotverifiable"))


def _reason(error: BaseException) -> str:
    """Return why something could not be had, without an address."""
    cause, status = _root_of(error), _status_of(error)
    if isinstance(cause, StorageError):
        return str(cause)
    if status == 404 or (status is None and _is_missing(cause)):
        return "no such file"
    if status in (401, 403) or isinstance(cause, PermissionError) or _names_credentials(cause):
        told = f"HTTP {status}" if status else _told(cause)
        return (
            f"access is refused ({told}); give the credentials where its library looks for them, see the "
            "guide on remote videos"
        )
    if status is not None:
        return f"the server answers HTTP {status}"
    # Before Python 3.11 asyncio has an error of its own.
    if isinstance(cause, TimeoutError) or type(cause).__name__ == "TimeoutError":
        return f"no answer in {_PATIENCE_SECONDS:g} s"
    if "range requests" in str(cause):
        return _NO_RANGES
    return f"the connection failed: {_told(cause)}"


def _told(error: BaseException) -> str:
    return _URL.sub("its address", one_line(error)) or type(error).__name__
