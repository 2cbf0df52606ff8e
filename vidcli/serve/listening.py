"""The address that the server listens on, and the server that answers there."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING

from vidcli.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

_KEEP_ALIVE_SECONDS = 5
_LEAVE_SECONDS = 5
"""How much longer than a request's own time the end of the server waits for requests."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on which clients can connect.

    Args:
        host: a name or an address of this machine.
        port: 0 takes a free one.

    Raises:
        ConfigError: the address is not of this machine, or the port is taken or reserved.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be listened on ({_reason(error)}); expected an address of "
            "this machine and a free port, such as --port 0"
        ) from error
    # Connections inherit it. asyncio sets it only where a socket names its protocol, which these do not: the
    # second part of each answer would wait 40 ms for the client to acknowledge the first (Nagle's algorithm).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    # `create_server` adds the address to the text of the system.
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else "no valid name"


def address_of(listener: socket.socket) -> str:
    """Return the address by which clients reach a socket, such as `http://127.0.0.1:8000`."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def build_server(app: ASGIApp, timeout_seconds: float) -> uvicorn.Server:
    """Return the server, whose `run` answers until a signal asks to end; what has begun is answered first.

    Args:
        app: answers the requests.
        timeout_seconds: the longest time that a request takes.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(timeout_seconds) + _LEAVE_SECONDS,
    )
    return uvicorn.Server(config)
