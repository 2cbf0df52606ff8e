"""`vidcli predict --engine ray` with a real Ray: the rows of one machine, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import vidcli
from tests.commands.many_videos import make_many

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]
NUM_VIDEOS = 600
STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="module", autouse=True)
def ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # a busy machine would let workers starve
        patch.delenv("RAY_ADDRESS", raising=False)
        yield pytest.importorskip("ray")


@pytest.fixture(scope="module")
def workspace(motion_data, small_config, tmp_path_factory):
    return make_many(tmp_path_factory.mktemp("far"), motion_data, small_config(), NUM_VIDEOS)


def start(folder: Path, output: str, *args: str, **environment: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(vidcli.__file__).parents[1])} | environment
    command = [sys.executable, "-m", "vidcli", "predict", "many", "--model", "run", "--output", output, *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe)


def finish(started: subprocess.Popen[str], code: int) -> str:
    out, err = started.communicate(timeout=300)
    assert (started.returncode, out) == (code, ""), err
    return err


@pytest.fixture(scope="module")
def whole(workspace) -> Callable[[str], bytes]:
    """Return what one machine writes, by the suffix of the file."""

    def write(suffix: str) -> bytes:
        output = workspace / f"whole{suffix}"
        if not output.exists():
            finish(start(workspace, output.name), 1)  # of the one broken file
        return output.read_bytes()

    return write


def wait_for(output: Path, started: subprocess.Popen[str]) -> None:
    while not (output.exists() and output.stat().st_size > 2000):
        assert started.poll() is None, started.communicate()
        time.sleep(0.01)


def children_of(pid: int) -> dict[int, str]:
    """Return the command lines of a process's children and theirs, by number."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: commands[child] for child in found - {pid}}


def await_end(pids: dict[int, str]) -> None:
    end = time.monotonic() + 60
    while left := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and is_alive(pid)]:
        assert time.monotonic() < end, [pids[pid] for pid in left]
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_loses_and_doubles_nothing_and_all_of_ray_ends(workspace, whole):
    started = start(workspace, "killed.jsonl", "--engine", "ray")
    wait_for(workspace / "killed.jsonl", started)
    children = children_of(started.pid)
    workers = [pid for pid, command in children.items() if command.startswith("ray::RayWorker")]
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    told = finish(started, 1)
    assert (workspace / "killed.jsonl").read_bytes() == whole(".jsonl")
    assert "raylet" not in told
    assert f"wrote killed.jsonl: {NUM_VIDEOS} videos, 1 failed" in told
    await_end(children)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_ends_ray_and_goes_on(workspace, whole, signum):
    output = workspace / f"stopped-{signum.name}.csv"
    started = start(workspace, output.name, "--engine", "ray")
    wait_for(output, started)
    children = children_of(started.pid)
    if signum == signal.SIGKILL:  # Ray's agents of a node may outlive it, idle, for minutes
        children = {pid: command for pid, command in children.items() if "Agent" not in command}
    started.send_signal(signum)
    finish(started, -signum if signum == signal.SIGKILL else 128 + signum)
    await_end(children)
    left = output.read_bytes()
    assert left != whole(".csv")
    assert whole(".csv").startswith(left)
    told = finish(start(workspace, output.name), 1)
    assert f"of {NUM_VIDEOS} videos are there already" in told
    assert output.read_bytes() == whole(".csv")


def test_a_lost_machine_loses_nothing_and_a_new_one_helps(ray, workspace, whole):
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=machine | {"include_dashboard": False})
    try:
        other = cluster.add_node(**machine)
        started = start(workspace, "lost.parquet", "--engine", "ray", RAY_ADDRESS=cluster.address)
        wait_for(workspace / "lost.parquet.partial", started)
        cluster.remove_node(other, allow_graceful=False)
        cluster.add_node(**machine)
        finish(started, 1)
        assert (workspace / "lost.parquet").read_bytes() == whole(".parquet")
    finally:
        cluster.shutdown()
