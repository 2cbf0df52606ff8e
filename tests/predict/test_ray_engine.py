"""What --engine says, and what workers do; Ray itself runs in tests/commands/test_predict_ray.py."""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch

import vidcli
from vidcli.artifacts.carried import read_model, unpacked
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, VidcliError
from vidcli.predict import ray_engine
from vidcli.predict.predictor import Predictor, with_views
from vidcli.predict.ray_engine import (
    RayEngine,
    RayWorkers,
    cores_of_gpu,
    largest_memory,
    set_environment,
    why_lost,
)
from vidcli.predict.ray_worker import Assignment, RayWorker
from vidcli.predict.worker_pool import Lost
from vidcli.storage.addresses import StoredPath, path_of

LOST = """The actor died unexpectedly before finishing this task.
\tclass_name: RayWorker
\tactor_id: 4572c53efce7430fbf1b9a5701000000
\tpid: 3102
\tip: 192.0.2.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: End.
"""


@pytest.fixture
def installed(monkeypatch):
    """Ray may be missing where the tests run."""
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    "text", ["", "spark", "ray:", "ray://", "ray://host", "ray://host:port", "xray", "ray "]
)
def test_another_engine_is_refused(installed, text):
    with pytest.raises(ConfigError, match=r"expected ray, or ray://HOST:PORT"):
        RayEngine.parse(text, "auto")


def test_devices_are_chosen_by_ray(installed):
    with pytest.raises(ConfigError, match=r"--device cuda:1: .* expected auto, cpu or cuda"):
        RayEngine.parse("ray", "cuda:1")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'vidcli\[ray\]'"):
        RayEngine.parse("ray", "cpu")


def test_where_nothing_listens_is_told_at_once(installed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"nothing answers at 127.0.0.1:\d+ .*10001"):
            RayEngine.parse(address, "auto")
    with pytest.raises(ConfigError, match="nothing answers"):
        RayEngine.parse("ray://127.0.0.1:99999", "auto")


def test_the_cluster_of_the_environment_is_joined(installed, monkeypatch):
    assert RayEngine.parse("ray", "cpu").is_own
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert RayEngine.parse("ray", "cpu") == RayEngine("auto", "cpu")


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The variables that Ray reads, of which none is set yet."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", clean)
    monkeypatch.setattr(ray_engine, "_TOKEN_FILE", tmp_path / "auth_token")
    return clean


def test_ray_reports_nothing_and_a_cluster_of_our_own_obeys_nobody_else(environment):
    set_environment(RayEngine(None, "cpu"))
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize(
    ("address", "is_shown"), [("ray://host:10001", True), ("auto", False), ("host:6379", False)]
)
def test_only_the_client_is_told_to_show_the_users_token(environment, tmp_path, address, is_shown):
    """A cluster without tokens ends the actors of a driver that asks it for one."""
    (tmp_path / "auth_token").write_text("secret")
    set_environment(RayEngine(address, "cpu"))
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert ("RAY_AUTH_MODE" in environment) == is_shown
    assert "RAY_AUTH_TOKEN" not in environment


def test_each_gpu_has_its_share_of_the_cores_of_its_machine():
    def node(**resources):
        return {"Alive": True, "Resources": resources}

    assert cores_of_gpu([node(CPU=96), node(CPU=16, GPU=1), node(CPU=26, GPU=2)]) == 13
    assert cores_of_gpu([node(CPU=2, GPU=8), node(CPU=8)]) == 1
    assert cores_of_gpu([node(CPU=8), node(CPU=8, GPU=1) | {"Alive": False}]) == 1


def test_a_worker_asks_for_no_more_memory_than_the_largest_machine_has():
    nodes = [{"Alive": is_alive, "Resources": {"memory": gib * 2.0**30}} for is_alive, gib in
             ((True, 3), (True, 5), (False, 9))]  # fmt: skip
    assert largest_memory([*nodes, {"Alive": True, "Resources": {}}]) == 5 * 2**30
    assert largest_memory([]) == 0


def test_why_an_actor_is_lost_is_one_sentence():
    assert why_lost(LOST) == "The actor is dead because its worker process has died"
    assert why_lost("") == "no reason told"


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run / "model.safetensors"


@pytest.fixture
def assignment(run, monkeypatch):
    """What a worker is told; it changes the working folder and the number of threads of its process."""
    monkeypatch.chdir(os.getcwd())
    threads = torch.get_num_threads()
    yield Assignment(vidcli.__version__, os.getcwd(), read_model(run), "cpu", 1, 2, 1, None, 0.9)
    torch.set_num_threads(threads)


def test_a_worker_answers_as_this_process_does(run, assignment, motion_data, monkeypatch):
    monkeypatch.chdir(motion_data)
    videos = ["test/up", *sorted(str(path) for path in (motion_data / "test").rglob("*.mp4"))[:3]]
    videos[1] = os.path.relpath(videos[1])
    worker = RayWorker()
    there = pickle.loads(pickle.dumps(replace(assignment, folder=os.getcwd())))
    monkeypatch.chdir("/")
    assert worker.load(there) is None
    found = worker.predict([path_of(video) for video in videos])
    here = Predictor.load(run, torch.device("cpu"))
    here = with_views(here, 2, 1)
    here.abstain_below(0.9)
    wanted = [here.predict(video) for video in videos]
    assert os.getcwd() == str(motion_data)
    assert [one.video for one in found] == videos
    assert found[0].error == wanted[0].error is not None
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert one.probabilities.tobytes() == other.probabilities.tobytes()
        assert one.is_unknown == other.is_unknown


