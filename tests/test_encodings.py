"""Text is UTF-8 wherever it goes, whatever the locale says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vidcli
from vidcli.predict.prediction import CSV_COLUMNS
from vidcli.predict.segments import SEGMENT_COLUMNS

PACKAGE = Path(vidcli.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
README = PACKAGE.parent / "README.md"
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

_OPENS = re.compile(r"(io\.)?open|os\.fdopen|(.*[._])?(path|temporary|partial)\.open|Path\(.*\)\.open")
_OF_PATH = re.compile(r"((.*[._])?(path|temporary|partial)|.*\))\.(read_text|write_text)")


def unnamed_encodings(source: str) -> Iterator[int]:
    """Yield the lines of calls that leave the encoding of text to the locale."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        named = {keyword.arg for keyword in call.keywords}
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        words = [value.value for value in given if isinstance(value, ast.Constant)]
        is_binary = any(
            isinstance(word, str) and re.fullmatch("[rwax]?b?[+]?b?", word) and "b" in word for word in words
        )
        function = ast.unparse(call.func)
        is_text = (
            _OPENS.fullmatch(function)
            or _OF_PATH.fullmatch(function)
            or named & {"text", "universal_newlines"}
        )
        if is_text and not is_binary and "encoding" not in named:
            yield call.lineno


@pytest.mark.parametrize(
    "line",
    ["open(p)", "open(p, 'w')", "path.open('a')", "Path(p).read_text()", "Path(p).write_text(t)",
     "subprocess.run(c, text=True)", "os.fdopen(f, 'w')", "the_path.read_text()", "(a / 'b').read_text()"],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(line: str) -> None:
    assert list(unnamed_encodings(line)) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "open(p, 'rb')",
        "path.open('ab')",
        "open(p, encoding='utf-8')",
        "av.open(p, mode='r')",
        "write_text(p, t)",
    ],
)
def test_the_scan_leaves_the_rest(line: str) -> None:
    assert list(unnamed_encodings(line)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_text_file_names_its_encoding(file: Path) -> None:
    assert list(unnamed_encodings(file.read_text(encoding="utf-8"))) == []


def test_the_readme_shows_the_columns_of_the_csv() -> None:
    text = README.read_text(encoding="utf-8")
    header = next(line for line in text.splitlines() if line.startswith("video,rank,"))
    assert tuple(header.split(",")) == CSV_COLUMNS
    row = text[text.index(header) :].splitlines()[1]
    assert len(row.split(",")) == len(CSV_COLUMNS)
    assert ",".join(SEGMENT_COLUMNS) == "video,start,end,label,confidence,error"


@pytest.fixture(scope="module")
def data(motion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes whose names and videos are not ASCII."""
    folder = tmp_path_factory.mktemp("ünï") / "daten"
    videos = sorted((motion_data / "train").rglob("*.mp4"))
    for number, name in enumerate(("läuft", "行走")):
        (folder / name).mkdir(parents=True)
        for copy, video in enumerate(videos[6 * number : 6 * number + 6]):
            shutil.copy(video, folder / name / f"ü{copy}.mp4")
    return folder


def run(*args: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    given = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return subprocess.run(
        [sys.executable, "-m", "vidcli", *map(str, args)],
        capture_output=True, env=given | ASCII | environment, cwd=PACKAGE.parent, check=False,
    )  # fmt: skip


def test_an_ascii_locale_spoils_no_name(
    data: Path, small_config: Callable[..., object], tmp_path: Path
) -> None:
    from tests.conftest import QUICK_SETTINGS

    assigned = [word for name, value in QUICK_SETTINGS.items() for word in ("--set", f"{name}={value}")]
    trained = run("train", data, "--out", tmp_path / "läufe", "--device", "cpu", *assigned)
    assert trained.returncode == 0, trained.stderr.decode()
    assert "läufe" in trained.stdout.decode("utf-8")
    assert "行走" in (tmp_path / "läufe" / "splits.csv").read_text(encoding="utf-8")
    given = ("predict", data, "--model", tmp_path / "läufe", "--device", "cpu")
    told = [json.loads(line) for line in run(*given, "--format", "json").stdout.decode().splitlines()]
    assert {row["predictions"][0]["label"] for row in told} <= {"läuft", "行走"}
    assert {Path(row["video"]).parent.name for row in told} == {"läuft", "行走"}
    table = run(*given, "--format", "csv").stdout.decode("utf-8")
    assert str(data / "行走" / "ü0.mp4") in table


def test_a_stream_that_is_ascii_gets_escapes(data: Path) -> None:
    checked = run("check", data, "--format", "json", PYTHONIOENCODING="ascii")
    rows = [json.loads(line) for line in checked.stdout.decode("ascii").splitlines()]
    assert set(rows[-1]["summary"]["classes"]) == {"läuft", "行走"}
    planned = run("check", data, PYTHONIOENCODING="ascii").stdout.decode("ascii")
    assert "l\\xe4uft" in planned
