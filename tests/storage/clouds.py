"""Small servers on the loopback that answer as the storage of Google, Azure, Amazon and Hugging Face does.

They know the requests that gcsfs, adlfs and huggingface_hub make to list, read and write files, and fail when
they are told to.
"""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY = base64.b64encode(b"hunter2 hunter2 hunter2").decode()
"""The account key of the Azure server."""
TOKEN = "hf_hunter2"
"""The token of the Hugging Face server."""
_DAY = "Sat, 28 Nov 2026 12:00:00 GMT"
_MOMENT = "2026-11-28T12:00:00.000Z"


@dataclass
class Cloud:
    """Files over HTTP.

    Attributes:
        address: of the server.
        files: content by container and name, such as `videos/day/a.mp4`.
        faults: what goes wrong with the next requests for content, in turn: an HTTP status, `cut` or `slow`.
        status: what every request is answered with instead, such as 403; 0 for nothing.
        is_read_only: whether nothing may be written.
        requests: the method, path and Authorization header of each request.
        num_sent: bytes of content sent.
        pending: parts of files that are being uploaded.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: deque[str] = field(default_factory=deque)
    status: int = 0
    is_read_only: bool = False
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    num_sent: int = 0
    pending: dict[str, bytes] = field(default_factory=dict)

    def below(self, container: str, prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
        """Return the names in a container that begin with a prefix, and the folders among them."""
        start = f"{container}/{prefix}"
        names = [name[len(container) + 1 :] for name in sorted(self.files) if name.startswith(start)]
        if not delimiter:
            return names, []
        deep = [name for name in names if delimiter in name[len(prefix) :]]
        folders = {name[: name.index(delimiter, len(prefix)) + 1] for name in deep}
        return [name for name in names if name not in deep], sorted(folders)


def digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """What the three have in common."""

    protocol_version = "HTTP/1.1"
    cloud: Cloud
    kind = "application/json"

    def log_message(self, *args: object) -> None:
        pass

    def begin(self) -> None:
        """Read the request, and answer it."""
        if self.path == "/":  # as the server that tells Google's machines what they are does not
            return self.send(404)
        split = urlsplit(self.path)
        self.place = unquote(split.path)
        self.query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.cloud.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
        status = 403 if self.cloud.is_read_only and self.command in ("PUT", "POST") else self.cloud.status
        if status:
            return self.send(status, self.refusal(), Content_Type=self.kind)
        return self.answer()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = begin

    def refusal(self) -> bytes:
        """Return what an answer says that refuses a request."""
        return json.dumps({"error": {"message": f"no, {self.path}"}}).encode()

    def answer(self) -> None:
        raise NotImplementedError

    def send(
        self, code: int, body: bytes | str | list[Any] | dict[str, Any] = b"", **headers: object
    ) -> None:
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_content(self, name: str, **headers: object) -> None:
        """Send a file, or the range of it that is asked for, or what goes wrong with it."""
        fault = self.cloud.faults.popleft() if self.cloud.faults else ""
        content = self.cloud.files.get(name)
        if content is None or fault.isdigit():
            return self.send(int(fault or 404), self.refusal(), Content_Type=self.kind)
        asked = self.headers.get("x-ms-range") or self.headers.get("Range") or ""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        part = content[int(found[1]) : int(found[2]) + 1] if found else content
        if found:
            headers["Content_Range"] = f"bytes {found[1]}-{int(found[1]) + len(part) - 1}/{len(content)}"
        if fault == "slow":
            time.sleep(1.5)
        if fault == "cut":
            self.send(206 if found else 200, b"", **headers, Content_Length=len(part))
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
            return None
        self.cloud.num_sent += len(part)
        return self.send(206 if found else 200, part, **headers)


class GoogleHandler(Handler):
    """The JSON API of Google Cloud Storage."""

    def answer(self) -> None:
        found = re.fullmatch(r"/(\w+/)?storage/v1/b/([^/]+)/o(/.+)?", self.place)
        if found is None:
            return self.send(404)
        room, container, name = found[1] or "", found[2], (found[3] or "")[1:]
        if self.command == "POST" and room == "upload/":
            return self.take(container)
        whole = f"{container}/{name}"
        if not name:
            names, folders = self.cloud.below(
                container, self.query.get("prefix", ""), self.query.get("delimiter", "")
            )
            items = [self.about(container, one) for one in names]
            return self.send(200, {"items": items, "prefixes": folders})
        if self.query.get("alt") == "media":
            return self.send_content(whole)
        if whole not in self.cloud.files:
            return self.send(404)
        if self.command == "DELETE":
            del self.cloud.files[whole]
            return self.send(204)
        return self.send(200, self.about(container, name))

    def take(self, container: str) -> None:
        if self.query["uploadType"] == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
            message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
            about, content = (part.get_payload(decode=True) for part in message.iter_parts())  # type: ignore[attr-defined]
            name = json.loads(about)["name"]
            self.cloud.files[f"{container}/{name}"] = content
            return self.send(200, self.about(container, name))
        name = self.query["name"]
        if not self.headers.get("Content-Range"):
            self.cloud.pending[name] = b""
            return self.send(200, Location=f"{self.cloud.address}{self.path}")
        self.cloud.pending[name] += self.body
        size = int(self.headers["Content-Range"].rpartition("/")[2])
        if len(self.cloud.pending[name]) < size:
            return self.send(308, Range=f"bytes=0-{len(self.cloud.pending[name]) - 1}")
        self.cloud.files[f"{container}/{name}"] = self.cloud.pending.pop(name)
        return self.send(200, self.about(container, name))

    def about(self, container: str, name: str) -> dict[str, Any]:
        content = self.cloud.files[f"{container}/{name}"]
        return {
            "name": name,
            "bucket": container,
            "size": str(len(content)),
            "etag": digest(content),
            "md5Hash": base64.b64encode(bytes.fromhex(digest(content))).decode(),
            "generation": "1",
            "updated": _MOMENT,
            "timeCreated": _MOMENT,
            "contentType": "application/octet-stream",
        }


class AzureHandler(Handler):
    """The REST API of Azure's blobs, of the account `me`."""

    kind = "application/xml"

    def refusal(self) -> bytes:
        told = f"<Code>AuthenticationFailed</Code><Message>no, {escape(self.path)}</Message>"
        return f"<?xml version='1.0'?><Error>{told}</Error>".encode()

    def answer(self) -> None:
        if not self.headers.get("Authorization", "").startswith("SharedKey me:"):
            return self.send(403, self.refusal(), Content_Type=self.kind)
        name = self.place.removeprefix("/me/")
        if self.query.get("restype") == "container":
            return self.list(name) if self.query.get("comp") == "list" else self.send(404)
        if self.command == "PUT":
            return self.take(name)
        content = self.cloud.files.get(name)
        if content is None:
            return self.send(404, x_ms_error_code="BlobNotFound")
        if self.command == "DELETE":
            del self.cloud.files[name]
            return self.send(202)
        told = {"ETag": f'"{digest(content)}"', "Last_Modified": _DAY, "x_ms_blob_type": "BlockBlob"}
        if self.command == "HEAD":
            return self.send(200, b"", **told, Content_Length=len(content))
        return self.send_content(name, **told)

    def take(self, name: str) -> None:
        kind = self.query.get("comp")
        if kind == "block":
            self.cloud.pending[self.query["blockid"]] = self.body
        elif kind == "blocklist":
            names = re.findall(rb"<Latest>([^<]+)</Latest>", self.body)
            self.cloud.files[name] = b"".join(self.cloud.pending.pop(one.decode()) for one in names)
        elif self.headers.get("If-None-Match") == "*" and name in self.cloud.files:
            return self.send(409, x_ms_error_code="BlobAlreadyExists")
        else:
            self.cloud.files[name] = self.body
        return self.send(201, ETag='"1"', Last_Modified=_DAY)

    def list(self, container: str) -> None:
        names, folders = self.cloud.below(
            container, self.query.get("prefix", ""), self.query.get("delimiter", "")
        )
        blobs = ""
        for name in names:
            content = self.cloud.files[f"{container}/{name}"]
            about = (
                f"<Last-Modified>{_DAY}</Last-Modified><Etag>{digest(content)}</Etag>"
                f"<Content-Length>{len(content)}</Content-Length><BlobType>BlockBlob</BlobType>"
            )
            blobs += f"<Blob><Name>{escape(name)}</Name><Properties>{about}</Properties></Blob>"
        blobs += "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in folders)
        told = f"<Blobs>{blobs}</Blobs><NextMarker/>"
        body = f'<EnumerationResults ContainerName="{container}">{told}</EnumerationResults>'
        self.send(200, f'<?xml version="1.0" encoding="utf-8"?>{body}', Content_Type=self.kind)


