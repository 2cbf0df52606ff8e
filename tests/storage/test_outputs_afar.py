"""Results that commands write to addresses, on servers of the loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

from tests.storage.conftest import Bucket
from vidcli.commands import app
from vidcli.console.prediction_writers import open_results
from vidcli.data import outputs_afar
from vidcli.data.caches import find_cache
from vidcli.data.outputs_afar import open_output
from vidcli.predict.results import JsonResults
from vidcli.storage.addresses import path_of
from vidcli.storage.connections import StorageError

pytest.importorskip("s3fs")

Stops = Callable[[int, Callable[[], None]], None]


def vidcli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def kept() -> list[Path]:
    """Return the files that wait here to be sent."""
    return sorted(path for path in find_cache("outputs").rglob("*") if path.is_file() and path.name[0] != ".")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def videos(two_classes: Path) -> list[Path]:
    return sorted((two_classes / "test").rglob("*.mp4"))


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Stops:
    """Let something happen in place of writing the result of a video, counted from 0."""

    def arrange(number: int, happen: Callable[[], None]) -> None:
        written: list[Any] = []
        write = JsonResults.write

        def write_or_stop(self: JsonResults, prediction: Any) -> None:
            written.append(prediction)
            if len(written) == number + 1:
                happen()
            write(self, prediction)

        monkeypatch.setattr(JsonResults, "write", write_or_stop)

    return arrange


def ask_to_stop() -> None:
    raise KeyboardInterrupt


def rows_of(content: bytes, tmp_path: Path, suffix: str) -> list[Any]:
    if suffix == ".jsonl":
        return [json.loads(line) for line in content.splitlines()]
    (tmp_path / f"rows{suffix}").write_bytes(content)
    rows: list[Any] = pyarrow.parquet.read_table(tmp_path / f"rows{suffix}").to_pylist()
    return rows


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet", "r.txt"])
def test_results_are_those_of_a_local_file(
    s3: Bucket, videos: list[Path], quick_run: Path, name: str, tmp_path: Path
) -> None:
    there = f"{s3.address}/out/{name}"
    near = vidcli("predict", *videos, "--model", quick_run, "--output", tmp_path / name)
    first = vidcli("predict", *videos[:2], "--model", quick_run, "--output", there)
    assert (near.exit_code, first.exit_code) == (0, 0), first.stderr
    again = ["--overwrite"] if name == "r.txt" else []
    told = vidcli("predict", *videos, "--model", quick_run, "--output", there, *again)
    assert told.exit_code == 0, told.stderr
    assert s3.names() == [f"out/{name}"]
    assert kept() == []
    if name != "r.txt":
        assert f"{there}: 2 of {len(videos)} videos are there already" in told.stderr
        assert f"wrote {there}: {len(videos)} videos, 0 failed" in told.stderr
    if name == "r.parquet":
        rows = [
            rows_of(one, tmp_path, ".parquet")
            for one in (s3.get(f"out/{name}"), (tmp_path / name).read_bytes())
        ]
        assert rows[0] == rows[1]
    else:
        assert s3.get(f"out/{name}") == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_is_complete_is_sent_at_ctrl_c(
    s3: Bucket, videos: list[Path], quick_run: Path, suffix: str, tmp_path: Path, stops: Stops
) -> None:
    command = ["predict", *videos, "--model", quick_run, "--top-k", 1, "--output", f"{s3.address}/r{suffix}"]
    stops(2, ask_to_stop)
    assert vidcli(*command).exit_code == 130
    (name,) = s3.names()
    assert name == ("r.jsonl" if suffix == ".jsonl" else "r.parquet.partial")
    assert len(s3.get(name).splitlines()) == 2
    assert kept() == []
    assert f"2 of {len(videos)} videos are there already" in vidcli(*command).stderr
    assert s3.names() == [f"r{suffix}"]
    assert len(rows_of(s3.get(f"r{suffix}"), tmp_path, suffix)) == len(videos)


def test_a_part_that_was_stopped_is_not_merged(
    s3: Bucket, videos: list[Path], quick_run: Path, stops: Stops
) -> None:
    def predict_part(number: int, *more: str) -> int:
        place = f"{s3.address}/r-{number}of2.parquet"
        shard = ["--shard", f"{number}/2", "--output", place]
        return vidcli("predict", *videos, "--model", quick_run, *shard, *more).exit_code

    stops(1, ask_to_stop)
    assert (predict_part(1), predict_part(2)) == (130, 0)
    assert s3.names() == ["r-1of2.parquet.partial", "r-2of2.parquet"]
    assert "of 2 parts 1 are missing (1)" in vidcli("merge", f"{s3.address}/r.parquet").stderr
    s3.put("r-1of2.parquet", s3.get("r-2of2.parquet"))
    assert "of 2 parts 1 are not finished (1)" in vidcli("merge", f"{s3.address}/r.parquet").stderr
    assert predict_part(1, "--overwrite") == 0
    assert s3.names() == ["r-1of2.parquet", "r-2of2.parquet"]
    assert vidcli("merge", f"{s3.address}/r.parquet").exit_code == 0


def test_what_could_not_be_sent_is_kept_and_gone_on_with(
    s3: Bucket, videos: list[Path], quick_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, path: Path) -> None:
        raise StorageError("the server answers HTTP 503")

    def run_without_sending() -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(outputs_afar, "store_afar", fail)
            return vidcli(*command)

    command = ["predict", *videos, "--model", quick_run, "--output", f"{s3.address}/r.jsonl"]
    told = run_without_sending()
    (copy,) = kept()
    assert told.exit_code == 1
    assert f"--output {s3.address}/r.jsonl: cannot be written (the server answers HTTP 503)" in told.stderr
    assert f"kept in {copy}; the same command goes on with it" in told.stderr
    assert f"{len(videos)} of {len(videos)} videos are there already" in vidcli(*command).stderr
    assert len(s3.get("r.jsonl").splitlines()) == len(videos)
    assert kept() == []
    assert run_without_sending().exit_code == 0  # nothing is new


def test_what_was_changed_there_meanwhile_is_not_replaced(
    s3: Bucket, videos: list[Path], quick_run: Path, stops: Stops
) -> None:
    stops(1, lambda: s3.put("r.jsonl", b"somebody else's"))
    told = vidcli("predict", *videos, "--model", quick_run, "--output", f"{s3.address}/r.jsonl")
    assert told.exit_code == 2
    assert "was changed by somebody else meanwhile, and stays as it is" in told.stderr
    assert s3.get("r.jsonl") == b"somebody else's"
    assert len(kept()[0].read_bytes().splitlines()) == len(videos)


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_what_no_command_wrote_is_not_replaced(
    s3: Bucket, videos: list[Path], quick_run: Path, name: str
) -> None:
    s3.put(name, b"a,b\n1,2\n")
    told = vidcli("predict", videos[0], "--model", quick_run, "--output", f"{s3.address}/{name}")
    assert told.exit_code == 2 if name != "r.jsonl" else told.exit_code in (1, 2)
    assert f"--output {s3.address}/{name}: " in told.stderr
    assert s3.get(name) == b"a,b\n1,2\n"
    s3.put("r.srt", b"mine")
    told = vidcli("timeline", videos[0], "--model", quick_run, "--output", f"{s3.address}/r.srt")
    assert (told.exit_code, "exists; choose another file, or replace it with --overwrite" in told.stderr) == (
        2,
        True,
    )
    assert s3.get("r.srt") == b"mine"
    assert kept() == []


def test_no_input_is_replaced(s3: Bucket, two_classes: Path, quick_run: Path) -> None:
    day = s3.put_folder(two_classes / "test" / "left", "day")
    name = s3.names()[0]
    whole, content = f"{s3.address}/{name}", s3.get(name)
    for output in ("--output", "--annotate"):
        told = vidcli(
            "predict", whole, "--model", quick_run, output, whole, "--overwrite", "--format", "table"
        )
        assert told.exit_code == 2
        assert f"{output} {whole}: is an input of this command, which is never replaced" in told.stderr
    told = vidcli("check", day, "--quarantine", whole, "--overwrite")
    assert told.exit_code == 2
    assert s3.get(name) == content


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://nobodys/r.csv", "there is no such bucket, container or folder; choose another"),
        ("s3://videos", "no file is written there; expected a file on a disk"),
        ("s3://videos/day", "is a folder"),
        ("https://example.org/r.csv", "no file is written there"),
        ("hf://datasets/ORG/NAME/r.csv", "no file is written there"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    s3: Bucket, videos: list[Path], quick_run: Path, address: str, told: str
) -> None:
    s3.put("day/a.mp4", b"0")
    done = vidcli("predict", videos[0], "--model", quick_run, "--format", "csv", "--output", address)
    assert done.exit_code in (1, 2)
    assert f"--output {address}: " in done.stderr
    assert told in re.sub(r"\s+", " ", done.stderr)
    assert (s3.names(), kept()) == (["day/a.mp4"], [])


def test_every_file_of_a_command_may_be_afar(
    s3: Bucket, videos: list[Path], two_classes: Path, quick_run: Path, tmp_path: Path
) -> None:
    def run(place: object) -> None:
        model = ["--model", quick_run]
        for arguments in (
            ["timeline", videos[0], *model, "--window", 0.5, "--output", f"{place}/t.json"],
            [
                "timeline",
                videos[0],
                *model,
                "--window",
                0.5,
                "--output",
                f"{place}/t.srt",
                "--bouts",
                f"{place}/b.csv",
            ],
            ["check", two_classes, "--quarantine", f"{place}/good.csv"],
            ["embed", two_classes, *model, "-o", f"{place}/v.npz"],
            ["predict", videos[0], *model, "--annotate", f"{place}/a.mp4"],
            *(
                ["predict", *videos, *model, "--shard", f"{n}/2", "--output", f"{place}/w-{n}of2.csv"]
                for n in (1, 2)
            ),
            ["merge", f"{place}/w.csv"],
        ):
            done = vidcli(*arguments)
            assert done.exit_code == 0, done.stderr

    (tmp_path / "near").mkdir()
    run(tmp_path / "near")
    run(f"{s3.address}/far")
    near = {path.name: path.read_bytes() for path in (tmp_path / "near").iterdir()}
    assert s3.names() == [f"far/{name}" for name in sorted(near)]
    for name, content in near.items():
        if name not in ("v.npz", "a.mp4"):  # which hold times
            assert s3.get(f"far/{name}") == content
    assert kept() == []


def test_a_timeline_that_was_stopped_is_sent(s3: Bucket) -> None:
    def write_half() -> None:
        with open_results(open_output("--output", path_of(f"{s3.address}/t.csv"))) as stream:
            stream.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert s3.get("t.csv") == b"half"


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", "DATA", "-o", "s3://bucket/shards"],
        ["train", "DATA", "--out", "s3://bucket/run"],
        ["eval", "DATA", "--model", "RUN", "--out", "s3://bucket/eval"],
        ["export", "--model", "RUN", "--out", "s3://bucket/export"],
        ["check", "DATA", "--pictures", "s3://bucket/pictures"],
        ["predict", "DATA", "--model", "RUN", "--save-frames", "s3://bucket/frames"],
        ["predict", "DATA", "--model", "RUN", "--format", "csv", "--output", "s4://bucket/r.csv"],
    ],
)
def test_a_folder_of_outputs_is_written_to_a_disk(
    arguments: list[str], pair_data: Path, quick_run: Path, in_tmp_path: Path
) -> None:
    named = {"DATA": pair_data, "RUN": quick_run}
    told = vidcli(*(named.get(word, word) for word in arguments))
    assert told.exit_code == 2
    assert (
        "is an address, but this goes to a disk only; name a local path, and copy it afterwards"
        in told.stderr
    )
    assert not list(in_tmp_path.glob("s*:"))


def test_a_model_is_used_where_it_lies(
    s3: Bucket, videos: list[Path], quick_run: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    exported = tmp_path / "exported"
    assert vidcli("export", "--model", quick_run, "--out", exported).exit_code == 0
    s3.put_folder(quick_run, "run")
    s3.put_folder(exported, "exported")

    def answers(model: object) -> str:
        done = vidcli("predict", *videos, "--model", model, "--format", "json")
        assert done.exit_code == 0, done.stderr
        return done.stdout

    for name in ("run", "run/", "run/model.safetensors"):
        assert answers(f"{s3.address}/{name}") == answers(quick_run)
    assert answers(f"{s3.address}/exported") == answers(exported)
    assert path_of(f"{s3.address}/run/").name == "run"
