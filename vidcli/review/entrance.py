"""Who may enter: the token of the printed address becomes a cookie, and the gate sees either as a header.

The page's own requests, videos and pictures included, cannot carry a header of ours, but do carry the cookie,
which no page of another site can send (SameSite=Strict).
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_NAME = "token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Entrance:
    """Stands before the gate, and gives every answer the headers that keep a page to itself."""

    def __init__(self, gate: ASGIApp, port: int) -> None:
        """Stand before a gate.

        Args:
            gate: takes the token as `Authorization: Bearer`.
            port: of the server.
        """
        self._gate, self._cookie = gate, cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        token = self._token_of(scope)
        if token is not None and not any(name == b"authorization" for name, _ in scope["headers"]):
            bearer = f"Bearer {token}".encode("ascii", "replace")
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", bearer)]}

        async def send_guarded(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}  # type: ignore[misc]
            await send(message)

        await self._gate(scope, receive, send_guarded)  # type: ignore[arg-type]

    def _token_of(self, scope: Scope) -> str | None:
        if scope["path"] == "/":
            given = parse_qs(bytes(scope["query_string"]).decode("ascii", "replace")).get(TOKEN_NAME)
            if given:
                return str(given[0])
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    jar: SimpleCookie = SimpleCookie(value.decode("latin-1"))
                except CookieError:
                    continue
                if self._cookie in jar:
                    return jar[self._cookie].value
        return None


def cookie_name(port: int) -> str:
    """Return the name of the cookie of a server; those on other ports of this machine have others."""
    return f"vidcli-review-{port}"


def welcome(token: str, port: int, first: str) -> RedirectResponse:
    """Return the answer to the printed address: a page without the token, which a cookie now holds.

    Args:
        token: that the gate has accepted.
        port: of the server.
        first: the page.
    """
    answer = RedirectResponse(first, 303)
    answer.set_cookie(cookie_name(port), token, httponly=True, samesite="strict")
    return answer
