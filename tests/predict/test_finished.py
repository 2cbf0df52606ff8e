"""Videos of a file of results are found again, quickly where its lines are plain, else one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcli.data.items import VideoItem
from vidcli.data.video_table import VideoTable
from vidcli.errors import VidcliError
from vidcli.predict import Prediction
from vidcli.predict.finished import FinishedVideos
from vidcli.predict.results import CsvResults, Source

NAMES = ("left", "right", "up")
SOURCE = Source("0123456789abcdef", "top-k=2")
ODD = 'clips/a "b", c.mp4'


def predictions(odd: bool) -> list[Prediction]:
    """Answers to whole videos and spans, of which some failed and one was asked about twice."""
    rng, made = np.random.default_rng(0), []
    for number in range(12):
        error = "no such file" if number % 4 == 3 else None
        probabilities = None if error else rng.dirichlet(np.ones(3))
        span = (float(number), number + 1.5) if number % 3 == 1 else (0.0, None)
        video = ODD if odd and number == 7 else f"clips/v{number % 10}.mp4"
        made.append(Prediction(video, NAMES, probabilities, error, None, *span))
    return [*made, made[0]]


def item_of(prediction: Prediction) -> VideoItem:
    end = prediction.end_seconds
    return VideoItem(Path(prediction.video), "", None, None, prediction.start_seconds, end)


def write(path: Path, answers: list[Prediction]) -> bytes:
    results = CsvResults(path, 2, SOURCE, len(NAMES))
    remaining, _ = results.split([item_of(one) for one in answers])
    by_item = {item_of(one): one for one in answers}
    for item in remaining:
        results.write(by_item[item])
    results.close(is_complete=True)
    return path.read_bytes()


@pytest.mark.parametrize("block_bytes", [1, 150, 1 << 20])
@pytest.mark.parametrize("odd", [False, True])
def test_both_ways_to_read_a_table_find_the_same(
    odd: bool, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcli.predict.results._BLOCK_BYTES", block_bytes)
    answers = predictions(odd)
    asked = [item_of(one) for one in (*answers, *answers[:2])] + [VideoItem(Path("clips/v1.mp4"), "")]
    path = tmp_path / "results.csv"
    for count in range(len(answers) + 1):
        path.unlink(missing_ok=True)
        write(path, answers[:count])
        found = []
        for quick in (True, False):
            with monkeypatch.context() as patch:
                if not quick:
                    patch.setattr(FinishedVideos, "add_csv", lambda *args: None)
                results = CsvResults(path, 2, SOURCE, len(NAMES))
                found += [results.split(asked), results.split(VideoTable.of(asked))]
                results.close(is_complete=False)
        first = found[0]
        assert len(first[0]) == len(asked) - count
        assert first[1] == sum(one.error is not None for one in answers[:count])
        assert all((list(items), failed) == (list(first[0]), first[1]) for items, failed in found)


def test_plain_lines_are_not_looked_at_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    write(path, predictions(odd=False))
    monkeypatch.setattr(FinishedVideos, "add", lambda *args: pytest.fail("a line was"))
    write(path, predictions(odd=False))
    write(tmp_path / "odd.csv", predictions(odd=True))
    with pytest.raises(pytest.fail.Exception, match="a line was"):
        write(tmp_path / "odd.csv", predictions(odd=True))


def test_a_table_cut_off_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    answers = predictions(odd=False)[:6]
    whole = write(tmp_path / "whole.csv", answers)
    path = tmp_path / "cut.csv"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert write(path, answers) == whole


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (b",2,", b",3,", "line 3 is not a row of results"),
        (b"0123456789abcdef", b"fedcba9876543210", "results of another model"),
        (b"top-k=2\n", b"top-k=2,more\n", "line 2 is not a row of results"),
        (b"clips/v1.mp4,1", b"\nclips/v1.mp4,1", "line 4 is not a row of results"),
    ],
)
def test_a_wrong_line_among_plain_ones_is_named(
    before: bytes, after: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.csv"
    content = write(path, predictions(odd=False))
    assert before in content
    path.write_bytes(content.replace(before, after, 1))
    with pytest.raises(VidcliError, match=told):
        write(path, predictions(odd=False))
