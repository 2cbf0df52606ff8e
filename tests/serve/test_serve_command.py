"""`vidcli serve` in a process of its own: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.forks import Forked
from tests.serve.client import Client, form_of
from vidcli.commands.app import app


def run(*args: object) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "VIDCLI_TOKEN": ""})


@pytest.fixture
def spawn(model: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[Forked, list[str]]]]:
    """Start the command, and return its process and the lines that it printed until it was ready."""
    started: list[Forked] = []
    (tmp_path / "tmp").mkdir()

    def start(*args: str, num_lines: int, **environment: str) -> tuple[Forked, list[str]]:
        command = ["-m", "vidcli", "serve", "--model", model, "--port", "0", *args, "--device", "cpu"]
        known = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "NO_COLOR": "1", **environment}
        process = Forked(command, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        assert process.stderr is not None
        return process, [process.stderr.readline() for _ in range(num_lines)]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def port_in(line: str) -> int:
    match = re.search(r" answers at http://127\.0\.0\.1:(\d+); Ctrl-C ends$", line)
    assert match, line
    return int(match[1])


def test_it_prints_its_address_and_token_and_answers_as_the_commands_do(
    spawn: Callable[..., Any], model: Path, video: Path, tmp_path: Path
) -> None:
    process, (first, second) = spawn("--allow", str(video.parent), "--quiet", num_lines=2)
    token = second.removeprefix("token: ").strip()
    assert len(token) >= 40
    client = Client(port_in(first), token)
    for command in ("predict", "timeline"):
        printed = run(command, video, "--model", model, "--device", "cpu", "--format", "json").stdout
        asked = client.name(str(video), f"/{command}")
        assert (asked.status, asked.text) == (200, printed.rstrip("\n"))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
    assert list((tmp_path / "tmp").iterdir()) == []


def test_sigterm_waits_for_a_request_that_has_begun(
    spawn: Callable[..., Any], video: Path, tmp_path: Path
) -> None:
    process, (first,) = spawn(num_lines=1, VIDCLI_TOKEN="0123456789abcdef")
    client = Client(port_in(first), "0123456789abcdef")
    body, kind = form_of(video.read_bytes(), "a.mp4")
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.putrequest("POST", "/predict")
    for name, value in (
        ("Authorization", f"Bearer {client.token}"),
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
    ):
        connection.putheader(name, value)
    connection.endheaders(body[:100])
    client.wait_for(1)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    with pytest.raises(ConnectionRefusedError):
        client.ask("GET", "/health")
    connection.send(body[100:])
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["video"]) == (200, "a.mp4")
    connection.close()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "", "")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_taken_port_is_named(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--model", model, "--port", port, "--device", "cpu")
    assert result.exit_code == 2
    assert f"--port {port}: cannot be listened on (Address already in use)" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--token", "short"), "--token: expected 16 visible"),
        (("--token", "with blanks in between"), "--token: expected 16 visible"),
        (("--allow", "missing"), "--allow missing: is no folder"),
        (("--host", "no such host"), "--host no such host --port 8000: cannot be listened on"),
        (("--threshold", "0.5", "--model", "missing"), "missing"),
    ],
)
def test_what_cannot_be_used_is_refused(args: tuple[str, ...], said: str, model: Path) -> None:
    result = run("serve", "--model", model, *args)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("library", ["fastapi", "uvicorn", "python_multipart"])
def test_a_missing_extra_is_named(library: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    result = run("serve", "--model", model)
    assert result.exit_code == 2
    assert f"needs {library}, which is not installed: pip install 'vidcli[serve]'" in result.stderr
