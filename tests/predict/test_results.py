"""Files of results: what is there stays, what was cut off is mended, what is foreign is refused."""

from __future__ import annotations

import csv
import json
import os
import sys

import numpy as np
import pyarrow.parquet
import pytest

from vidcli.data.items import VideoItem
from vidcli.errors import VidcliError
from vidcli.predict import Prediction
from vidcli.predict.parquet import ParquetResults
from vidcli.predict.results import CsvResults, JsonResults, Source

NAMES = ("left", 'say "no", please', "right")
SOURCE = Source("0123456789abcdef", "top-k=2")
FORMS = ("json", "csv", "parquet")


def open_results(form, path, source=SOURCE):
    if form == "csv":
        return CsvResults(path, 2, source, len(NAMES))
    return {"json": JsonResults, "parquet": ParquetResults}[form](path, 2, source)


def made(number, **changes):
    values = np.random.default_rng(number).dirichlet(np.ones(3))
    fields = {"video": f'clips/v, {number}\nof "9".mp4', "probabilities": values} | changes
    return Prediction(fields.pop("video"), NAMES, fields.pop("probabilities"), **fields)


FIVE = (
    made(0),
    made(1, start_seconds=1.25, end_seconds=3.0),
    made(2, probabilities=None, error='is "damaged",\nbadly'),
    made(3, video="bad\udcff.mp4"),
    made(0),  # asked about twice
)


def item_of(prediction):
    return VideoItem(
        prediction.video, "", start_seconds=prediction.start_seconds, end_seconds=prediction.end_seconds
    )


def write_missing(form, path, wanted=FIVE, stop_after=None):
    """Write what a file lacks of `wanted`; return how many that were."""
    results = open_results(form, path)
    remaining, num_failed = results.split([item_of(prediction) for prediction in wanted])
    assert num_failed == sum(p.error is not None for p in wanted) - sum(
        p.error is not None for p in wanted if item_of(p) in remaining
    )
    by_item = {item_of(prediction): prediction for prediction in wanted}
    try:
        for item in remaining[:stop_after]:
            results.write(by_item[item])
    except VidcliError:
        results.close(is_complete=False)
        raise
    results.close(is_complete=stop_after is None)
    return len(remaining[:stop_after])


def rows_of(form, path):
    """Read a file with other means: video, label, probability and error of every row."""
    if form == "json":
        rows = []
        for line in path.read_text().splitlines():
            answer = json.loads(line)
            video, span = answer["video"].encode("utf-8", "backslashreplace").decode(), answer.get("start", 0)
            rows += [
                (video, span, best["label"], best["probability"], "")
                for best in answer.get("predictions", [])
            ]
            rows += [(video, span, "", None, answer["error"])] if "error" in answer else []
        return rows
    if form == "csv":
        with open(path, newline="") as file:
            table = list(csv.DictReader(file))
    else:
        table = pyarrow.parquet.read_table(path).to_pylist()
    return [
        (
            row["video"],
            float(row["start"] or 0),
            row["label"] or "",
            float(row["probability"]) if row["label"] else None,
            row["error"] or "",
        )
        for row in table
    ]


EXPECTED = [
    (
        prediction.video.encode("utf-8", "backslashreplace").decode(),
        prediction.start_seconds,
        label,
        probability,
        prediction.error or "",
    )
    for prediction in FIVE
    for label, probability in (prediction.top(2) or [("", None)])
]


@pytest.mark.parametrize("form", FORMS)
def test_every_row_is_there_to_the_last_bit(form, tmp_path):
    assert write_missing(form, tmp_path / "out") == 5
    assert rows_of(form, tmp_path / "out") == EXPECTED
    before = (tmp_path / "out").read_bytes()
    assert write_missing(form, tmp_path / "out") == 0
    if form != "parquet":
        assert (tmp_path / "out").read_bytes() == before
    assert rows_of(form, tmp_path / "out") == EXPECTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("form", ["json", "csv"])
def test_wherever_a_run_was_cut_off_the_next_makes_it_whole(form, tmp_path):
    path = tmp_path / "out"
    write_missing(form, path)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 7), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:length])
        write_missing(form, path)
        assert path.read_bytes() == whole, length


