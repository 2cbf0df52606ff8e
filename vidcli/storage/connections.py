"""Connections to file systems afar: opening them, asking again what may pass, and saying what went wrong.

Credentials come only from where each library looks by itself: its environment variables, its files, the
machine's role. Broken connections are tried again, later each time. No error names more of an address than
may be shown.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from vidcli.runtime.compat import ask_azure_once, google_file_system
from vidcli.runtime.plain import one_line
from vidcli.runtime.signals import leaving
from vidcli.storage.addresses import StoredPath, require_extra

Result = TypeVar("Result")

WITH_RANGES = ("s3", "gs", "az")
"""File systems that return a range without opening a file first."""
NO_RANGES = (
    "the server gives no parts of files (HTTP Range), without which a few frames cannot be read; fetch the "
    "file first"
)
_DELAYS = (0.5, 2.0, 6.0)
"""Seconds before each further try."""
_PATIENCE_SECONDS = 30.0
_ANSWERS_WORTH_ANOTHER_TRY = (408, 425, 429)
_NOTHING_THERE = "no such file"
_URL = re.compile(r"\b[a-z0-9+.-]+://[^\s'\"<>)]+")


class StorageError(OSError):
    """What lies afar, or in a tar file, cannot be read; the message names no address."""


class NothingThere(StorageError):
    """There is no such file."""


_LASTING = (
    *(StorageError, FileNotFoundError, PermissionError, IsADirectoryError),
    *(ImportError, NotImplementedError, TypeError, ValueError),  # an SSLCertVerificationError is the last
)
"""Errors that the same question meets again."""

for _library in ("asyncssh", "azure", "botocore", "gcsfs", "google", "s3fs"):
    # What they log of errors would be printed beside what is said here.
    logging.getLogger(_library).addHandler(logging.NullHandler())

_systems: dict[tuple[object, ...], Any] = {}
_systems_lock = threading.Lock()
_silent_hosts: set[tuple[str, ...]] = set()
"""Those that did not answer however often they were asked; until one does, it is asked once a file."""


def try_again(path: StoredPath, ask: Callable[[Any, str], Result]) -> Result:
    """Return what `ask` returns, given a file system and a place in it; broken connections are tried again.

    Raises:
        StorageError: it cannot be had.
    """
    host = path.parts[:2]
    delays = _DELAYS[:1] if path.parts[0] == "hf:" else _DELAYS  # whose library asks six times by itself
    for delay in (*(() if host in _silent_hosts else delays), None):
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
                reason = _reason(error)
                raise (NothingThere if reason == _NOTHING_THERE else StorageError)(reason) from error
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
    elif scheme == "gs":
        kind = google_file_system()
    else:
        kind = get_filesystem_class(scheme)
    options: dict[str, Any] = {} if scheme == "https" else dict(kind._get_kwargs_from_urls(address))
    if scheme == "sftp":
        # The empty tuple is asyncssh's own default: the keys in ~/.ssh/known_hosts.
        options |= {"known_hosts": (), "timeout": _PATIENCE_SECONDS}
    elif scheme == "https":
        options["get_client"] = _open_session
    elif scheme == "s3":
        options["config_kwargs"] = {
            "connect_timeout": _PATIENCE_SECONDS,
            "read_timeout": _PATIENCE_SECONDS,
            "retries": {"total_max_attempts": 1},
        }
    elif scheme == "hf":
        from huggingface_hub.utils import logging as hub_logging

        hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # else it tells of each try
    elif scheme == "gs":
        options["requests_timeout"] = _timeout()
    elif scheme == "az":
        options |= {"connection_timeout": _PATIENCE_SECONDS, "read_timeout": _PATIENCE_SECONDS}
    if scheme in WITH_RANGES:
        options["use_listings_cache"] = False
    key = (scheme, *((name, str(value)) for name, value in sorted(options.items())))
    with _systems_lock:
        if key not in _systems:
            _systems[key] = kind(skip_instance_cache=True, **options)
            if scheme == "az":
                ask_azure_once(_systems[key])
            elif scheme == "s3":
                _systems[key].retries = 1
        return key, _systems[key], kind._strip_protocol(address)


def _timeout() -> Any:
    """Return aiohttp's limits of time: none for the whole, but for any silence."""
    import aiohttp

    return aiohttp.ClientTimeout(None, sock_connect=_PATIENCE_SECONDS, sock_read=_PATIENCE_SECONDS)


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
        timeout=_timeout(),
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
        if type(one).__name__ == "HttpError":  # gcsfs's
            status = getattr(one, "code", None)
        elif type(one) is OSError and str(one).startswith("Forbidden:"):  # its, too
            status = 403
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
        return _NOTHING_THERE
    if status in (401, 403) or isinstance(cause, PermissionError) or _names_credentials(cause):
        told = f"HTTP {status}" if status else _told(cause)
        return (
            f"access is refused ({told}); give the credentials where its library looks for them, see the "
            "guide on remote videos"
        )
    if status is not None:
        return f"the server answers HTTP {status}"
    # The libraries, and asyncio before Python 3.11, have errors of their own.
    if any(isinstance(one, TimeoutError) or "Timeout" in type(one).__name__ for one in _chain(error)):
        return f"no answer in {_PATIENCE_SECONDS:g} s"
    if "range requests" in str(cause):
        return NO_RANGES
    return f"the connection failed: {_told(cause)}"


def _told(error: BaseException) -> str:
    return _URL.sub("its address", one_line(error)) or type(error).__name__
