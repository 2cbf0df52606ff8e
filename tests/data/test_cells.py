from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidcli.data.cells import open_cells
from vidcli.data.manifest import load_items
from vidcli.data.manifest_rows import COLUMNS
from vidcli.data.present_files import find_missing
from vidcli.data.video_table import TextColumn
from vidcli.errors import DataError

CELLS = st.sampled_from(
    [
        "a.mp4",
        " b.mp4",
        "b.mp4 ",
        "'a",
        "./c//d.mp4",
        "/x/y.mp4",
        "é.mp4",
        "a\\b.mp4",
        "run",
        "0.5",
        "1:02",
        "1,5",
        "",
    ]
)


def table_of(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.sampled_from([",", ";", "\t"]), st.booleans())
def test_both_ways_to_split_rows_give_the_same(
    tmp_path: Path, rows: list[tuple[str, str, str]], delimiter: str, has_returns: bool
) -> None:
    """A quoted header makes no other table, but one that Arrow is not asked to split."""
    end = "\r\n" if has_returns else "\n"
    told = []
    for name in ("start", '"start"'):
        lines = [("path", "label", name), *rows]
        text = "".join(delimiter.join(cell.replace(delimiter, "") for cell in line) + end for line in lines)
        path = table_of(tmp_path, text)
        assert open_cells(path, COLUMNS).is_plain == (name == "start")
        try:
            told.append(repr(list(load_items(path, missing_ok=True))))
        except DataError as error:
            told.append(str(error))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "text",
    ["path,label\r\r\n", 'path,"label"\n', "path,label,\na,b,\n", "path,label\na,b\0\n"],
    ids=["lone return", "quote", "column without a name", "zero"],
)
def test_tables_that_are_not_plain(text: str, tmp_path: Path) -> None:
    path = table_of(tmp_path, text)
    if "\0" in text:
        with pytest.raises(DataError, match="NUL"):
            open_cells(path, COLUMNS)
    else:
        assert not open_cells(path, COLUMNS).is_plain


def test_lines_are_counted_where_rows_are_faulty(tmp_path: Path) -> None:
    rows = [f"{number}.mp4,run" for number in range(40_000)]
    rows[39_000], rows[2] = "x.mp4,", ""
    path = table_of(tmp_path, "path,label\n" + "\n".join(rows))
    with pytest.raises(DataError, match="line 39002: no label") as caught:
        load_items(path, missing_ok=True)
    assert "more" not in str(caught.value)


def write_parquet(file: Path, /, **columns: object) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file


def test_a_manifest_in_parquet(tmp_path: Path) -> None:
    plain = table_of(tmp_path, "video,label,start,end,group\na.mp4,run,0.5,2,7\nb.mp4,1,,,\n")
    table = write_parquet(
        tmp_path / "m.parquet",
        video=["a.mp4", "b.mp4"],
        label=pa.array(["run", "1"]).dictionary_encode(),
        start=[0.5, None],
        end=pa.array([2, None], pa.int64()),
        group=[7, None],
    )
    assert load_items(table, missing_ok=True) == load_items(plain, missing_ok=True)
    with pytest.raises(DataError, match=r"m\.parquet: .*a\.mp4: no such file"):
        load_items(table)


def test_faults_of_a_parquet_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2: no label"):
        load_items(write_parquet(tmp_path / "m.parquet", path=["a.mp4", "b.mp4"], label=["run", None]))
    with pytest.raises(DataError, match="no column 'label'"):
        load_items(write_parquet(tmp_path / "m.parquet", path=["a.mp4"]))
    with pytest.raises(DataError, match="expected columns of text and numbers"):
        load_items(write_parquet(tmp_path / "m.parquet", path=["a.mp4"], label=[{"a": 1}]))
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_items(table_of(tmp_path, "path,label\n", "n.parquet"))


def test_files_are_found_by_the_listing_of_their_folder(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    names = [f"many/{number}.mp4" for number in range(40)]
    for name in [*names, "one.mp4"]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "many/folder.mp4").mkdir()
    (tmp_path / "many/link.mp4").symlink_to("0.mp4")
    (tmp_path / "many/dead.mp4").symlink_to("nowhere.mp4")
    given = [*names, "one.mp4", "many/folder.mp4", "many/link.mp4", "many/dead.mp4", "none/x.mp4"]
    paths = TextColumn.of(str(tmp_path / name) for name in given)
    assert list(find_missing(paths)) == [
        (str(tmp_path / "many/folder.mp4"), "is no regular file"),
        (str(tmp_path / "many/dead.mp4"), "no such file"),
        (str(tmp_path / "none/x.mp4"), "no such file"),
    ]
