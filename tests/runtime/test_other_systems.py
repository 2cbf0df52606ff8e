"""Commands run where modules and functions of Unix are missing, as on Windows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vidcli
from vidcli.config import config_to_yaml

# Only this package and the test's own scripts miss them: other libraries may go by `sys.platform`.
SHIM = """
import builtins, os, signal, types

MODULES = {"fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "msvcrt"}
NAMES = {
    "os": {
        "fork", "forkpty", "register_at_fork", "mkfifo", "sysconf", "sched_getaffinity", "getuid", "geteuid",
        "O_NOFOLLOW", "O_NONBLOCK", "set_blocking",
    },
    "signal": {"SIGHUP", "SIGALRM", "SIGUSR1", "SIGTSTP", "SIGKILL", "setitimer", "pthread_sigmask"},
}
plain_import = builtins.__import__

class Poorer(types.ModuleType):
    def __init__(self, module, missing):
        super().__init__(module.__name__)
        self.__dict__["module"], self.__dict__["missing"] = module, missing

    def __getattr__(self, name):
        if name in self.missing:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self.module, name)

poorer = {module.__name__: Poorer(module, NAMES[module.__name__]) for module in (os, signal)}

def import_elsewhere(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "").split(".")[0]
    if importer not in ("vidcli", "__main__"):
        return plain_import(name, globals, locals, fromlist, level)
    if name.split(".")[0] in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return poorer.get(name) or plain_import(name, globals, locals, fromlist, level)

builtins.__import__ = import_elsewhere
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, motion_data, small_config) -> Path:
    """A folder with the shim, the data of two classes, and a recipe."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "shim").mkdir()
    (folder / "shim" / "sitecustomize.py").write_text(SHIM)
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / "data" / split / name)
    (folder / "recipe.yaml").write_text(config_to_yaml(small_config(data__cache="disk", train__epochs=1)))
    return folder


def run(place: Path, *arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
    root = str(Path(vidcli.__file__).parents[1])
    paths = os.pathsep.join([str(place / "shim"), root])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": paths, "VIDCLI_CACHE": str(place / "cache")},
        capture_output=True,
        input=told,
        text=True,
        timeout=300,
    )


def test_the_shim_can_fail(place: Path) -> None:
    for script in ("import fcntl", "import resource", "import os; os.fork", "import signal; signal.SIGHUP"):
        assert run(place, "-c", script).returncode == 1


def test_light_commands_run(place: Path) -> None:
    for command in ("--help", "settings"):
        done = run(place, "-m", "vidcli", command)
        assert done.returncode == 0, (command, done.stderr)


# In one process, since torch takes seconds to import; the last command ends it as it ends its own.
MANY = """
import importlib, json, sys
names, commands = json.load(sys.stdin)
for name in names:
    importlib.import_module(name)
from vidcli.__main__ import main
from vidcli.commands import app
for command in commands[:-1]:
    print("RUNNING", command, file=sys.stderr)
    try:
        app(command, prog_name="vidcli")
    except SystemExit as leaving:
        assert not leaving.code, (command, leaving.code)
sys.argv = ["vidcli", *commands[-1]]
main()
"""


def test_every_module_is_imported_and_commands_run(place: Path) -> None:
    root = Path(vidcli.__file__).parents[1]
    names = [
        ".".join(file.relative_to(root).with_suffix("").parts) for file in (root / "vidcli").rglob("*.py")
    ]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    commands = [
        ["train", "data", "--config", "recipe.yaml", "--out", "run"],
        ["eval", "--model", "run", "--json"],
        ["predict", "data/test", "--model", "run", "--output", "results.json"],
        ["predict", "data/test", "--model", "run", "--output", "results.json"],
    ]
    commands = [[*command, "--device", "cpu"] for command in commands]
    done = run(place, "-c", MANY, told=json.dumps([names, commands]))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (place / "results.json").read_text().splitlines()]
    assert rows
    assert all(row["predictions"] for row in rows)
    assert list((place / "cache" / "frames").glob("*/*.npy"))
