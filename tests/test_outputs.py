"""No output of any command replaces what is not its own: every output against everything in its way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.data.frames import FrameSource
from vidcli.train import start_run

pytestmark = pytest.mark.usefixtures("no_drawing")
VIDEO, MODEL = "data/test/left/left_0001.mp4", "run/model.safetensors"


@dataclass(frozen=True)
class Output:
    """One output of one command.

    Attributes:
        args: the command with a `{}` where the output is named.
        is_folder: it fills a folder.
        has_overwrite: the command takes --overwrite.
        name: of a new output.
    """

    args: str
    name: str
    is_folder: bool = False
    has_overwrite: bool = True

    def command(self, place: str) -> list[str]:
        return [place if word == "{}" else word for word in self.args.split()]


_WINDOW = "--timeline --window 0.5"
OUTPUTS = {
    "predict-json": Output(f"predict {VIDEO} --model run --output {{}}", "new.json"),
    "predict-csv": Output(f"predict {VIDEO} --model run --output {{}} --format csv", "new.csv"),
    "predict-parquet": Output(f"predict {VIDEO} --model run --output {{}} --format parquet", "new.parquet"),
    "predict-table": Output(f"predict {VIDEO} --model run --output {{}} --format table", "new.txt"),
    "annotate": Output(f"predict {VIDEO} --model run --annotate {{}}", "new.mp4"),
    "save-frames": Output(f"predict {VIDEO} --model run --save-frames {{}}", "new", True, False),
    "timeline": Output(f"predict {VIDEO} --model run {_WINDOW} --output {{}} --format srt", "new.srt"),
    "picture": Output(f"predict {VIDEO} --model run {_WINDOW} --picture {{}}", "new.png"),
    "timeline-annotate": Output(f"predict {VIDEO} --model run {_WINDOW} --annotate {{}}", "new.mp4"),
    "quarantine": Output("check data.csv --quarantine {}", "new.csv"),
    "check-pictures": Output("check data.csv --pictures {}", "new", True),
    "report": Output("report run --out {}", "new.html"),
    "eval": Output("eval --model run --out {}", "new", True),
    "eval-data": Output("eval data.csv --model run --out {}", "new", True),
    "explain": Output(f"explain {VIDEO} --model run --out {{}}", "new", True),
    "export": Output("export --model run --format torch-export --out {}", "new", True),
    "train": Output("train data --config run/config.yaml --out {}", "new", True, False),
    "compare": Output("train data --compare --config run/config.yaml --out {}", "new", True, False),
    "demo": Output("demo --count 1 --out {}", "new", True, False),
    "demo-keep": Output("demo --count 1 --keep {}", "new", True, False),
}


@pytest.fixture(scope="module")
def made(motion_data, small_config, tmp_path_factory):
    """A folder with data, a manifest of it, a run, and things that are nobody's business."""
    folder = tmp_path_factory.mktemp("outputs")
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / "data" / split / name)
    rows = [
        f"{path.relative_to(folder)},{path.parent.name}" for path in (folder / "data/test").rglob("*.mp4")
    ]
    (folder / "data.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    config = small_config({"model.shift": "on"})
    start_run(config, folder / "data", folder / "run", torch.device("cpu"), lambda event: None)
    (folder / "theirs").mkdir()
    for name in ("notes.txt", "config.yaml", "eval.json", "vidcli.json", "splits.csv"):
        (folder / "theirs" / name).write_text("theirs: a line without an end")
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A copy to work in, whose run knows its data where it is in the copy."""
    shutil.copytree(made, tmp_path / "here", symlinks=True)
    here = tmp_path / "here"
    splits = here / "run" / "splits.csv"
    splits.write_text(splits.read_text().replace(str(made), str(here)))
    (here / "link").symlink_to("theirs/notes.txt")
    (here / "dangling").symlink_to("nowhere")
    (here / "folder-link").symlink_to("theirs")
    monkeypatch.chdir(here)
    return here


def snapshot(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
    return found


@pytest.fixture
def no_work(monkeypatch) -> None:
    """Let everything fail that looks at a video: what is refused is refused before the work."""

    def work(*args: object, **kwargs: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(FrameSource, "frames", work)
    for module in ("vidcli.doctor.check_data", "vidcli.predict.timeline.WindowPlan"):
        monkeypatch.setattr(module, work, raising=False)


FILE_HAZARDS = {
    "input": VIDEO, "model": MODEL, "settings": "run/config.yaml", "foreign": "theirs/notes.txt",
    "foreign table": "data.csv", "folder": "theirs", "link": "link", "dangling": "dangling",
    "data": "data", "read-only": "/proc/nothing/new",
}  # fmt: skip
FOLDER_HAZARDS = {
    "input": VIDEO, "model": MODEL, "foreign": "theirs/notes.txt", "folder": "theirs", "run": "run",
    "data": "data", "class": "data/test/left", "link": "link", "dangling": "dangling",
    "folder link": "folder-link", "read-only": "/proc/nothing/new",
}  # fmt: skip


def cases() -> Iterator[object]:
    for name, output in OUTPUTS.items():
        for hazard, place in (FOLDER_HAZARDS if output.is_folder else FILE_HAZARDS).items():
            yield pytest.param(output, place, id=f"{name}-{hazard}")


@pytest.mark.parametrize(("output", "at"), list(cases()))
def test_nothing_is_replaced_without_a_word(output: Output, at: str, place: Path, no_work: None) -> None:
    before = snapshot(place)
    result = CliRunner().invoke(app, output.command(at))
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    assert "error: " in result.stderr
    assert snapshot(place) == before


NEVER = [VIDEO, MODEL, "run/splits.csv"]


@pytest.mark.parametrize(
    ("output", "at"),
    [
        pytest.param(output, at, id=f"{name}-{at}")
        for name, output in OUTPUTS.items()
        if output.has_overwrite
        for at in NEVER
        if (name, at) not in {("quarantine", MODEL), ("quarantine", "run/splits.csv")}  # not its model
    ],
)
def test_inputs_model_and_data_stay_whatever_is_said(
    output: Output, at: str, place: Path, no_work: None
) -> None:
    before = snapshot(place)
    result = CliRunner().invoke(app, [*output.command(at), "--overwrite"])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    assert snapshot(place) == before


@pytest.mark.parametrize("name", [name for name, output in OUTPUTS.items() if output.has_overwrite])
def test_what_is_foreign_is_replaced_where_that_is_said(name: str, place: Path) -> None:
    output = OUTPUTS[name]
    target = place / f"theirs/new{Path(output.name).suffix}"
    if not output.is_folder:
        target.write_text("theirs")
    at = "theirs" if output.is_folder else str(target.relative_to(place))
    before = snapshot(place)
    result = CliRunner().invoke(app, [*output.command(at), "--overwrite", *_on_cpu(output)])
    assert result.exit_code == 0, result.stderr
    after = snapshot(place)
    own = {"eval.json", "vidcli.json"} if output.is_folder else {target.name}
    changed = {name for name in before if before[name] != after.get(name)}
    if output.name.endswith(".html"):  # a report scores its run, as that run's model card then tells
        changed -= {"run/README.md", "run/.vidcli-card.json"}
    assert changed <= {f"theirs/{name}" for name in own}
    assert after["theirs/notes.txt"] == before["theirs/notes.txt"]
    assert output.is_folder or changed


def _on_cpu(output: Output) -> list[str]:
    return [] if output.args.startswith(("check", "export")) else ["--device", "cpu"]


@pytest.mark.parametrize("name", ["eval", "explain", "export", "report"])
def test_the_same_command_again_replaces_its_own(name: str, place: Path) -> None:
    args = [*OUTPUTS[name].args.split()[:-2], *_on_cpu(OUTPUTS[name])]
    for _ in range(2):
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 0, result.stderr


def test_two_outputs_have_two_places(place: Path, no_work: None) -> None:
    for second in ("x.mp4", "./x.mp4", "data/../x.mp4"):
        args = ["predict", VIDEO, "--model", "run", "--output", "x.mp4", "--annotate", second]
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 2
        assert "is named as the place of two outputs" in result.stderr


def test_a_planted_link_of_a_temporary_name_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / ".partial-new.mp4").symlink_to("theirs/notes.txt")
    (place / f".new.mp4.{os.getpid()}.tmp").symlink_to("theirs/notes.txt")
    before = (place / "theirs/notes.txt").read_bytes()
    result = CliRunner().invoke(app, OUTPUTS["annotate"].command("new.mp4"))
    assert result.exit_code == 0, result.stderr
    assert (place / "theirs/notes.txt").read_bytes() == before
