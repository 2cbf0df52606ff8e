"""Servers on the loopback: HTTPS with ranges and faults, S3, SFTP, nginx."""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.storage.clouds import QuietServer
from vidcli.errors import VideoError
from vidcli.predict.inputs import collect_items
from vidcli.storage import blocks, connections, file_systems
from vidcli.storage.addresses import StoredPath, path_of
from vidcli.video import decode_frames


@dataclass
class WebServer:
    """Files over HTTPS.

    Attributes:
        address: of its root.
        files: content by path, such as `/a.mp4`.
        faults: what goes wrong with the next requests for content, in turn: 503, `cut`, `slow` or nothing.
        redirects: where a path leads to instead.
        has_ranges: whether parts of files are given.
        requests: the method and path of each request, with the range.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: deque[str] = field(default_factory=deque)
    redirects: dict[str, str] = field(default_factory=dict)
    has_ranges: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def path(self, name: str) -> StoredPath:
        path = path_of(f"{self.address}/{name}")
        assert isinstance(path, StoredPath)
        return path


def handler_of(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(has_body=False)

        def do_GET(self) -> None:
            self.answer(has_body=True)

        def answer(self, has_body: bool) -> None:
            name = self.path.partition("?")[0]
            asked = self.headers.get("Range")
            server.requests.append((self.command, self.path, asked))
            fault = server.faults.popleft() if has_body and server.faults else ""
            if name in server.redirects:
                return self.begin(302, 0, Location=server.redirects[name])
            if fault == "503" or name not in server.files:
                return self.begin(503 if fault else 404, 0)
            content, code, extra = server.files[name], 200, {}
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
            if found and server.has_ranges:
                start, end = int(found[1]), min(int(found[2]) + 1, len(content))
                extra = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
                content, code = content[start:end], 206
            self.begin(code, len(content), ETag='"1"', **extra)
            if not has_body:
                return None
            if fault == "cut":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return None
            if fault == "slow":
                time.sleep(1.5)
            self.wfile.write(content)
            return None

        def begin(self, code: int, size: int, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(size))
            self.end_headers()

    return Handler


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own making for the loopback, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(autouse=True)
def fresh_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without open file systems, kept blocks and counted bytes, and try again at once."""
    monkeypatch.setattr(connections, "_systems", {})
    monkeypatch.setattr(connections, "_silent_hosts", set())
    monkeypatch.setattr(connections, "_DELAYS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(blocks, "_kept", blocks._KeptBlocks())
    monkeypatch.setattr(blocks.traffic, "num_bytes", 0)
    monkeypatch.setattr(blocks.traffic, "num_requests", 0)
    file_systems.describe_afar.cache_clear()


@pytest.fixture
def web(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A trusted HTTPS server."""
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    server = WebServer()
    listening = QuietServer(handler_of(server))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    with listening.running() as port:
        server.address = f"https://localhost:{port}"
        yield server


@dataclass
class Bucket:
    """A bucket of a server that answers as S3 does.

    Attributes:
        client: boto3's.
        name: of the bucket.
    """

    client: Any
    name: str = "videos"

    @property
    def address(self) -> str:
        return f"s3://{self.name}"

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=name, Body=content)

    def put_folder(self, folder: Path, name: str) -> str:
        """Store the files of a folder, and return their address."""
        for path in folder.rglob("*.*"):
            self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"{self.address}/{name}"

    def get(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=name)["Body"].read()
        return content

    def names(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket of moto's server."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3

    made = Bucket(boto3.client("s3"))
    made.client.create_bucket(Bucket=made.name)
    yield made
    for name in made.names():  # the server keeps them for all tests of the process
        made.client.delete_object(Bucket=made.name, Key=name)
    made.client.close()
    server.stop()


@pytest.fixture
def folder(write_video: Callable[..., Path], tmp_path: Path) -> Path:
    """Two videos, one in a folder of its own, and a text."""
    folder = tmp_path / "videos"
    write_video(folder / "a.mp4", num_frames=30)
    write_video(folder / "more" / "b.mp4", num_frames=30, seed=1)
    (folder / "notes.txt").write_text("no video")
    return folder


def assert_same(folder: Path, address: str) -> None:
    """Compare what lies at an address with a local folder."""
    for name in ("a.mp4", "more/b.mp4"):
        near, far = (
            decode_frames(path, lambda seconds: np.linspace(0, seconds, 4)).frames
            for path in (folder / name, path_of(f"{address}/{name}"))
        )
        assert np.array_equal(near, far)
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file$"):
        decode_frames(path_of(f"{address}/gone.mp4"))


def assert_listed(address: str) -> None:
    """Find the videos below an address, and those that match a pattern."""
    found = [str(item.path) for item in collect_items(path_of(address))]
    assert found == [f"{address}/a.mp4", f"{address}/more/b.mp4"]
    assert [str(item.path) for item in collect_items(f"{address}/*.mp4")] == [f"{address}/a.mp4"]
    assert [str(item.path) for item in collect_items(f"{address}/none*")] == [f"{address}/none*"]
