"""The page over HTTP: who may enter, what is said and saved, and the videos."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.forks import Forked
from tests.serve.client import TOKEN, Answer, Client
from vidcli.data.manifest import read_data
from vidcli.review import pages
from vidcli.review.entrance import cookie_name


def say(client: Client, position: int, version: int = 0, **verdict: Any) -> Answer:
    body = json.dumps({"version": version, **verdict}).encode()
    return client.ask("POST", f"/api/clips/{position}", body, Content_Type="application/json")


def raw(client: Client, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    known = {"Authorization": f"Bearer {TOKEN}"} | headers
    connection.request("GET", path, headers=known)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def wait_for(client: Client, is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    until = time.monotonic() + 300  # a busy machine is no reason to fail
    while not is_there(news := client.ask("GET", "/api/news?revision=0&ranking=0").value):
        assert time.monotonic() < until
        time.sleep(0.05)
    return dict(news)


def test_the_token_becomes_a_cookie(client: Client) -> None:
    client.token = None
    answer = client.ask("GET", f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = client.ask("GET", "/", Cookie=cookie.partition(";")[0])
    assert page.status == 200
    assert "<title>Review" in page.text


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 401),
        ("/?token=wrong", {}, 401),
        ("/media/0", {}, 401),
        ("/runs", {}, 401),
        ("/api/runs", {}, 401),
        ("/api/clips?token=" + TOKEN, {}, 401),
        ("/", {"Cookie": "vidcli-review-0=" + TOKEN}, 401),
        ("/", {"Authorization": "Bearer " + TOKEN, "Host": "evil.example"}, 421),
        ("/", {"Authorization": "Bearer " + TOKEN, "Origin": "http://evil.example"}, 403),
    ],
)
def test_strangers_do_not_enter(client: Client, path: str, headers: dict[str, str], status: int) -> None:
    client.token = None
    assert client.ask("GET", path, **headers).status == status


def test_every_answer_keeps_the_page_to_itself(client: Client) -> None:
    for path in ("/", "/runs", "/review.js", "/api/clips", "/media/0", "/nowhere"):
        _, headers, content = raw(client, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        if path in ("/", "/runs"):
            assert b"<style" not in content
            assert b" style=" not in content
            assert b"onclick=" not in content
            assert content.count(b"<script") == content.count(b"<script src=") == 2


def test_a_label_is_saved_before_the_answer(client: Client, manifest: Path) -> None:
    answer = say(client, 3, label="left")
    assert answer.value["clip"] == {
        "id": 3,
        "version": 1,
        "label": "left",
        "flagged": False,
        "segments": [],
        "by_person": True,
    }
    assert [(item.path.name, item.label) for item in read_data(manifest).items] == [("3.mp4", "left")]
    assert client.ask("GET", "/api/news?revision=0&ranking=0").value["classes"] == ["left"]


def test_two_windows_do_not_overwrite_each_other(client: Client, manifest: Path) -> None:
    say(client, 3, label="left")
    late = say(client, 3, label="right")
    assert late.status == 409
    assert late.value["clip"]["label"] == "left"
    seen = client.ask("GET", "/api/news?revision=0&ranking=1").value
    assert [clip["id"] for clip in seen["clips"]] == [3]
    assert say(client, 3, version=1, label="right").status == 200
    assert [item.label for item in read_data(manifest).items] == ["right"]


def test_undo_says_again_what_was_said_before(client: Client, manifest: Path) -> None:
    say(client, 0, label="left")
    say(client, 1, label="left")
    say(client, 1, version=1, label=None, flagged=False, segments=[], by_person=False)
    assert [item.path.name for item in read_data(manifest).items] == ["0.mp4"]


def test_segments_become_rows(client: Client, manifest: Path) -> None:
    parts = [{"start": 0, "end": 0.5, "label": "a"}, {"start": 0.5, "end": 1.25, "label": "b"}]
    assert say(client, 2, label=None, segments=parts).status == 200
    rows = [(item.label, item.start_seconds, item.end_seconds) for item in read_data(manifest).items]
    assert rows == [("a", 0.0, 0.5), ("b", 0.5, 1.25)]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"version": 0, "label": ""}', "application/json", 400),
        (b'{"label": "a"}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b" " * (2**20 + 1), "application/json", 413),
        (b'{"version": 0, "label": "a"}', "text/plain", 415),
    ],
)
def test_bad_requests_say_what_is_wrong(
    client: Client, manifest: Path, body: bytes, kind: str, status: int
) -> None:
    answer = client.ask("POST", "/api/clips/0", body, Content_Type=kind)
    assert answer.status == status
    assert answer.value["error"]
    assert len(manifest.read_text().splitlines()) == 1


def test_only_clips_of_the_data_set_are_there(client: Client) -> None:
    for path in (
        "/media/6",
        "/media/-1",
        "/media/..%2f..%2fetc%2fpasswd",
        "/static/review.js",
        "/picture/99",
    ):
        assert client.ask("GET", path).status == 404, path


def test_a_part_of_a_video_can_be_asked_for(client: Client, folder: Path) -> None:
    content = (folder / "1.mp4").read_bytes()
    status, headers, part = raw(client, "/media/1", Range="bytes=10-19")
    assert (status, part) == (206, content[10:20])
    assert headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert raw(client, "/media/1")[2] == content
    assert raw(client, "/media/1", Range=f"bytes={len(content)}-")[0] == 416


def test_a_picture_is_a_jpeg(client: Client) -> None:
    status, headers, content = raw(client, "/picture/0")
    assert (status, headers["content-type"], content[:2]) == (200, "image/jpeg", b"\xff\xd8")


def test_labels_rank_the_rest_and_guesses_are_shown(client: Client) -> None:
    say(client, 0, label="even")
    say(client, 1, label="odd")
    news = wait_for(client, lambda news: len(news["queues"]["unlabelled"]) == 4 and news["ranking"] > 1)
    assert {position for position, _ in news["queues"]["unlabelled"]} == {2, 3, 4, 5}
    assert all(reason for _, reason in news["queues"]["unlabelled"])
    guesses = dict(client.ask("GET", "/api/clips/4").value["guesses"])
    assert guesses["even"] > guesses["odd"]
    assert abs(sum(guesses.values()) - 1) < 1e-6


@pytest.fixture
def forked_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training be a fork, which starts in a moment."""

    def start(command: list[str], **streams: Any) -> Forked:
        assert command[:3] == [sys.executable, "-m", "vidcli"]
        return Forked(command[1:], stdout=streams["stdout"], stderr=streams["stderr"])

    known = {name: getattr(subprocess, name) for name in ("PIPE", "STDOUT", "DEVNULL", "TimeoutExpired")}
    monkeypatch.setattr("vidcli.review.retrain.subprocess", SimpleNamespace(Popen=start, **known))


