"""Who may ask: the token, and the Host and Origin by which a browser tells who sent it.

A page of a stranger, open in a browser on this machine, can send requests to this machine too. It cannot
know the token; Host stops pages whose own name was made to lead here (DNS rebinding), Origin all others.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidcli.serve.listening import is_loopback
from vidcli.serve.metrics import Metrics

OPEN_PATH = "/health"
"""The address that needs no token, for those who only ask whether the server is there."""
PATHS = (OPEN_PATH, "/predict", "/timeline", "/metrics", "/docs")

_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:@/\[\]]+))(?::\d+)?")


class Hosts:
    """The names by which a server may be called."""

    def __init__(self, bound: str, names: Iterable[str] = ()) -> None:
        """Know the names of the address that the server listens on.

        Args:
            bound: as --host says.
            names: other names that lead to it.
        """
        self._is_local = is_loopback(bound)
        own = () if self._is_local else (socket.gethostname(),)
        self._names = {name.lower() for name in ("localhost", bound, *own, *names)}

    def __contains__(self, header: object) -> bool:
        match = _HOST.fullmatch(str(header))
        name = (match[1] or match[2]).lower() if match else ""
        return name in self._names or (is_loopback(name) if self._is_local else _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Gate:
    """Passes on the requests of those who may ask, and counts all."""

    def __init__(self, app: ASGIApp, token: str, hosts: Hosts, metrics: Metrics) -> None:
        """Stand before an application.

        Args:
            app: answers the requests that pass.
            token: what `Authorization: Bearer` must say.
            hosts: the server's own names.
            metrics: counts the requests.
        """
        self._app, self._token, self._hosts, self._metrics = app, token.encode(), hosts, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started, status = time.perf_counter(), 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        app = self._app
        try:
            self._check(scope["path"], Headers(scope=scope))
        except HTTPException as refusal:
            app = JSONResponse({"error": refusal.detail}, refusal.status_code, refusal.headers)
        try:
            await app(scope, receive, send_noted)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.note(path, status, time.perf_counter() - started)

    def _check(self, path: str, headers: Headers) -> None:
        hosts, origin = headers.getlist("host"), headers.get("origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise HTTPException(
                421, "the request is for another host; ask this one by its address, or see --allow-host"
            )
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise HTTPException(403, "the request comes from a page of another host, which may not ask")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_known = scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)
        if path != OPEN_PATH and not is_known:
            raise HTTPException(
                401,
                "the token is missing or wrong; send the one that the server printed, as "
                "`Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": "Bearer"},
            )
