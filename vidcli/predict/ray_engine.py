"""Predict on the machines of a Ray cluster: an actor a core or a GPU, each with a model of its own.

Actors are started and replaced from here, by `worker_pool`. Ray Data, which would do both, never replaces an
actor that died in a pool of fixed size (ray-project/ray#62746), and tries a video that ends its process again
and again. An actor that Ray itself restarts loses what it was built from with the machine that holds that
(ray-project/ray#53727).

The model travels through Ray's store of objects; videos are opened on the machine that looks at them.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import vidcli
from vidcli.artifacts.carried import read_model
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, DeviceError, VidcliError
from vidcli.names import visible
from vidcli.predict.predictor import Predictor
from vidcli.predict.ray_worker import Assignment, RayWorker
from vidcli.predict.side_by_side import computing_bytes
from vidcli.predict.worker_pool import Lost, Outcome
from vidcli.runtime.compat import silence_ray
from vidcli.runtime.plain import one_line
from vidcli.runtime.signals import undivided
from vidcli.runtime.threads import num_workers

_ENGINE = re.compile(r"ray(?:://(?P<host>[^\s/]+):(?P<port>\d{1,5}))?")
_FIELD = re.compile(r"(class_name|actor_id|pid|namespace|name|ip|repr): ")
_DEVICES = ("auto", "cpu", "cuda")
_CONNECT_SECONDS = 10.0
_CONNECT_TRIES = 3
_POLL_SECONDS, _LOOK_SECONDS = 0.5, 5.0
_PATIENCE_SECONDS = 60.0
_NOT_THERE = (
    "a machine of the cluster lacks what this one has; install the same vidcli on all, with its extras"
)
_TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
_TOKEN_FILE = Path.home() / ".ray" / "auth_token"
_STORE_BYTES = 2**27
"""The least memory that Ray's store of objects gets on this machine."""
_WORKER_BYTES = 700 * 2**20
"""Memory of a worker without a model, most of which is torch's."""


@dataclass(frozen=True)
class RayEngine:
    """Which cluster to use.

    Attributes:
        address: `ray://HOST:PORT`, or what RAY_ADDRESS says; None begins one on this machine.
        device: auto, cpu or cuda.
    """

    address: str | None
    device: str

    @property
    def is_own(self) -> bool:
        """Whether it begins and ends with this process."""
        return self.address is None

    @classmethod
    def parse(cls, text: str, device: str) -> RayEngine:
        """Read what --engine and --device say, before anything else is done.

        Args:
            text: `ray` or `ray://HOST:PORT`.
            device: as --device says.

        Raises:
            ConfigError: it says something else, Ray is not installed, or nothing answers there.
        """
        match = _ENGINE.fullmatch(text)
        if match is None:
            raise ConfigError(f"--engine {text}: expected ray, or ray://HOST:PORT of a cluster's Ray client")
        if device not in _DEVICES:
            raise ConfigError(
                f"--device {device}: with --engine, Ray chooses among devices; expected auto, cpu or cuda"
            )
        if find_spec("ray") is None:
            raise ConfigError(f"--engine {text} needs ray, which is not installed: pip install 'vidcli[ray]'")
        if match["host"] is not None:
            _require_answer(text, match["host"], int(match["port"]))
        return cls(text if match["host"] else os.environ.get("RAY_ADDRESS") or None, device)


def _require_answer(engine: str, host: str, port: int) -> None:
    """Refuse an address where nothing listens; Ray itself would try for half a minute."""
    try:
        socket.create_connection((host.strip("[]"), port), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--engine {engine}: nothing answers at {host}:{port} ({one_line(error)}); expected the port of "
            "Ray's client server, which `ray start --head` opens at 10001"
        ) from error