@pytest.mark.usefixtures("forked_training")
def test_a_training_that_cannot_begin_says_why(client: Client) -> None:
    begun = client.ask("POST", "/api/train", b"{}", Content_Type="application/json")
    assert begun.value["training"]["running"]
    again = client.ask("POST", "/api/train", b"{}", Content_Type="application/json")
    assert again.status == 409
    ended = wait_for(client, lambda news: not news["training"]["running"])["training"]
    assert ended["code"] == 1
    assert "holds no rows" in ended["lines"][-1]


def test_training_makes_a_run(client: Client, tmp_path: Path) -> None:
    for position in range(6):
        say(client, position, label=("even", "odd")[position % 2])
    client.ask("POST", "/api/train", b"{}", Content_Type="application/json")
    ended = wait_for(client, lambda news: not news["training"]["running"])["training"]
    assert ended["code"] == 0, ended
    assert (Path(ended["run"]) / "model.safetensors").is_file()
    assert Path(ended["run"]).parent.name == "runs"


@pytest.mark.usefixtures("forked_training")
def test_a_training_can_be_stopped(client: Client) -> None:
    client.ask("POST", "/api/train", b"{}", Content_Type="application/json")
    stopped = client.ask("POST", "/api/train", b'{"stop": true}', Content_Type="application/json")
    assert stopped.value["training"]["code"] not in (None, 0)


def test_the_cookies_of_two_pages_differ() -> None:
    assert cookie_name(1) != cookie_name(2)


def test_runs_are_told_and_come_first(runs_client: Client) -> None:
    told = runs_client.ask("GET", "/api/runs").value
    assert [run["name"] for run in told["runs"]] == ["runs/a", "runs/b"]
    assert [video["id"] for video in told["videos"]] == list(range(6))
    assert runs_client.ask("GET", "/api/clips").value["has_runs"] is True
    runs_client.token = None
    assert runs_client.ask("GET", f"/?token={TOKEN}").headers["location"] == "/runs"


def test_without_an_evaluation_there_are_no_runs(client: Client) -> None:
    assert client.ask("GET", "/api/clips").value["has_runs"] is False
    answer = client.ask("GET", "/api/runs")
    assert answer.status == 404
    assert "vidcli eval" in answer.value["error"]


def test_the_rest_of_a_video_comes_in_parts(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PART_BYTES", 100)
    content = (folder / "0.mp4").read_bytes()
    for asked, told in (("bytes=50-", content[50:150]), ("bytes=50-349", content[50:350])):
        status, headers, part = raw(client, "/media/0", Range=asked)
        assert (status, part) == (206, told)
        assert headers["content-range"] == f"bytes 50-{49 + len(told)}/{len(content)}"
