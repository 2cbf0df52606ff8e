"""Rules on the data set as a whole: splits, groups, classes, and the numbers."""

from __future__ import annotations

import shutil
import threading

import pytest

from vidcli.config import DataConfig
from vidcli.data.manifest import load_items, manifest_text
from vidcli.data.splits import assign_splits
from vidcli.doctor import file_report
from vidcli.doctor.findings import ADVICE, SEVERITIES


def test_torn_group_is_a_row_and_its_smaller_part_goes(
    clean_videos, tmp_path, motion, write, write_manifest, check
):
    rows = [
        {
            "path": write(tmp_path / f"{n}.mp4", motion("up", seed=30 + n)),
            "label": "up",
            "split": split,
            "group": "g",
        }
        for n, split in enumerate(("train", "test", "test"))
    ]
    report = check(write_manifest(*rows))
    (finding,) = report.findings
    assert (finding.severity, finding.kind, finding.subject) == ("error", "torn-group", "group g")
    assert finding.detail == "has 1 in train, 2 in test"
    assert finding.video is None
    assert [item.path.name for item in report.items if item not in report.usable] == ["0.mp4"]


def test_class_that_train_lacks(tmp_path, motion, write, write_manifest, check):
    path = write(tmp_path / "a.mp4", motion("grow", seed=3))
    report = check(write_manifest({"path": path, "label": "grow", "split": "test"}))
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("error", "missing-class")
    assert (finding.subject, finding.detail) == ("class grow", "1 in test, none in train")
    assert path not in [item.path for item in report.usable]


def test_class_that_loses_its_last_training_video_goes_too(tmp_path, motion, write, write_manifest, check):
    (tmp_path / "broken.mp4").write_text("no video")
    test = write(tmp_path / "b.mp4", motion("grow", seed=4))
    report = check(write_manifest(
        {"path": tmp_path / "broken.mp4", "label": "grow", "split": "train"},
        {"path": test, "label": "grow", "split": "test"},
    ))  # fmt: skip
    assert [finding.kind for finding in report.findings] == ["unreadable"]
    assert {item.label for item in report.usable} == {"left", "up"}


def test_too_few_videos_to_draw_splits_from(tmp_path, motion, write, check):
    for name in ("left", "up"):
        write(tmp_path / "data" / name / "a.mp4", motion(name, seed=5))
    report = check(tmp_path / "data")
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("error", "splits")
    assert "too few" in finding.detail
    assert report.summary.classes == {"left": {"all": 1}, "up": {"all": 1}}


def test_one_class_and_stray_files(tmp_path, motion, write, check):
    for number in range(4):
        write(tmp_path / "data" / "left" / f"{number}.mp4", motion("left", seed=number))
    (tmp_path / "data" / "left" / "notes.txt").touch()
    kinds = {finding.kind: finding for finding in check(tmp_path / "data").findings}
    assert set(kinds) == {"splits", "unused"}
    assert "notes.txt" in kinds["unused"].detail
    assert kinds["unused"].severity == "warning"


def test_numbers_of_a_clean_data_set(write_manifest, check, monkeypatch):
    class Clock(threading.local):
        """Every look at it is a second later than the thread's last."""

        seconds = 0.0

        def perf_counter(self):
            self.seconds += 1
            return self.seconds

    monkeypatch.setattr(file_report, "time", Clock())
    summary = check(write_manifest()).summary
    assert summary.num_videos == summary.num_files == 6
    assert summary.num_found == {"error": 0, "warning": 0, "note": 0}
    assert summary.num_unusable == 0
    assert summary.classes == {name: {"train": 1, "val": 1, "test": 1} for name in ("left", "up")}
    assert not summary.splits_drawn
    assert (summary.sizes, summary.rates, summary.codecs) == ({"64x64": 6}, {"12": 6}, {"h264": 6})
    assert summary.seconds is not None
    assert summary.seconds.min == pytest.approx(16 / 12, abs=0.01)
    assert summary.total_seconds == pytest.approx(6 * 16 / 12, abs=0.06)
    assert summary.advice == {}
    # A third of the videos is for training, decoded by two threads.
    assert (summary.decode_seconds, summary.workers) == (6.0, 2)
    assert summary.epoch_seconds == pytest.approx(1.0)


def test_progress_and_drawn_splits(motion_data, small_config):
    from vidcli.doctor import check_data

    seen = []
    folder = motion_data / "train"
    report = check_data(folder, small_config(), lambda done, total: seen.append((done, total)))
    assert seen == [(done, 32) for done in range(1, 33)]
    assert report.findings == []
    assert report.summary.splits_drawn
    drawn = assign_splits(report.items, DataConfig())
    assert sum(counts["test"] for counts in report.summary.classes.values()) == sum(
        item.split == "test" for item in drawn
    )