def test_a_parquet_file_is_gathered_beside_until_it_is_complete(tmp_path):
    path, partial = tmp_path / "out.parquet", tmp_path / "out.parquet.partial"
    assert write_missing("parquet", path, stop_after=2) == 2
    assert not path.exists()
    partial.write_bytes(partial.read_bytes()[:-9])  # killed inside a line
    assert write_missing("parquet", path, FIVE[:3]) == 2
    assert rows_of("parquet", path) == EXPECTED[:5]
    assert not partial.exists()
    # More videos go into the same file, which stays readable all the time.
    assert write_missing("parquet", path, stop_after=1) == 1
    assert rows_of("parquet", path) == EXPECTED[:5]
    assert write_missing("parquet", path) == 1
    assert rows_of("parquet", path) == EXPECTED


def test_a_kill_between_adding_and_removing_adds_nothing_twice(tmp_path):
    path, partial = tmp_path / "out.parquet", tmp_path / "out.parquet.partial"
    write_missing("parquet", path, stop_after=5)
    gathered = partial.read_bytes()
    write_missing("parquet", path)
    partial.write_bytes(gathered)
    assert write_missing("parquet", path) == 0
    assert rows_of("parquet", path) == EXPECTED


@pytest.mark.parametrize("form", FORMS)
def test_another_model_or_other_settings_are_refused(form, tmp_path):
    path = tmp_path / "out"
    write_missing(form, path)
    before = path.read_bytes()
    with pytest.raises(VidcliError, match=r"of another model .0123456789abcdef, this one is ffff"):
        open_results(form, path, Source("ffff", SOURCE.settings))
    with pytest.raises(VidcliError, match=r"with other settings .top-k=2; now top-k=3"):
        open_results(form, path, Source(SOURCE.model, "top-k=3"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "content", [b"notes\nof mine\n", b'{"video": "a"}\n', b"video,label\na,b\n", b"\0" * 50 + b"\n"]
)
def test_a_file_of_something_else_is_refused_and_stays(form, content, tmp_path):
    path = tmp_path / "out"
    path.write_bytes(content)
    with pytest.raises(VidcliError, match="choose another file"):
        open_results(form, path)
    assert path.read_bytes() == content


FOREIGN_REST = (
    b'{"video": "a.mp4", "labels": ["x"]}',  # a whole object that is not ours
    b'{"video": "a.mp4", "annotations": [{"start": 0',
    b'{"videos": ["a.mp4"]}',
    b"video,label",
    b"just a note",
    b"[1, 2]",
    b'{"video": "a.mp4", "predictions": [], "model": "ffff", "settings": "top-k=2"}',
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rest", FOREIGN_REST)
@pytest.mark.parametrize("is_alone", [True, False])
def test_what_is_not_the_rest_of_a_row_of_ours_is_never_cut_off(form, rest, is_alone, tmp_path):
    path = tmp_path / "out"
    if not is_alone:
        if form != "json":
            pytest.skip("a last line of CSV tells nothing of itself, and Parquet has none")
        write_missing(form, path)
    with open(path, "ab") as file:
        file.write(rest)
    before = path.read_bytes()
    with pytest.raises(VidcliError, match="choose another file"):
        open_results(form, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_link_is_not_followed(form, tmp_path):
    write_missing(form, tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(VidcliError, match="cannot be written"):
        open_results(form, tmp_path / "link")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_damaged_row_is_named(form, tmp_path):
    path = tmp_path / "out"
    write_missing(form, path, [made(0, video="a"), made(1, video="b"), made(2, video="c")])
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1][:4] + "\n"
    path.write_text("".join(lines))
    with pytest.raises(VidcliError, match="line 2 is not a row of results"):
        open_results(form, path)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_runs_at_one_file_are_refused(tmp_path):
    first = open_results("json", tmp_path / "out")
    with pytest.raises(VidcliError, match="another run is writing it"):
        open_results("json", tmp_path / "out")
    first.close(is_complete=True)
    open_results("json", tmp_path / "out").close(is_complete=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_full_disk_leaves_whole_rows_and_the_next_run_goes_on(form, tmp_path):
    import resource

    path = tmp_path / "out"
    write_missing(form, path, FIVE[:1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, before[1]))
    try:
        with pytest.raises(VidcliError, match=r"cannot be written .*the same command goes on"):
            write_missing(form, path, FIVE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert rows_of(form, path) == EXPECTED[:2]
    write_missing(form, path)
    assert rows_of(form, path) == EXPECTED


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_device_is_written_and_not_read(tmp_path):
    results = open_results("json", os.devnull)
    results.write(FIVE[0])
    results.close(is_complete=True)
    with pytest.raises(VidcliError, match="/dev/full: cannot be written"):
        open_results("csv", "/dev/full")