class AmazonHandler(Handler):
    """What S3 answers to who reads a file; moto's server does the rest, but never fails."""

    kind = "application/xml"

    def refusal(self) -> bytes:
        return b"<Error><Code>SlowDown</Code><Message>no</Message></Error>"

    def answer(self) -> None:
        name = self.place[1:]
        told = {"ETag": f'"{digest(self.cloud.files[name])}"', "Last_Modified": _DAY}
        if self.command == "HEAD":
            return self.send(200, b"", **told, Content_Length=len(self.cloud.files[name]))
        return self.send_content(name, **told)


class HuggingFaceHandler(Handler):
    """The hub, with one data set, `ORG/NAME`, whose content another path delivers."""

    def answer(self) -> None:
        api, repo = "/api/datasets/ORG/NAME", "datasets/ORG/NAME"
        if self.place.startswith("/content/"):
            return self.send_content(self.place.removeprefix("/content/"))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, {"error": f"no, {self.headers.get('Authorization')}"})
        if self.place.startswith(f"/{repo}/resolve/main/"):
            name = self.place.replace("/resolve/main/", "/")
            return self.send(302, Location=f"{self.cloud.address}/content{name}?Signature=0123abc")
        if self.place == api or self.place.startswith(f"{api}/revision/"):
            return self.send(200, {"id": "ORG/NAME", "sha": "1" * 40, "siblings": [], "tags": []})
        if self.place.startswith(f"{api}/tree/main"):
            folder = self.place.removeprefix(f"{api}/tree/main").strip("/")
            return self.list(repo, f"{folder}/" if folder else "")
        if self.place.startswith(f"{api}/paths-info/"):
            form = parse_qs(self.body.decode())
            names = form["paths"] if form else json.loads(self.body)["paths"]
            return self.send(
                200, [self.about(repo, one) for one in names if f"{repo}/{one}" in self.cloud.files]
            )
        return self.send(404, {"error": self.place}, X_Error_Code="EntryNotFound")

    def list(self, repo: str, prefix: str) -> None:
        is_deep = self.query.get("recursive", "").lower() == "true"
        names, folders = self.cloud.below(repo, prefix, "" if is_deep else "/")
        if is_deep:
            folders = sorted({f"{name.rpartition('/')[0]}/" for name in names if "/" in name[len(prefix) :]})
        if not names and not folders:
            return self.send(404, {"error": "no such folder"}, X_Error_Code="EntryNotFound")
        about = [{"type": "directory", "path": name[:-1], "oid": "1" * 40, "size": 0} for name in folders]
        return self.send(200, [*about, *(self.about(repo, name) for name in names)])

    def about(self, repo: str, name: str) -> dict[str, Any]:
        content = self.cloud.files[f"{repo}/{name}"]
        return {"type": "file", "path": name, "oid": digest(content), "size": len(content)}


class QuietServer(ThreadingHTTPServer):
    """Serves requests side by side, on a free port of the loopback."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that hang up."""

    @contextmanager
    def running(self) -> Iterator[int]:
        """Serve while the body runs, which is given the port."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self.server_port
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


@contextmanager
def serving(kind: type[Handler]) -> Iterator[Cloud]:
    """Run one of these servers while the body runs."""
    cloud = Cloud()
    with QuietServer(type("Bound", (kind,), {"cloud": cloud})).running() as port:
        cloud.address = f"http://127.0.0.1:{port}"
        yield cloud