def test_findings_come_gravest_first(tmp_path, motion, write, write_manifest, check):
    (tmp_path / "broken.mp4").write_text("no video")
    (tmp_path / "short.mp4").touch()
    short = write(tmp_path / "short.mp4", motion(seed=6)[:3])
    report = check(write_manifest(
        {"path": short, "label": "left", "split": "train"},
        {"path": tmp_path / "broken.mp4", "label": "left", "split": "train"},
    ))  # fmt: skip
    ranks = [SEVERITIES.index(finding.severity) for finding in report.findings]
    assert ranks == sorted(ranks) == [0, 1]
    assert list(report.summary.advice) == [finding.kind for finding in report.findings]
    assert all(text.endswith(".") for text in ADVICE.values())


def test_quarantine_is_a_manifest_that_checks_clean(tmp_path, clean_videos, write_manifest, check):
    (tmp_path / "broken.mp4").write_text("no video")
    leaked = shutil.copy(clean_videos[4], tmp_path / "leak.mp4")  # test/left
    report = check(write_manifest(
        {"path": tmp_path / "broken.mp4", "label": "left", "split": "train"},
        {"path": tmp_path / "gone.mp4", "label": "left", "split": "train"},
        {"path": leaked, "label": "left", "split": "val"},
    ))  # fmt: skip
    assert {f.kind for f in report.findings} == {"missing", "unreadable", "leak"}
    (tmp_path / "good.csv").write_text(manifest_text(report.usable))
    assert [item.path for item in load_items(tmp_path / "good.csv")] == clean_videos
    assert check(tmp_path / "good.csv").findings == []


SETS = {"data.multi_label": True}


def relabel(manifest, labels):
    """Give the clean videos other labels: those of `left` the first, those of `up` the second."""
    text = manifest.read_text(encoding="utf-8")
    for name, label in zip(("left", "up"), labels, strict=True):
        text = text.replace(f",{name},", f",{label},")
    manifest.write_text(text, encoding="utf-8")
    return manifest


def test_joined_labels_are_several_classes_where_that_is_set(write_manifest, check):
    manifest = relabel(write_manifest(), ("left|moves", "moves"))
    report = check(manifest, **SETS)
    assert report.findings == []
    assert report.summary.classes == {
        "left": {"train": 1, "val": 1, "test": 1},
        "moves": {"train": 2, "val": 2, "test": 2},
    }
    assert report.summary.splits == {"train": 2, "val": 2, "test": 2}
    joined = check(manifest)
    assert [(found.kind, found.severity) for found in joined.findings] == [("joined-labels", "warning")]
    assert "3 hold a '|', such as 'left|moves'" in joined.findings[0].detail
    assert "data.multi_label=true" in joined.summary.advice["joined-labels"]
    assert set(joined.summary.classes) == {"left|moves", "moves"}


def test_a_class_that_train_lacks_is_told_though_the_set_is_known(
    write_manifest, check, motion, write, tmp_path
):
    extra = write(tmp_path / "extra.mp4", motion("grow", seed=9))
    manifest = relabel(write_manifest({"path": extra, "label": "left|rare", "split": "test"}), ("left", "|"))
    report = check(manifest, **SETS)
    assert [(found.kind, found.subject) for found in report.findings] == [("missing-class", "class rare")]
    assert extra not in [item.path for item in report.usable]
    assert len(report.usable) == 6  # those of no class stay


def test_copies_conflict_only_where_their_sets_differ(write_manifest, check, clean_videos, tmp_path):
    copies = [shutil.copy(clean_videos[0], tmp_path / f"copy{number}.mp4") for number in range(2)]

    def kinds(label):
        rows = [
            {"path": path, "label": given, "split": "train"}
            for path, given in zip(copies, ("a|left", label), strict=True)
        ]
        manifest = relabel(write_manifest(*rows), ("left|a", "a"))
        return {found.kind for found in check(manifest, **SETS).findings}

    assert kinds("left | a") == {"duplicate"}
    assert kinds("a") == {"label-conflict"}


def test_subjects_of_one_picture_are_no_copies(tmp_path, motion, write, write_manifest, check):
    path = write(tmp_path / "a.mp4", motion("grow", seed=3))
    rows = [
        {"path": path, "label": label, "split": "train", "start": start, "end": start + 1, "track": track}
        for start in (0, 1)
        for track, label in (("a", "up"), ("b", "down"))
    ]
    assert "label-conflict" not in {finding.kind for finding in check(write_manifest(*rows)).findings}
    for row in rows:
        row["track"] = "a" if row["track"] == "b" and row["start"] == 0 else row["track"]
        row["end"] += 0.004 if row["label"] == "down" else 0  # the same span, near enough
    conflicts = [f for f in check(write_manifest(*rows)).findings if f.kind == "label-conflict"]
    assert len(conflicts) == 2
    assert conflicts[0].subject == "a.mp4 [0–1 s], a"
