"""Results of parts that become those of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from vidcli.commands import app
from vidcli.errors import DataError
from vidcli.predict.parts import find_parts, join_parts

ROW = '{{"video": "{}", "model": "m", "settings": "s"}}\n'
TABLE = "video,model,settings\n{},m,s\n"


def run(*args: object) -> str:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output
    return done.output


def write_parts(folder: Path, count: int, suffix: str = ".jsonl", text: str = ROW) -> Path:
    for number in range(1, count + 1):
        (folder / f"r-{number}of{count}{suffix}").write_text(text.format(number))
    return folder / f"r{suffix}"


@pytest.fixture(scope="module")
def model(quick_run: Path) -> Path:
    return quick_run


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_parts_are_what_one_machine_writes(
    suffix: str, model: Path, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    videos = [write_video(tmp_path / "videos" / f"{n}.mp4", seed=n) for n in range(5)]
    videos[3].write_bytes(b"no video")
    given = ["predict", videos[0].parent, "--model", model, "--device", "cpu"]
    whole, joined = tmp_path / f"whole{suffix}", tmp_path / f"joined{suffix}"
    assert CliRunner().invoke(app, [str(arg) for arg in (*given, "--output", whole)]).exit_code == 1
    for number in (1, 2, 3):
        part = joined.with_name(f"{joined.stem}-{number}of3{suffix}")
        CliRunner().invoke(app, [str(arg) for arg in (*given, "--shard", f"{number}/3", "--output", part)])
    assert f"wrote {joined}: 3 parts" in " ".join(run("merge", joined).split())
    if suffix == ".parquet":
        assert pq.read_table(joined).equals(pq.read_table(whole))
    else:
        assert joined.read_bytes() == whole.read_bytes()


def test_parts_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 11)
    join_parts(find_parts(whole), whole)
    assert whole.read_text() == "".join(ROW.format(number) for number in range(1, 12))


def test_a_header_stands_once_and_empty_parts_add_nothing(tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 3, ".csv", TABLE)
    (tmp_path / "r-1of3.csv").write_text("")
    (tmp_path / "r-2of3.csv").write_text("video,model,settings\n")
    join_parts(find_parts(whole), whole)
    assert whole.read_text() == TABLE.format(3)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 4)
    for number in (2, 3):
        (tmp_path / f"r-{number}of4.jsonl").unlink()
    with pytest.raises(DataError, match=r"2 are missing \(2, 3\); run `vidcli predict --shard 2/4 --out"):
        find_parts(whole)


def test_a_part_that_is_still_gathered_is_named(tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 2, ".parquet")
    (tmp_path / "r-2of2.parquet.partial").write_text("")
    with pytest.raises(DataError, match=r"of 2 parts 1 are not finished \(2\)"):
        find_parts(whole)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.txt", "expected a file of results: .json"),
        ("other.jsonl", "no parts of it are there, such as other-1of2.jsonl"),
    ],
)
def test_what_has_no_parts(name: str, message: str, tmp_path: Path) -> None:
    write_parts(tmp_path, 2)
    with pytest.raises(DataError, match=message):
        find_parts(tmp_path / name)


def test_two_divisions_of_a_list_are_not_mixed(tmp_path: Path) -> None:
    write_parts(tmp_path, 2)
    with pytest.raises(DataError, match="parts of 2 and of 3 are there"):
        find_parts(write_parts(tmp_path, 3))


def test_a_row_that_was_cut_off_or_other_columns_are_refused(tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 2)
    (tmp_path / "r-2of2.jsonl").write_text(ROW.format(2) + '{"video": "a')
    with pytest.raises(DataError, match=r"r-2of2\.jsonl: ends inside a row"):
        join_parts(find_parts(whole), whole)
    whole = write_parts(tmp_path, 2, ".csv", TABLE)
    (tmp_path / "r-2of2.csv").write_text("model,settings\nm,s\n")
    with pytest.raises(DataError, match=r"r-2of2\.csv: has other columns than"):
        join_parts(find_parts(whole), whole)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_holds_no_results_is_refused(suffix: str, tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 2, suffix, "[1]\n[2]\n")
    with pytest.raises(DataError, match=r"r-1of2\.\w+: holds no results of `vidcli predict`"):
        join_parts(find_parts(whole), whole)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"video": ["a"]}), tmp_path / "r-1of1.parquet")
    with pytest.raises(DataError, match=r"r-1of1\.parquet: holds no results"):
        join_parts(find_parts(tmp_path / "r.parquet"), tmp_path / "r.parquet")


@pytest.mark.parametrize("form", [".jsonl", ".csv"])
def test_parts_of_another_model_are_refused(form: str, tmp_path: Path) -> None:
    text = ROW if form == ".jsonl" else TABLE
    whole = write_parts(tmp_path, 2, form, text)
    other = tmp_path / f"r-2of2{form}"
    other.write_text(text.format(2).replace('"m"', '"n"').replace(",m,", ",n,"))
    with pytest.raises(DataError, match="holds results of another model or other options than"):
        join_parts(find_parts(whole), whole)


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    whole = write_parts(tmp_path, 2)
    whole.write_text("mine")
    assert CliRunner().invoke(app, ["merge", str(whole)]).exit_code != 0
    assert whole.read_text() == "mine"
    run("merge", whole, "--overwrite")
    assert whole.read_text() == ROW.format(1) + ROW.format(2)
