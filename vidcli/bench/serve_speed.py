"""Measure `vidcli serve` under load beside prediction without a server, and send it what it must refuse.

The server is a process of its own; its clients are threads of this one, each with a connection that stays
open. Prediction and the server take turns on the same videos. Every answer is compared with that of
prediction. At the end good uploads come mixed with broken, cut off and too large ones.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from vidcli.bench.timing import Row, time_call
from vidcli.errors import DataError, VidcliError
from vidcli.predict import Prediction, Predictor

_MAX_UPLOAD_MIB = 64
_PATIENCE_SECONDS = 600.0
_ALONE = 20
"""Requests of one client alone."""
_ADDRESS = re.compile(r"answers at http://127\.0\.0\.1:(\d+);")


@dataclass(frozen=True)
class Server:
    """A server in a process of its own.

    Attributes:
        port: where it answers.
        token: what its clients must send.
        process: the process.
    """

    port: int
    token: str
    process: subprocess.Popen[str]
    _idle: list[http.client.HTTPConnection] = field(default_factory=list)

    def upload(self, name: str, content: bytes, announced: int | None = None) -> tuple[int, Row]:
        """Send a video; return the status and the object of the answer.

        Args:
            name: of the file.
            content: its bytes.
            announced: the bytes that the request says to hold; None is as many as it does.
        """
        body, kind = _form_of(name, content)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        if announced is not None:
            headers["Content-Length"] = str(announced)
        connection = self._idle.pop() if self._idle else self._connect()
        with ExitStack() as undo:
            undo.callback(connection.close)
            with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may come before all is sent
                connection.request("POST", "/predict?top_k=1000000", body, headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if announced is None and not answer.will_close:
                self._idle.append(connection)
                undo.pop_all()
        return answer.status, told

    def cut_off(self, name: str, content: bytes) -> None:
        """Send the first half of a video, and leave."""
        body, kind = _form_of(name, content)
        connection = self._connect()
        connection.putrequest("POST", "/predict")
        for header, value in (("Authorization", f"Bearer {self.token}"), ("Content-Type", kind)):
            connection.putheader(header, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[: len(body) // 2])
        connection.close()

    def resident_mib(self) -> float | None:
        """Return the memory that the process holds now; None where the system does not tell."""
        with suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
            if match := re.search(r"VmRSS:\s+(\d+) kB", status):
                return round(int(match[1]) / 1024, 1)
        return None

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of the process so far; None where the system does not tell."""
        with suppress(OSError):
            fields = (
                Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            )
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return None

    def close(self) -> None:
        """Close the connections that are open; the server does so itself after a few seconds."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)


def _form_of(name: str, content: bytes) -> tuple[bytes, str]:
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n\r\n'
    body = b"".join((head.encode(), content, f"\r\n--{boundary}--\r\n".encode()))
    return body, f"multipart/form-data; boundary={boundary}"


@contextmanager
def running(model_file: Path, device: str, max_waiting: int) -> Iterator[Server]:
    """Run a server while this is open.

    Args:
        model_file: what it serves.
        device: as --device says.
        max_waiting: the most requests that it takes at a time.

    Raises:
        VidcliError: it does not start.
    """
    token = secrets.token_urlsafe(32)
    command = [sys.executable, "-m", "vidcli", "serve", "--model", str(model_file), "--device", device]
    command += ["--port", "0", "--max-waiting", str(max_waiting), "--max-upload-mib", str(_MAX_UPLOAD_MIB)]
    known = os.environ | {"VIDCLI_TOKEN": token, "NO_COLOR": "1", "COLUMNS": "1000"}
    with subprocess.Popen(
        [*command, "--timeout", "600"], stderr=subprocess.PIPE, encoding="utf-8", env=known
    ) as process:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line.rstrip())
            if match := _ADDRESS.search(line):
                break
        else:
            raise VidcliError(f"vidcli serve did not start: {' '.join(lines)}")
        listener = threading.Thread(target=process.stderr.read)  # a full pipe would stop the server
        listener.start()
        try:
            with closing(Server(int(match[1]), token, process)) as server:
                yield server
        finally:
            process.send_signal(signal.SIGTERM)
            listener.join()


def bench_serve(
    predictor: Predictor, model_file: Path, videos: Sequence[Path], clients: int, rounds: int
) -> Iterator[Row]:
    """Measure prediction and the server in turns; yield a row a round, and a summary last.

    Args:
        predictor: the model, on its device.
        model_file: of it, which the server loads too.
        videos: whole; those that cannot be decoded are left out and counted.
        clients: requests at a time.
        rounds: number of turns, of which the median counts.

    Yields:
        Rows with `round`, the videos a second of `predict` and `serve`, `p50_ms` and `p99_ms` from a
        request to its answer, CPU time a video of both (`predict_cpu_ms`, `serve_cpu_ms`; clients do not
        count), and `rss_mib` of the server. The summary holds medians, `ratio` (serve over
        predict), `alone_ms` of one client, `same_bits`, `num_lost` (requests without the answer that
        they should have), `num_refused` of the last part, and `rss_mib` before and `rss_mib_after` it.

    Raises:
        DataError: no video can be decoded.
        VidcliError: the server does not start.
    """
    good = [p for p in predictor.predict_many(videos) if p.error is None]  # warms the file cache, too
    if not good:
        raise DataError("none of these videos can be decoded; `vidcli predict` tells why")
    paths = [Path(prediction.video) for prediction in good]
    with running(model_file, str(predictor.device), clients) as server:
        load = _Load(server, good, clients)
        load.answer_all()  # the first calls may compile
        rows: list[Row] = []
        for number in range(1, rounds + 1):
            rows.append({"round": number, **_turn(predictor, paths, load), "rss_mib": server.resident_mib()})
            yield rows[-1]
        alone_ms = load.alone_ms()
        num_refused = load.abuse()
        yield {
            "device": str(predictor.device),
            "num_videos": len(good),
            "num_failed": len(videos) - len(good),
            "clients": clients,
            **_medians(rows),
            "alone_ms": alone_ms,
            "same_bits": load.num_other == 0,
            "num_lost": load.num_lost,
            "num_refused": num_refused,
            "rss_mib_after": server.resident_mib(),
        }


def _turn(predictor: Predictor, paths: Sequence[Path], load: _Load) -> Row:
    """Predict, and let the server answer, one after the other."""
    seconds, cpu_seconds = time_call(lambda: list(predictor.predict_many(paths)))
    load.begin()
    before = load.server.cpu_seconds()
    serve_seconds, client_seconds = time_call(load.answer_all)
    after = load.server.cpu_seconds()
    p50, p99 = (1000 * np.percentile(load.seconds, [50, 99])).tolist()
    row = {"predict": len(paths) / seconds, "serve": len(paths) / serve_seconds, "p50_ms": p50, "p99_ms": p99}
    if before is not None and after is not None:
        row |= {
            "predict_cpu_ms": 1000 * cpu_seconds / len(paths),
            "serve_cpu_ms": 1000 * (after - before) / len(paths),
            "client_cpu_ms": 1000 * client_seconds / len(paths),
        }
    return {name: round(value, 2) for name, value in row.items()}


def _medians(rows: Sequence[Row]) -> Row:
    median = {
        name: statistics.median(row[name] for row in rows)
        for name in ("predict", "serve", "p50_ms", "p99_ms")
    }
    # How busy the machine is differs between rounds, so the ratio is computed within each round.
    ratio = statistics.median(row["serve"] / row["predict"] for row in rows)
    speeds = {f"{name}_per_second": median.pop(name) for name in ("predict", "serve")}
    return {**speeds, "ratio": round(ratio, 3), **median, "rss_mib": rows[-1]["rss_mib"]}


class _Load:
    """The clients of a server, and what they saw.

    Attributes:
        server: that they ask.
        seconds: from each request for a good video to its answer.
        num_other: answers that were not those of prediction.
        num_lost: requests without the answer that they should have.
    """

    def __init__(self, server: Server, predictions: Sequence[Prediction], clients: int) -> None:
        self.server, self._clients, self._predictions = server, clients, predictions
        self._expected = {p.video: dict(p.top(len(p.class_names))) for p in predictions}
        self.seconds: list[float] = []
        self.num_other = self.num_lost = 0

    def begin(self) -> None:
        """Forget what was measured so far; clients connect anew."""
        self.seconds.clear()
        self.server.close()

    def answer_all(self) -> None:
        """Ask about each video once."""
        self._together([partial(self._ask, prediction.video) for prediction in self._predictions])

    def alone_ms(self) -> float:
        """Return the median time of an answer in milliseconds where one client asks alone."""
        self.begin()
        for prediction in self._predictions[:_ALONE]:
            self._ask(prediction.video)
        return round(statistics.median(self.seconds) * 1000, 1)

    def abuse(self) -> int:
        """Mix good uploads with bad ones; return how many were refused as they should be."""
        num_lost, too_large = self.num_lost, _MAX_UPLOAD_MIB * 2**20 + 1
        noise = np.random.default_rng(0).bytes(10_000)
        bad: list[Callable[[], None]] = [
            partial(self._refuse, "noise.mp4", noise, 422),
            partial(self._refuse, "large.mp4", noise, 413, too_large),
            partial(self.server.cut_off, "half.mp4", noise),
        ]
        calls: list[Callable[[], None]] = []
        for prediction in self._predictions:
            calls += [partial(self._ask, prediction.video), *bad]
        self._together(calls)
        return len(self._predictions) * len(bad) - (self.num_lost - num_lost)

    def _together(self, calls: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(self._clients, "vidcli-client") as clients:
            for done in [clients.submit(call) for call in calls]:
                done.result()

    def _ask(self, video: str) -> None:
        content, name = Path(video).read_bytes(), Path(video).name
        started = time.perf_counter()
        try:
            status, told = self.server.upload(name, content)
            while status == 503:  # all places are taken: those of cut off uploads are free a little later
                time.sleep(0.05)
                status, told = self.server.upload(name, content)
        except (OSError, http.client.HTTPException):
            status, told = 0, {}
        self.seconds.append(time.perf_counter() - started)
        if status != 200:
            self.num_lost += 1
        elif {row["label"]: row["probability"] for row in told["predictions"]} != self._expected[video]:
            self.num_other += 1

    def _refuse(self, name: str, content: bytes, expected: int, announced: int | None = None) -> None:
        try:
            status, _ = self.server.upload(name, content, announced)
        except (OSError, http.client.HTTPException):
            status = 0
        if status not in (expected, 503):
            self.num_lost += 1
