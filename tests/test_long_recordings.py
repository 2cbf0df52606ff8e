"""Generated long recordings: what happens in them, what the table says, and that a seed repeats them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vidcli.config.subject_settings import SubjectConfig
from vidcli.data.manifest import load_items
from vidcli.data.subjects import subjects_of
from vidcli.errors import DataError
from vidcli.synthetic import LONG_CLASSES, LongRecordingOptions, write_recordings
from vidcli.synthetic.long_recording import Actor, LongScene, draw_bouts, visit_of
from vidcli.synthetic.recording_set import split_of
from vidcli.video import probe

TINY = LongRecordingOptions(minutes=0.5, size=(32, 32), fps=10)


def test_half_of_the_time_is_background_and_all_behaviours_occur():
    usual = LongRecordingOptions()
    drawn = [draw_bouts(np.random.default_rng(seed), usual) for seed in range(20)]
    lengths = [sum(bout.end - bout.start for bout in bouts) / usual.num_frames for bouts in drawn]
    assert 0.4 < np.mean(lengths) < 0.6
    for bouts in drawn:
        assert set(LONG_CLASSES) == {bout.label for bout in bouts}
        assert all(bout.end < later.start for bout, later in pairwise(bouts))
    short = [draw_bouts(np.random.default_rng(seed), TINY) for seed in range(20)]
    assert all(set(LONG_CLASSES) == {bout.label for bout in bouts} for bouts in short)
    seconds = [(bout.end - bout.start) / usual.fps for bouts in drawn for bout in bouts]
    assert min(seconds) < 0.5
    assert 40 < max(seconds) <= 60.1


def test_the_subject_moves_in_a_dart_and_lies_still_in_sleep():
    options = LongRecordingOptions(minutes=1, jitter=0, noise=0)
    bouts = draw_bouts(np.random.default_rng(5), options)
    actor = Actor("a", np.random.SeedSequence(7), bouts, visit_of(False, options))
    drawn = LongScene(np.random.default_rng(6), [actor], options).frames()
    frames = np.stack([*drawn]).astype(float)

    def change(label: str) -> float:
        bout = next(bout for bout in bouts if bout.label == label)
        inner = frames[bout.start + 4 : bout.end - 4]
        normal = inner / inner.mean(axis=(1, 2, 3), keepdims=True)  # the light changes in every frame
        return float(np.abs(np.diff(normal, axis=0)).mean())

    assert change("dart") > 3 * change("sleep")


@pytest.mark.parametrize(("number", "expected"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (10, (5, 2, 3))])
def test_every_split_has_recordings(number: int, expected: tuple[int, int, int]):
    counts = Counter(split_of(k, number) for k in range(number))
    assert tuple(counts[name] for name in ("train", "val", "test")) == expected


def test_equal_seeds_write_equal_files_that_are_used_again(tmp_path: Path):
    told: list[tuple[int, int]] = []
    one = write_recordings(tmp_path / "one", 3, 7, TINY, lambda *numbers: told.append(numbers))
    assert told[-1] == (900, 900)
    items = load_items(one)
    assert {item.path.name for item in items} == {f"recording_0{k}.mp4" for k in (1, 2, 3)}
    assert all(item.end_seconds is not None and item.end_seconds <= 30 for item in items)
    assert probe(items[0].path).duration_seconds == pytest.approx(30)
    write_recordings(tmp_path / "two", 3, 7, TINY)
    files = [{path.name: path.read_bytes() for path in one.parent.iterdir()}]
    files.append({path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()})
    assert files[0] == files[1]
    before = items[0].path.stat().st_mtime_ns
    (one.parent / "recording_02.mp4").unlink()  # what is missing is written, all else stays
    write_recordings(one.parent, 3, 7, TINY)
    assert items[0].path.stat().st_mtime_ns == before
    assert {path.name: path.read_bytes() for path in one.parent.iterdir()} == files[0]
    with pytest.raises(DataError, match="other settings"):
        write_recordings(one.parent, 3, 8, TINY)


def test_a_second_subject_does_things_of_its_own_while_it_is_there(tmp_path: Path):
    table = write_recordings(tmp_path / "one", 3, 7, TINY)
    items = load_items(table)
    tracks = {
        name: {item.track for item in items if item.path.stem == name}
        for name in ("recording_01", "recording_02")
    }
    assert tracks == {"recording_01": {"a"}, "recording_02": {"a", "b"}}
    spans = {
        track: [
            (item.start_seconds, item.end_seconds)
            for item in items
            if item.path.stem == "recording_02" and item.track == track
        ]
        for track in "ab"
    }
    assert spans["a"] != spans["b"]
    assert all(start >= 3 and end <= 27 for start, end in spans["b"])
    found = subjects_of(
        tmp_path / "one" / "recording_02.mp4", SubjectConfig(boxes=str(tmp_path / "one" / "boxes.csv"))
    )
    (visit,) = found["b"].present
    assert visit == (pytest.approx(3, abs=0.3), pytest.approx(27, abs=0.3))
    assert 0.9 < len(found["a"].times_N) / 300 < 0.99  # some are missing
    assert (
        len(
            subjects_of(
                tmp_path / "one" / "recording_01.mp4",
                SubjectConfig(boxes=str(tmp_path / "one" / "boxes.csv")),
            )
        )
        == 1
    )


def test_boxes_are_around_what_is_drawn():
    options = LongRecordingOptions(minutes=0.5, noise=0, jitter=0.05)
    actor = Actor("a", np.random.SeedSequence(3), [], visit_of(False, options))
    with_actor = LongScene(np.random.default_rng(6), [actor], options)
    boxes = {frame: sides for frame, _, sides in with_actor.boxes(np.random.default_rng(0))}
    frames = np.stack([*with_actor.frames()]).astype(float)
    still = np.median(frames[:, :, :, 1] / frames[:, :, :, 1].mean(axis=(1, 2), keepdims=True), axis=0)
    inside = 0
    for frame, (left, top, width, height) in list(boxes.items())[::20]:
        picture = frames[frame, :, :, 1] / frames[frame, :, :, 1].mean()
        changed = np.abs(picture - still)
        row, column = np.unravel_index(changed.argmax(), changed.shape)
        inside += left <= column <= left + width and top <= row <= top + height
    assert inside >= 0.8 * len(list(boxes)[::20])


@pytest.mark.parametrize("wrong", [{"minutes": 0.1}, {"size": (31, 64)}, {"fps": 5}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="must be"):
        LongRecordingOptions(**wrong)  # type: ignore[arg-type]
