"""The folder of a study: what is studied stands in it, so that the same study goes on and no other mixes in.

OUT/study.json    the command, the data, the folds and the settings of every recipe
OUT/study.lock    locked while a process works on the study
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidcli.config import config_from_dict
from vidcli.errors import CheckpointError, OutputError, WriteError
from vidcli.runtime.files import read_regular
from vidcli.runtime.locks import FileLock
from vidcli.runtime.outputs import OutputFolder
from vidcli.runtime.plain import parse_json

PLAN_FILE, LOCK_FILE = "study.json", "study.lock"
_MAX_PLAN_BYTES = 2**24
_MAY_GROW = ("num_seeds", "learning_curve", "num_trials", "recipes")
"""What may differ where a study goes on."""


@contextmanager
def open_study(
    out: Path, plan: Mapping[str, Any], command: str, names: Sequence[str]
) -> Iterator[OutputFolder]:
    """Claim the folder of a study, new or to go on with, and write down what is studied.

    More seeds or recipes, and a learning curve, may be added to a study that is there.

    Args:
        out: the folder.
        plan: plain values of what is studied; the settings of each recipe by its name under `recipes`.
        command: such as `crossval`.
        names: the files that the command writes there beside the plan.

    Yields:
        The folder.

    Raises:
        OutputError: the folder holds something else, or another study.
        WriteError: another process works on the study, or the folder cannot be written.
    """
    earlier = read_plan(out, command) if (out / PLAN_FILE).is_file() else {}
    for name, value in plan.items():
        if earlier and name not in _MAY_GROW and earlier.get(name) != value:
            raise OutputError(_differs(out, command, name, earlier.get(name), value))
    settings = dict(earlier.get("settings", {}))
    for name, config in plan["recipes"].items():
        if config_from_dict(settings.get(name, config)) != config_from_dict(config):
            raise OutputError(
                f"--out {out}: holds `vidcli {command}` of {name} with other settings; choose another folder"
            )
        settings[name] = config
    folder = OutputFolder(out, command, (PLAN_FILE, *names), subject=str(plan["data"]))
    lock = FileLock(out / LOCK_FILE)
    try:
        if not lock.acquire():
            raise WriteError(
                f"--out {out}: another process works on this study; wait for its end, or stop it"
            )
    except OSError as error:
        raise WriteError(f"--out {out}: cannot be written ({error.strerror})") from error
    try:
        told = {"command": command, **plan, "settings": settings}
        if earlier != told:
            folder.write_text(PLAN_FILE, json.dumps(told, indent=1) + "\n")
        yield folder
    finally:
        lock.remove()


def read_plan(out: Path, command: str) -> dict[str, Any]:
    """Return what is studied in a folder, as plain values.

    Args:
        out: the folder.
        command: whose study it must be, such as `crossval`.

    Raises:
        CheckpointError: there is no such study, or its file is damaged.
    """
    path = out / PLAN_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{out}: holds no {PLAN_FILE}; expected the folder that `vidcli {command} --out` made"
        )
    try:
        told = parse_json(read_regular(path, _MAX_PLAN_BYTES).decode())
        if not isinstance(told, dict):
            raise ValueError("is no object")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); choose a new --out") from error
    if told.get("command") != command:
        raise CheckpointError(
            f"{out}: holds a study of `vidcli {told.get('command')}`, not of `vidcli {command}`"
        )
    return told


def _differs(out: Path, command: str, name: str, there: object, asked: object) -> str:
    if name == "fingerprint":
        return (
            f"--out {out}: holds `vidcli {command}` of other videos: the data has changed since; choose "
            "another folder"
        )
    if name == "space":
        return f"--out {out}: holds `vidcli {command}` with other settings to vary; choose another folder"
    option = {"data": "DATA", "score": "--score", "folds": "--folds", "all_splits": "--all-splits"}.get(
        name, name
    )
    return f"--out {out}: holds `vidcli {command}` with {option} {there}, not {asked}; choose another folder"
