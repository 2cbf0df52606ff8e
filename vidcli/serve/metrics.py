"""What was asked and answered, in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

from collections import Counter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests; used by the thread of the event loop only.

    Attributes:
        uploaded_bytes: size of all bodies of uploads that were read.
    """

    def __init__(self) -> None:
        self.uploaded_bytes = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()

    def note(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: one of the server's addresses, or `other`: a client must not be able to add any.
            status: of the answer.
            seconds: from the request's head to the end of its answer.
        """
        self._requests[path, status] += 1
        self._seconds[path] += seconds  # type: ignore[assignment]  # Counter adds floats as well

    def render(self, num_waiting: int, model_seconds: float) -> str:
        """Return all numbers.

        Args:
            num_waiting: requests that have a place in the queue.
            model_seconds: time that the model has computed.
        """
        counts: Counter[str] = Counter()
        for (path, _), count in self._requests.items():
            counts[path] += count
        requests = {
            f'{{path="{path}",status="{status}"}}': count for (path, status), count in self._requests.items()
        }
        durations = {f'_sum{{path="{path}"}}': seconds for path, seconds in self._seconds.items()}
        durations |= {f'_count{{path="{path}"}}': count for path, count in counts.items()}
        families = (
            ("requests_total", "counter", "Requests answered.", requests),
            ("request_seconds", "summary", "Time from a request to its answer.", durations),
            ("uploaded_bytes_total", "counter", "Bytes of uploads read.", {"": self.uploaded_bytes}),
            ("waiting", "gauge", "Requests that hold a place in the queue.", {"": num_waiting}),
            ("model_seconds_total", "counter", "Time that the model computed.", {"": model_seconds}),
        )
        lines = []
        for name, kind, about, samples in families:
            lines += [f"# HELP vidcli_{name} {about}", f"# TYPE vidcli_{name} {kind}"]
            lines += [f"vidcli_{name}{labels} {value}" for labels, value in samples.items()]
        return "\n".join(lines) + "\n"
