"""Whatever was called saved is on disk: after a crash, a kill, and with two pages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.forks import Forked
from vidcli.data.manifest import read_data
from vidcli.errors import DataError, OutputError, WriteError
from vidcli.review.clips import ClipList, Verdict
from vidcli.review.journal import Journal, StaleVersion

SAYING = """
import sys
from pathlib import Path
from vidcli.review.clips import Verdict, read_clips
from vidcli.review.journal import Journal
clips = read_clips(Path(sys.argv[1]), False, print)
journal = Journal(clips, Path(sys.argv[2]))
for number in range(10**6):
    position = number % len(clips.items)
    journal.say(position, journal.states()[position][0], Verdict(f"class {number}", by_person=True))
    print(number, flush=True)
"""


def labels_in(manifest: Path) -> dict[str, str]:
    return {item.path.name: item.label for item in read_data(manifest).items}


def again(clips: ClipList, manifest: Path) -> Journal:
    return Journal(clips, manifest)


def test_a_label_is_on_disk_when_it_is_said(journal: Journal, manifest: Path) -> None:
    journal.say(2, 0, Verdict("left", by_person=True))
    assert labels_in(manifest) == {"2.mp4": "left"}
    line = json.loads(journal.path.read_text().splitlines()[-1])
    assert (line["label"], line["who"]) == ("left", "Ada")
    assert line["at"].endswith("+00:00")


def test_an_earlier_journal_is_taken_up(journal: Journal, clips: ClipList, manifest: Path) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    journal.say(0, 1, Verdict("right", by_person=True))
    journal.say(1, 0, Verdict(None, is_flagged=True, by_person=True))
    before = journal.verdicts()
    journal.close()
    with closing(again(clips, manifest)) as later:
        assert later.verdicts() == before
        assert (later.states()[0][0], later.revision) == (2, 3)
        assert later.changed_since(2) == [1]


def test_subjects_of_one_span_have_labels_of_their_own(clips: ClipList, tmp_path: Path) -> None:
    both = ClipList([replace(clips.items[0], track=name) for name in "ab"], ["0.mp4, a", "0.mp4, b"])
    manifest = tmp_path / "subjects.csv"
    with closing(Journal(both, manifest)) as journal:
        journal.say(0, 0, Verdict("left", by_person=True))
        journal.say(1, 0, Verdict("right", by_person=True))
    assert [(item.track, item.label) for item in read_data(manifest).items] == [("a", "left"), ("b", "right")]
    with closing(Journal(both, manifest)) as later:
        assert [verdict.label for verdict in later.verdicts()] == ["left", "right"]


def test_what_another_window_saw_before_does_not_count(journal: Journal, manifest: Path) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    with pytest.raises(StaleVersion):
        journal.say(0, 0, Verdict("right", by_person=True))
    assert labels_in(manifest) == {"0.mp4": "left"}


def test_half_a_line_was_never_said(journal: Journal, clips: ClipList, manifest: Path) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    journal.close()
    with open(journal.path, "a") as file:
        file.write('{"path": "half')
    with closing(again(clips, manifest)) as later:
        later.say(1, 0, Verdict("right", by_person=True))
    assert labels_in(manifest) == {"0.mp4": "left", "1.mp4": "right"}
    assert all(json.loads(line) for line in journal.path.read_text().splitlines())


def test_a_manifest_one_line_behind_is_brought_up_to_date(
    journal: Journal, clips: ClipList, manifest: Path
) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    behind = manifest.read_bytes()
    journal.say(1, 0, Verdict("right", by_person=True))
    journal.close()
    manifest.write_bytes(behind)
    again(clips, manifest).close()
    assert labels_in(manifest) == {"0.mp4": "left", "1.mp4": "right"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_kill_loses_nothing_that_was_called_saved(folder: Path, clips: ClipList, manifest: Path) -> None:
    with Forked(["-c", SAYING, folder, manifest], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                process.kill()
                break
        said = 20 + len(process.stdout.read().splitlines())
    with closing(again(clips, manifest)) as later:
        numbers = [int((verdict.label or "class -1").split()[1]) for verdict in later.verdicts()]
    assert said <= max(numbers) <= said + 1
    assert sorted(numbers) == list(range(max(numbers) - len(numbers) + 1, max(numbers) + 1))
    assert set(labels_in(manifest).values()) == {f"class {number}" for number in numbers}


def test_only_one_process_writes(journal: Journal, clips: ClipList, manifest: Path) -> None:
    with pytest.raises(OutputError, match="another vidcli review"):
        again(clips, manifest)


def test_a_manifest_of_others_is_not_replaced(clips: ClipList, manifest: Path) -> None:
    manifest.write_text("path,label\na.mp4,x\n")
    with pytest.raises(OutputError, match="is not as vidcli review wrote it"):
        again(clips, manifest)
    assert manifest.read_text() == "path,label\na.mp4,x\n"


def test_a_manifest_that_was_changed_by_hand_is_not_replaced(
    journal: Journal, clips: ClipList, manifest: Path
) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    journal.close()
    manifest.write_text(manifest.read_text().replace("left", "mended"))
    with pytest.raises(OutputError, match="Review that file itself"):
        again(clips, manifest)


def test_a_file_that_is_no_journal_is_refused(clips: ClipList, manifest: Path) -> None:
    manifest.with_suffix(".jsonl").write_text('{"other": 1}\n')
    with pytest.raises(OutputError, match="no journal"):
        again(clips, manifest)


def test_a_damaged_line_is_named(journal: Journal, clips: ClipList, manifest: Path) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    journal.close()
    with open(journal.path, "a") as file:
        file.write("nonsense\n")
    manifest.unlink()
    with pytest.raises(DataError, match="line 3 is damaged"):
        again(clips, manifest)


def test_a_full_disk_takes_nothing_and_says_so(
    journal: Journal, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.say(0, 0, Verdict("left", by_person=True))
    size = journal.path.stat().st_size

    def fail(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(WriteError, match="No space left"):
            journal.say(1, 0, Verdict("right", by_person=True))
    assert journal.path.stat().st_size == size
    assert labels_in(manifest) == {"0.mp4": "left"}
    journal.say(1, 0, Verdict("right", by_person=True))
    assert labels_in(manifest) == {"0.mp4": "left", "1.mp4": "right"}


def test_labels_of_the_data_set_stand_until_somebody_says_otherwise(
    write_video: Callable[..., Path], tmp_path: Path
) -> None:
    from vidcli.review.clips import read_clips

    for name in ("left", "right"):
        write_video(tmp_path / "data" / name / "a.mp4", seed=len(name))
    clips, manifest = read_clips(tmp_path / "data", False, print), tmp_path / "out.csv"
    with closing(again(clips, manifest)) as journal:
        assert [item.label for item in read_data(manifest).items] == ["left", "right"]
        journal.say(0, 0, Verdict("right", by_person=True))
    assert [item.label for item in read_data(manifest).items] == ["right", "right"]