def test_another_version_is_told_with_the_machine(assignment):
    told = RayWorker().load(replace(assignment, version="0.0.1"))
    assert told.startswith(
        f"{socket.gethostname()}: has vidcli {vidcli.__version__}, the command was given to 0.0.1"
    )


def test_a_model_that_cannot_be_loaded_there_is_told(assignment):
    told = RayWorker().load(replace(assignment, files={"model.safetensors": b"damaged"}))
    assert told.startswith(f"{socket.gethostname()}: ")
    assert "is not a readable model file" in told


def test_boxes_that_are_not_there_are_told(assignment, motion_data):
    worker, video = RayWorker(), next((motion_data / "test").rglob("*.mp4"))
    assert worker.load(replace(assignment, boxes="/not/there")) is None
    told = worker.predict([VideoItem(video, label="", track="1")])
    assert isinstance(told, str)
    assert told.startswith(f"{socket.gethostname()}: /not/there")


def test_a_model_travels_as_bytes(run, tmp_path):
    files = read_model(run)
    assert files == {"model.safetensors": run.read_bytes()}
    with unpacked(files) as model:
        assert model.read_bytes() == run.read_bytes()
    assert not model.exists()
    with pytest.raises(VidcliError, match="gone"):
        read_model(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "text", ["https://host.example/a.mp4?sig=secret", "s3://bucket/a.mp4", "b.tar/c.mp4"]
)
def test_addresses_travel_with_what_they_hide(text):
    path = pickle.loads(pickle.dumps(StoredPath(text)))
    assert type(path) is StoredPath
    assert path.address == text


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class RpcError(RayError):
    pass


class ImaginedRay(ModuleType):
    """As much of Ray as asks for answers: tickets are numbers, and `answers` what becomes of each."""

    def __init__(self):
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, RpcError=RpcError)
        self.answers, self.killed, self.size = {}, [], 4
        self.tickets = itertools.count()

    def cluster_resources(self):
        return {"CPU": float(self.size)}

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": float(self.size), "memory": 2.0**30}}]

    def remote(self, **needs):
        self.needs = needs
        call = SimpleNamespace(remote=lambda *args: next(self.tickets))
        return lambda actor: SimpleNamespace(remote=lambda: SimpleNamespace(load=call, predict=call))

    def put(self, value):
        return value

    def wait(self, tickets, num_returns=1, timeout=None):
        return [ticket for ticket in tickets if ticket in self.answers][:num_returns], []

    def get(self, ticket):
        answer = self.answers[ticket]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, worker):
        self.killed.append(worker)


@pytest.fixture
def cluster(run, monkeypatch):
    imagined = ImaginedRay()
    monkeypatch.setitem(sys.modules, "ray", imagined)
    predictor = Predictor.load(run, torch.device("cpu"))
    return imagined, RayWorkers(RayEngine("auto", "auto"), predictor, read_model(run), lambda text: None)


def test_what_actors_answer_and_which_are_lost(cluster):
    ray, workers = cluster
    asked = [workers.start() for _ in range(3)]
    assert workers.wait() == []
    ray.answers = {asked[0][1]: None, asked[1][1]: RayError(LOST)}
    lost = Lost("The actor is dead because its worker process has died")
    assert workers.wait() == [(asked[0][1], []), (asked[1][1], lost)]
    workers.stop(asked[2][0])
    assert ray.killed == [asked[2][0]]
    ticket = workers.submit(asked[0][0], [])
    ray.answers = {ticket: ["a prediction"], asked[2][1]: RayError("of one that nobody waits for")}
    assert workers.wait() == [(ticket, ["a prediction"])]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("host: the model is damaged", "--engine ray: host: the model is damaged"),
        (
            RayError(
                "The actor died because of an error raised in its creation task\nNo module named 'vidcli'"
            ),
            r"install the same vidcli on all, .*No module named 'vidcli'",
        ),
        (ConnectionError("gone"), "the cluster does not answer any more .*the same command goes on"),
    ],
)
def test_what_no_other_actor_would_do_better_ends_the_command(cluster, answer, told):
    ray, workers = cluster
    ray.answers = {workers.start()[1]: answer}
    with pytest.raises(VidcliError, match=told):
        workers.wait()


def test_an_actor_asks_for_one_core_and_the_memory_that_a_machine_has(cluster):
    ray, _ = cluster
    assert ray.needs.pop("memory") <= 2**30
    assert ray.needs == {"num_cpus": 1, "num_gpus": 0, "max_restarts": 0}


def test_more_actors_are_begun_than_fit_only_on_a_cluster_that_may_grow(cluster, run):
    _, workers = cluster
    assert [workers.most_starting(ready) for ready in (0, 3, 4, 10)] == [4, 1, 2, 5]
    predictor = Predictor.load(run, torch.device("cpu"))
    own = RayWorkers(RayEngine(None, "cpu"), predictor, {}, lambda text: None)
    assert [own.most_starting(ready) for ready in (0, 3, 4)] == [4, 1, 0]
