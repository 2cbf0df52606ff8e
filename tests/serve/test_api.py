"""The server says what `vidcli predict` says, to everyone who may ask and within its bounds."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.serve.client import Client, form_of
from vidcli.data.items import VideoItem
from vidcli.predict import Predictor
from vidcli.predict.prediction import prediction_to_dict

Start = Callable[..., Client]


def test_an_upload_has_the_bits_of_predict_and_leaves_no_file(
    start: Start, predictor: Predictor, video: Path
) -> None:
    client = start()
    answer = client.upload(video.read_bytes(), "../folder/é x.mp4", "/predict?top_k=2")
    expected = prediction_to_dict(predictor.predict(video), 2)
    assert answer.status == 200
    assert answer.value == expected | {"video": "é x.mp4"}
    assert len(answer.value["predictions"]) == 2
    assert list(client.inbox.iterdir()) == []


def test_a_path_below_an_allowed_folder_is_named_as_the_client_does(
    start: Start, predictor: Predictor, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    client = start(allow=(tmp_path / "other", video.parent))
    expected = prediction_to_dict(predictor.predict(video), 5)
    for name in ("a.mp4", "./x/../a.mp4", str(video)):
        assert client.name(name).value == expected | {"video": name}
    missing = client.name("missing.mp4")
    assert (missing.status, missing.value) == (422, {"video": "missing.mp4", "error": "no such file"})


def test_a_timeline_follows_its_parameters(start: Start, video: Path) -> None:
    client = start()
    usual = client.upload(video.read_bytes(), path="/timeline").value
    assert usual["duration"] == 2.0
    assert usual["segments"][0]["start"] == 0.0
    assert usual["segments"][-1]["end"] == 2.0
    whole = client.upload(video.read_bytes(), path="/timeline?window=2&step=2").value["segments"]
    assert len(whole) == 1
    assert whole[0]["confidence"] != usual["segments"][0]["confidence"]


def test_a_timeline_needs_a_window_where_nothing_tells_it(start: Start, video: Path) -> None:
    client = start(clip_seconds=None)
    refused = client.upload(video.read_bytes(), path="/timeline")
    assert (refused.status, "?window=SECONDS" in refused.value["error"]) == (400, True)
    assert client.upload(video.read_bytes(), path="/timeline?window=0.5").status == 200


@pytest.mark.parametrize("path", ["/predict", "/timeline"])
def test_a_broken_video_has_the_error_of_predict(
    path: str, start: Start, predictor: Predictor, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    client = start()
    answer = client.upload(b"no video", path=path)
    assert answer.status == 422
    assert answer.value == {"video": "a.mp4", "error": predictor.predict(broken).error}
    assert list(client.inbox.iterdir()) == []


@pytest.mark.parametrize("query", ["top_k=0", "top_k=many"])
def test_parameters_are_checked(query: str, start: Start) -> None:
    answer = start().upload(b"", path=f"/predict?{query}")
    assert (answer.status, answer.value["error"].startswith("top_k: ")) == (400, True)


def test_20_clients_at_a_time_get_their_own_answers(
    start: Start, predictor: Predictor, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    client = start()
    videos = [write_video(tmp_path / f"{seed}.mp4", seed=seed) for seed in range(20)]
    expected = [prediction_to_dict(predictor.predict(video), 5) for video in videos]
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda video: client.upload(video.read_bytes(), str(video)), videos))
    assert [answer.value["predictions"] for answer in answers] == [row["predictions"] for row in expected]
    assert len({answer.text for answer in answers}) == 20
    assert "vidcli_waiting 0\n" in client.ask("GET", "/metrics").text


# --- what is refused


@pytest.mark.parametrize("token", [None, "", "another", "a-token-of-the-test", "a-token-of-the-testss", "é"])
def test_without_the_token_only_health_answers(token: str | None, start: Start, video: Path) -> None:
    client = start()
    client.token = token
    answer = client.upload(video.read_bytes())
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.ask("GET", "/docs").status == client.ask("GET", "/nothing").status == 401
    assert client.ask("GET", "/health").value == {"status": "ok"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:80", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("192.0.2.1", 421),
        ("", 421),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:1", 200),
    ],
)
def test_only_the_servers_own_names_are_answered(host: str, status: int, start: Start) -> None:
    assert start().ask("GET", "/health", Host=host).status == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost", "http://127.0.0.1"])
def test_pages_of_others_are_refused(origin: str, start: Start) -> None:
    client = start()
    assert client.ask("GET", "/docs", Origin=origin).status == 403
    assert client.ask("GET", "/docs", Origin=f"http://127.0.0.1:{client.port}").status == 200


def test_paths_out_of_the_folder_are_refused(start: Start, video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "link.mp4").symlink_to(video)
    (folder / "up").symlink_to(video.parent)
    (folder / "inner.mp4").symlink_to("real.mp4")
    os.link(video, folder / "real.mp4")
    client = start(allow=(folder,))
    beside = folder.with_name("allowed-not")
    beside.mkdir()
    os.link(video, beside / "a.mp4")
    outside = [
        "../videos/a.mp4",
        str(video),
        "link.mp4",
        "up/a.mp4",
        "../allowed-not/a.mp4",
        "/etc/passwd",
        ".",
    ]
    assert [client.name(name).status for name in outside] == [403] * len(outside)
    strange = ["http://127.0.0.1/a.mp4", "concat:real.mp4|real.mp4", "file:real.mp4", "real.mp4\0", "\ud800"]
    assert [client.name(name).status for name in strange] == [400] * len(strange)
    assert client.name("inner.mp4").status == 200


def test_without_an_allowed_folder_no_path_is_answered(start: Start, video: Path) -> None:
    answer = start().name(str(video))
    assert (answer.status, "--allow DIR" in answer.value["error"]) == (403, True)


def test_uploads_are_bounded_with_and_without_a_stated_length(start: Start) -> None:
    client = start(max_bytes=10_000)
    body, kind = form_of(bytes(20_000), "a.mp4")
    stated = client.ask("POST", "/predict", body, Content_Type=kind)
    chunks = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    chunked = client.ask("POST", "/predict", iter(chunks), Content_Type=kind, Transfer_Encoding="chunked")
    assert stated.status == chunked.status == 413
    assert "--max-upload-mib" in chunked.value["error"]
    assert list(client.inbox.iterdir()) == []
    assert client.upload(bytes(9_000)).status == 422  # read, and no video


def test_damaged_requests_are_named(start: Start) -> None:
    client = start()
    body, kind = form_of(b"content", "a.mp4")
    twice, kind_of_twice = form_of(b"content", "a.mp4", b"content", "b.mp4")
    boundary = kind.rpartition("=")[2]
    unnamed = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="video"\r\n\r\nx\r\n--{boundary}--'.encode()
    )
    for content, declared, status, said in (
        (body[:-10], kind, 400, "cut off"),
        (b"no form at all", kind, 400, "damaged"),
        (unnamed, kind, 400, "without a file"),
        (twice, kind_of_twice, 400, "several files"),
        (body, "multipart/form-data", 415, "multipart/form-data"),
        (body, "video/mp4", 415, "multipart/form-data"),
        (b"{", "application/json", 400, '{"path": "a.mp4"}'),
        (b"[1]", "application/json", 400, '{"path": "a.mp4"}'),
        (b'{"path": 1}', "application/json", 400, '{"path": "a.mp4"}'),
        (b"[" * 60_000, "application/json", 400, '{"path": "a.mp4"}'),
        (b" " * 70_000, "application/json", 413, "larger"),
    ):
        answer = client.ask("POST", "/predict", content, Content_Type=declared)
        assert (answer.status, said in answer.value["error"]) == (status, True), answer
    assert list(client.inbox.iterdir()) == []


# --- when there is too much to do


class Slow:
    """Stands in for `Predictor.begin`: computes when it is told to."""

    def __init__(self, predict: Callable[..., Any]) -> None:
        self._predict, self.may_go, self.num_begun = predict, threading.Event(), 0

    def __call__(self, item: VideoItem, views: Any) -> Any:
        self.num_begun += 1
        assert self.may_go.wait(30)
        return self._predict(item, views)


def test_a_full_queue_says_when_to_come_again(
    start: Start, predictor: Predictor, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(predictor.begin)
    monkeypatch.setattr(predictor, "begin", slow)
    client = start(max_waiting=2)
    with ThreadPoolExecutor(2) as clients:
        first = [clients.submit(client.upload, video.read_bytes()) for _ in range(2)]
        client.wait_for(2)
        refused = client.upload(video.read_bytes())
        slow.may_go.set()
        assert [asked.result().status for asked in first] == [200, 200]
    assert (refused.status, int(refused.headers["retry-after"]) >= 1) == (503, True)
    assert client.upload(video.read_bytes()).status == 200


def test_a_request_is_given_up_in_time_and_its_upload_removed(
    start: Start, predictor: Predictor, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(predictor.begin)
    monkeypatch.setattr(predictor, "begin", slow)
    client = start(timeout=0.5)
    with ThreadPoolExecutor(3) as clients:
        answers = list(clients.map(client.upload, [video.read_bytes()] * 3))
    assert [answer.status for answer in answers] == [504] * 3
    assert "--timeout" in answers[0].value["error"]
    client.wait_for(1)  # what has begun keeps its file and its place
    assert len(list(client.inbox.iterdir())) == 1
    slow.may_go.set()
    client.wait_for(0)
    assert slow.num_begun == 1
    assert list(client.inbox.iterdir()) == []


def test_metrics_count_and_name_no_foreign_path(start: Start, video: Path) -> None:
    client = start()
    client.upload(video.read_bytes())
    client.ask("GET", "/any/path")
    lines = client.ask("GET", "/metrics").text.splitlines()
    assert 'vidcli_requests_total{path="/predict",status="200"} 1' in lines
    assert 'vidcli_requests_total{path="other",status="404"} 1' in lines
    assert 'vidcli_request_seconds_count{path="/predict"} 1' in lines
    values = {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"
    }
    assert values["vidcli_uploaded_bytes_total"] > len(video.read_bytes())
    assert values["vidcli_model_seconds_total"] > 0


def test_the_description_is_json_and_loads_nothing(start: Start) -> None:
    answer = start().ask("GET", "/docs")
    assert answer.headers["content-type"] == "application/json"
    assert set(json.loads(answer.text)["paths"]) == {"/predict", "/timeline", "/health", "/metrics"}
    assert "cdn" not in answer.text
