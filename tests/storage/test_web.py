"""Videos over HTTPS, from a server that fails now and then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.storage.conftest import WebServer
from vidcli.errors import VideoError
from vidcli.runtime.signals import leaving
from vidcli.sampling import Seconds
from vidcli.storage import connections, file_systems
from vidcli.storage.addresses import StoredPath, path_of
from vidcli.storage.blocks import traffic
from vidcli.storage.connections import StorageError
from vidcli.storage.sources import identity_of, open_source
from vidcli.video import decode_frames, probe

pytest.importorskip("fsspec")


def spread(duration_seconds: float) -> Seconds:
    return np.linspace(0, duration_seconds, 5)


@pytest.fixture
def video(write_video: Callable[..., Path], tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", num_frames=40)


@pytest.fixture
def served(web: WebServer, video: Path) -> WebServer:
    web.files["/a.mp4"] = video.read_bytes()
    return web


def test_frames_are_those_of_the_local_file(served: WebServer, video: Path) -> None:
    near, far = decode_frames(video, spread), decode_frames(served.path("a.mp4"), spread)
    assert np.array_equal(near.frames, far.frames)
    assert np.array_equal(near.pts_seconds, far.pts_seconds)
    assert probe(served.path("a.mp4")) == probe(video)
    assert traffic.num_bytes == len(served.files["/a.mp4"])  # once, for all three readers
    assert sum(method == "HEAD" for method, _, _ in served.requests) == 1


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_what_fails_once_is_tried_again(served: WebServer, video: Path, fault: str) -> None:
    served.faults.extend([fault, fault])
    assert np.array_equal(
        decode_frames(served.path("a.mp4"), spread).frames, decode_frames(video, spread).frames
    )


def test_a_server_that_says_nothing_is_given_up(served: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PATIENCE_SECONDS", 0.3)
    served.faults.extend(["slow"] * 9)
    with pytest.raises(VideoError, match=r"no answer in 0\.3 s"):
        decode_frames(served.path("a.mp4"), spread)


@pytest.mark.parametrize(("fault", "told"), [("503", "HTTP 503"), ("cut", "connection failed")])
def test_what_fails_again_and_again_is_told_of_the_video(served: WebServer, fault: str, told: str) -> None:
    served.faults.extend([fault] * 9)
    with pytest.raises(VideoError, match=told):
        decode_frames(served.path("a.mp4"), spread)


def test_a_connection_lost_in_the_middle_is_no_end_of_the_file(
    web: WebServer, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    video = write_video(tmp_path / "b.mp4", num_frames=400, height=96, width=128)
    web.files["/b.mp4"] = video.read_bytes()
    assert len(web.files["/b.mp4"]) > 1 << 18
    web.faults.extend(["", "", *["cut"] * 9])
    with pytest.raises(VideoError, match="connection failed"):
        decode_frames(web.path("b.mp4"))


def test_a_missing_video_is_told_at_once(served: WebServer) -> None:
    with pytest.raises(VideoError, match=r"b\.mp4: no such file$"):
        decode_frames(served.path("b.mp4"), spread)
    assert len(served.requests) <= 2


def test_a_server_without_ranges_is_told(web: WebServer) -> None:
    web.has_ranges = False
    web.files["/a.mp4"] = bytes(1 << 20)
    with open_source(web.path("a.mp4")) as file:
        file.seek(1 << 19)
        with pytest.raises(StorageError, match="gives no parts of files"):
            file.read(10)


def test_no_redirect_changes_the_scheme(served: WebServer) -> None:
    served.redirects["/old.mp4"] = f"{served.address}/a.mp4"
    served.redirects["/plain.mp4"] = "http://localhost:1/a.mp4"
    decode_frames(served.path("old.mp4"), spread)
    with pytest.raises(VideoError, match="redirects from https:// to http://, which is not followed"):
        decode_frames(served.path("plain.mp4"), spread)


def test_no_redirect_leads_into_a_private_network(served: WebServer) -> None:
    served.redirects["/other.mp4"] = served.address.replace("localhost", "127.0.0.1") + "/a.mp4"
    with pytest.raises(VideoError, match="private network"):
        decode_frames(served.path("other.mp4"), spread)


def test_a_certificate_that_nobody_trusts_is_refused(
    served: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(VideoError, match=r"connection failed: .*certificate"):
        decode_frames(served.path("a.mp4"), spread)


def test_no_error_tells_a_secret(served: WebServer) -> None:
    address = served.address.replace("https://", "https://me:hunter2@")
    path = path_of(f"{address}/gone.mp4?X-Amz-Signature=0123abc")
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert "hunter2" not in str(caught.value)
    assert "0123abc" not in str(caught.value)
    assert any("0123abc" in asked for _, asked, _ in served.requests)


def test_a_changed_file_is_another(served: WebServer) -> None:
    before = identity_of(served.path("a.mp4"))
    served.files["/a.mp4"] += b"0"
    file_systems.describe_afar.cache_clear()
    assert identity_of(served.path("a.mp4")) != before


def test_a_host_that_does_not_answer_is_asked_once_for_each_further_file(
    served: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    connect = connections._connect

    def count(path: StoredPath) -> object:
        tries.append(path.name)
        return connect(path)

    monkeypatch.setattr(connections, "_connect", count)
    for name in "bcd":
        with pytest.raises(VideoError, match=r"connection failed"):
            probe(path_of(f"https://localhost:1/{name}.mp4"))
    assert tries == [f"{name}.mp4" for name in "bbbbcd"]


def test_nothing_is_tried_again_once_nobody_waits(served: WebServer) -> None:
    served.faults.extend(["503"] * 9)
    leaving.set()
    try:
        with pytest.raises(VideoError, match="was given up"):
            decode_frames(served.path("a.mp4"), spread)
    finally:
        leaving.clear()
    assert sum(method == "GET" for method, _, _ in served.requests) == 1