class RayWorkers:
    """The actors of one command, as `worker_pool.Workers`."""

    def __init__(
        self,
        engine: RayEngine,
        predictor: Predictor,
        files: Mapping[str, bytes],
        tell: Callable[[str], object],
    ) -> None:
        """Look at the cluster, to which this process is connected, and send it the model.

        Args:
            engine: which cluster it is.
            predictor: the model as it is here.
            files: of the model; see `artifacts.carried`.
            tell: called with a sentence if no worker begins.
        """
        import ray

        self._ray, self._tell, self._is_own = ray, tell, engine.is_own
        has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
        on_gpu = engine.device == "cuda" or (engine.device == "auto" and has_gpus)
        self._resource = "GPU" if on_gpu else "CPU"
        nodes = ray.nodes()
        num_cores = cores_of_gpu(nodes) if on_gpu else 1
        # So no machine gets more workers than it can feed; one that fits nowhere is tried all the same.
        memory = _WORKER_BYTES + 2 * sum(map(len, files.values())) + computing_bytes(predictor)
        memory = min(memory, largest_memory(nodes))
        needs = {"num_cpus": num_cores, "num_gpus": int(on_gpu), "memory": memory}
        self._actor = ray.remote(max_restarts=0, **needs)(RayWorker)
        clip = predictor.config.clip
        self._assignment = ray.put(
            Assignment(
                vidcli.__version__,
                os.getcwd(),
                files,
                "cuda" if on_gpu else "cpu",
                num_cores,
                clip.views,
                clip.crops,
                predictor.config.subject.boxes,
                predictor.threshold,
            )
        )
        self._asked: dict[Any, Any] = {}
        self._size, self._looked = 0, float("-inf")
        self._waited_since: float | None = time.monotonic()

    def start(self) -> tuple[Any, Any]:
        """Begin an actor; its ticket is answered when it has loaded the model."""
        worker = self._actor.remote()
        return worker, self._note(worker, worker.load.remote(self._assignment))

    def submit(self, worker: Any, items: Sequence[VideoItem]) -> Any:
        """Ask an actor for the predictions of videos."""
        return self._note(worker, worker.predict.remote([*items]))

    def _note(self, worker: Any, ticket: Any) -> Any:
        self._asked[ticket] = worker
        return ticket

    def wait(self) -> Sequence[tuple[Any, Outcome]]:
        """Return what was answered; after half a second, nothing.

        Raises:
            VidcliError: a machine cannot load the model, or cannot read boxes, or the cluster is gone.
        """
        try:
            done = self._answered()
            return [(ticket, self._answer_of(ticket)) for ticket in done]
        except (ConnectionError, self._ray.exceptions.RpcError) as error:
            raise VidcliError(
                f"--engine ray: the cluster does not answer any more ({_last_line(error)}); what --output "
                "holds stays, and the same command goes on"
            ) from error

    def _answered(self) -> Sequence[Any]:
        tickets = [*self._asked]
        with undivided():  # Ray makes a plain KeyboardInterrupt of every signal
            done, _ = self._ray.wait(tickets, timeout=_POLL_SECONDS)
        if not done:
            self._tell_if_waiting()
            return []
        self._waited_since = None
        done, _ = self._ray.wait(tickets, num_returns=len(tickets), timeout=0)
        return [*done]

    def _answer_of(self, ticket: Any) -> Outcome:
        exceptions = self._ray.exceptions
        del self._asked[ticket]
        try:
            found = self._ray.get(ticket)
        except exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except exceptions.RayError as error:
            if "creation task" in str(error):  # no vidcli there, or an older one
                raise VidcliError(f"--engine ray: {_NOT_THERE} ({_last_line(error)})") from error
            return Lost(why_lost(str(error)))
        if isinstance(found, str):
            raise VidcliError(f"--engine ray: {found}")
        return found or []

    def _tell_if_waiting(self) -> None:
        since = self._waited_since
        if since is not None and time.monotonic() - since > _PATIENCE_SECONDS:
            self._waited_since = None
            self._tell(
                f"no worker is ready after {_PATIENCE_SECONDS:.0f} s: the cluster has "
                f"{self._ray.cluster_resources().get(self._resource, 0):g} {self._resource}, of which "
                f"{self._ray.available_resources().get(self._resource, 0):g} are free; waiting"
            )

    def stop(self, worker: Any) -> None:
        """End an actor, whatever it does."""
        self._asked = {ticket: other for ticket, other in self._asked.items() if other is not worker}
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)

    def most_starting(self, num_ready: int) -> int:
        """Return how many actors may be on their way.

        On a cluster of others one more than fits waits for each two that are ready: a cluster that grows
        by itself does so for what waits.
        """
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._size = int(self._ray.cluster_resources().get(self._resource, 0))
            self._looked = time.monotonic()
        room = self._size - num_ready
        return max(1 - num_ready, room) if self._is_own else max(1, room, num_ready // 2)


def _last_line(error: Exception) -> str:
    return visible(one_line((str(error).strip().splitlines() or [type(error).__name__])[-1]))


def why_lost(text: str) -> str:
    """Return the sentence in which Ray tells why an actor is lost, without the names before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines[1:] if not _FIELD.match(line)] or lines or ["no reason told"]
    return visible(one_line(told[0].partition(". ")[0]))


def cores_of_gpu(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Return how many cores each GPU of a machine has for itself, on the machine with the fewest."""
    resources = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU")]
    return max(1, min((int(own.get("CPU", 1) // own["GPU"]) for own in resources), default=1))


def largest_memory(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Return the memory in bytes that the largest machine has for workers."""
    return int(max((node["Resources"].get("memory", 0) for node in nodes if node["Alive"]), default=0))


@contextmanager
def ray_workers(
    engine: RayEngine, predictor: Predictor, model_file: Path, tell: Callable[[str], object]
) -> Iterator[RayWorkers]:
    """Connect to a cluster or begin one here, and end what was begun.

    Args:
        engine: which cluster.
        predictor: the model as it is here.
        model_file: its files.
        tell: called with a sentence if no worker begins.

    Raises:
        VidcliError: there is no such cluster, or a GPU is wanted that it has not.
    """
    files = read_model(model_file)
    set_environment(engine)
    import ray

    silence_ray()
    with _own_signals():
        _connect(ray, engine, sum(map(len, files.values())))
    try:
        if engine.device == "cuda" and not ray.cluster_resources().get("GPU"):
            raise DeviceError("--device cuda: no machine of the cluster has a GPU now; expected auto or cpu")
        try:
            workers = RayWorkers(engine, predictor, files, tell)
        except ImportError as error:  # of the machine that Ray's client talks to
            raise VidcliError(f"--engine ray: {_NOT_THERE} ({one_line(error)})") from error
        yield workers
    finally:
        ray.shutdown()  # which ends all actors of this process


def set_environment(engine: RayEngine) -> None:
    """Say how Ray behaves, as it reads when it is imported; what the user has set stays."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if engine.address is None:
        # Who else is on this machine could give orders to the actors otherwise.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    elif engine.address.startswith("ray://") and (os.environ.keys() & _TOKENS or _TOKEN_FILE.exists()):
        # Ray's client shows its token only if it is told to, other than Ray itself.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Handle SIGTERM afterwards as before; Ray's handlers would print a stack or leave without a word."""
    usual = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and usual is not None:
            signal.signal(signal.SIGTERM, usual)


def _connect(ray: Any, engine: RayEngine, num_bytes: int) -> None:
    """Connect to a cluster, or begin one that holds a model of so many bytes."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    own = {
        "num_cpus": num_workers(0),
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES + 2 * num_bytes,
        "_node_ip_address": "127.0.0.1",
    }
    for num_left in reversed(range(_CONNECT_TRIES)):
        try:
            ray.init(engine.address or "local", **quiet, **(own if engine.is_own else {}))
            return
        except Exception as error:  # Ray has no error of its own for what cannot be connected to
            # The server for one client may crash as it begins (ray-project/ray#63202).
            if num_left and isinstance(error, ConnectionAbortedError):
                continue
            raise VidcliError(
                f"--engine ray: {engine.address or 'a cluster on this machine'} cannot be used "
                f"({one_line(error)}); expected a cluster with the same versions of Ray and Python as here, "
                "and its token in RAY_AUTH_TOKEN if it asks for one"
            ) from error
