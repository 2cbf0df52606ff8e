"""A client that speaks plain HTTP."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def value(self) -> Any:
        return json.loads(self.text)


@dataclass
class Client:
    """Asks a server on this machine."""

    port: int
    token: str | None = TOKEN
    inbox: Path = field(default_factory=Path)
    desk: Any = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; underscores in names of headers are hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        known = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, known, encode_chunked=not isinstance(body, bytes))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()

    def upload(self, content: bytes, name: str = "a.mp4", path: str = "/predict", **headers: str) -> Answer:
        body, kind = form_of(content, name)
        return self.ask("POST", path, body, Content_Type=kind, **headers)

    def name(self, video: str, path: str = "/predict") -> Answer:
        body = json.dumps({"path": video}).encode()
        return self.ask("POST", path, body, Content_Type="application/json")

    def wait_for(self, num_waiting: int) -> None:
        """Wait until so many requests have a place in the queue."""
        until = time.monotonic() + 30
        while f"vidcli_waiting {num_waiting}\n" not in self.ask("GET", "/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.01)


def form_of(*files: Any) -> tuple[bytes, str]:
    """Return a form that holds files, given as content and name in turn, and its type."""
    boundary = secrets.token_hex(8)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n\r\n'.encode()
        + content
        for content, name in zip(files[::2], files[1::2], strict=True)
    ]
    end = f"\r\n--{boundary}--\r\n".encode()
    return b"\r\n".join(parts) + end, f"multipart/form-data; boundary={boundary}"
