"""The rules on copies: what is proven is an error, what only seems so a warning that can be looked at."""

from __future__ import annotations

import json
import shutil

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.doctor.copies import scaled
from vidcli.commands.app import app
from vidcli.doctor import pictures


def copy_of(videos, split, name, target):
    (source,) = (video for video in videos if video.parent.name == split and video.stem == name)
    shutil.copy(source, target)
    return target


def severe(report, severity="error"):
    return [finding for finding in report.findings if finding.severity == severity]


def test_copy_in_train_of_a_test_video_is_an_error(clean_videos, tmp_path, write_manifest, check):
    copy = copy_of(clean_videos, "test", "left", tmp_path / "copy.mp4")
    report = check(write_manifest({"path": copy, "label": "left", "split": "train"}))
    (finding,) = report.findings
    assert (finding.severity, finding.kind, finding.video) == ("error", "leak", str(copy))
    assert finding.others == (str(clean_videos[4]),)
    assert "same content as" in finding.detail
    assert "(test); is in train" in finding.detail
    assert [item.path for item in report.usable] == clean_videos


def test_near_copy_across_splits_is_a_warning_on_the_training_video(
    motion, clean_videos, tmp_path, write, write_manifest, check
):
    # Seed 0 is train/left, as the fixture makes it.
    copy = write(tmp_path / "again.avi", scaled(motion("left", seed=0), 48, 48), codec="mpeg4")
    report = check(write_manifest({"path": copy, "label": "left", "split": "test"}))
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("warning", "leak")
    assert finding.video == str(clean_videos[0])
    assert finding.detail == "may show the same as again.avi (test); is in train"
    assert finding.pair is not None
    assert [report.items[at].path for at in (finding.pair.first, finding.pair.second)] == [
        clean_videos[0],
        copy,
    ]
    assert report.usable == report.items  # a quarantine drops what is proven only


def test_copies_with_different_labels_all_go(clean_videos, tmp_path, write_manifest, check):
    copy = copy_of(clean_videos, "train", "left", tmp_path / "copy.mp4")
    report = check(write_manifest({"path": copy, "label": "up", "split": "train"}, {
        "path": copy_of(clean_videos, "train", "up", tmp_path / "up.mp4"), "label": "up", "split": "train"
    }))  # fmt: skip
    conflict = severe(report)
    assert {(f.kind, f.video) for f in conflict} == {
        ("label-conflict", str(copy)), ("label-conflict", str(clean_videos[0]))
    }  # fmt: skip
    assert any("is up, train; same content as" in finding.detail for finding in conflict)
    # A copy with the same label in the same split only weighs twice.
    (double,) = severe(report, "warning")
    assert double.kind == "duplicate"


def test_copies_in_a_folder_may_be_parted_unless_in_one_group(motion, tmp_path, write, write_manifest, check):
    for name in ("left", "up"):
        for seed in range(3):
            write(tmp_path / "data" / name / f"{seed}.mp4", motion(name, seed=70 + seed))
    write(tmp_path / "data" / "left" / "copy.mp4", motion("left", seed=70), crf=30)
    report = check(tmp_path / "data")
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("warning", "leak")
    assert "drawn splits may part them" in finding.detail
    assert len(report.usable) == 7
    scene_of = {item.path: item.path.stem.replace("copy", "0") for item in report.items}
    grouped = write_manifest(*(
        {"path": item.path, "label": item.label, "group": f"{item.label} {scene_of[item.path]}"}
        for item in report.items
    ))  # fmt: skip
    rows = grouped.read_text().splitlines()
    grouped.write_text("\n".join([rows[0], *rows[7:]]) + "\n")  # without the clean videos
    (finding,) = check(grouped).findings
    assert (finding.severity, finding.kind) == ("note", "near-duplicate")


def test_spans_of_one_recording_across_splits(motion, tmp_path, write, write_manifest, check):
    path = write(tmp_path / "long.mp4", np.concatenate([motion("left", seed=80 + n) for n in range(4)]))
    row = {"path": path, "label": "left"}
    report = check(write_manifest(
        row | {"split": "test", "start": 0, "end": 1.3},
        row | {"split": "train", "start": 1.0, "end": 2.5},
        row | {"split": "train", "start": 3.0, "end": 4.5},
    ))  # fmt: skip
    found = {(f.severity, f.kind): f for f in report.findings}
    assert set(found) == {("error", "leak"), ("warning", "shared-file")}
    assert found["error", "leak"].subject == "long.mp4 [1–2.5 s]"
    assert "overlaps long.mp4 [0–1.3 s] (test)" in found["error", "leak"].detail
    assert "2 in train, 1 in test" in found["warning", "shared-file"].detail


def remux(source, target):
    """Copy the packets to another container: other bytes, the same frames."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return target


def test_equal_frames_in_another_container_are_proof(clean_videos, tmp_path, write_manifest, check):
    conflict = remux(clean_videos[0], tmp_path / "remuxed.mkv")
    report = check(write_manifest({"path": conflict, "label": "up", "split": "train"}))
    found = severe(report)
    assert {(f.kind, f.video) for f in found} == {
        ("label-conflict", str(conflict)), ("label-conflict", str(clean_videos[0]))
    }  # fmt: skip
    assert all("same content as" in finding.detail for finding in found)
    assert not {conflict, clean_videos[0]} & {item.path for item in report.usable}
    leak = remux(clean_videos[4], tmp_path / "leak.mkv")
    (finding,) = check(write_manifest({"path": leak, "label": "left", "split": "train"})).findings
    assert (finding.severity, finding.kind, finding.video) == ("error", "leak", str(leak))


def test_lossless_coding_is_proof_and_one_other_pixel_is_none(motion, tmp_path, write, write_manifest, check):
    frames = motion("left", seed=200, side=96)
    changed = frames.copy()
    changed[3, :2, :2] ^= 4  # too little to show in small frames
    lossless = {"codec": "ffv1", "pixel_format": "bgr0"}
    row = {"label": "left", "split": "train"}
    rows = []
    for name, shown in (("a.mkv", frames), ("b.avi", frames), ("c.mkv", changed)):
        encode_lossless(tmp_path / name, shown, **lossless)
        rows.append(row | {"path": tmp_path / name})
    rows[1] |= {"label": "up"}
    rows[2] |= {"label": "up"}
    report = check(write_manifest(*rows))
    kinds = {(f.severity, f.kind, f.subject) for f in report.findings if f.kind == "label-conflict"}
    assert kinds == {
        ("error", "label-conflict", "a.mkv"), ("error", "label-conflict", "b.avi"),
        ("warning", "label-conflict", "c.mkv"),
    }  # fmt: skip


def encode_lossless(path, frames, codec, pixel_format):
    from vidcli.video import encode_video

    encode_video(path, list(frames), 12, codec, pixel_format)


def test_near_copies_with_two_labels_are_one_warning(
    motion, clean_videos, tmp_path, write, write_manifest, check
):
    copy = write(tmp_path / "copy.mp4", motion("left", seed=0)[:, :, ::-1], crf=30)
    report = check(write_manifest({"path": copy, "label": "up", "split": "train"}))
    (finding,) = report.findings
    assert (finding.severity, finding.kind, finding.video) == ("warning", "label-conflict", str(copy))
    assert finding.detail == f"is up, train; may show the same as {clean_videos[0]} (left, train): mirrored"
    assert report.usable == report.items


def test_near_copies_with_one_label_are_told(motion, clean_videos, tmp_path, write, write_manifest, check):
    copies = [write(tmp_path / f"copy{crf}.mp4", motion("left", seed=0), crf=crf) for crf in (30, 34)]
    report = check(write_manifest(*({"path": copy, "label": "left", "split": "train"} for copy in copies)))
    assert [(f.severity, f.kind, f.video) for f in report.findings] == [
        ("warning", "near-duplicate", str(copy)) for copy in copies
    ]
    assert "and 1 more" in report.findings[1].detail


@pytest.fixture
def suspicious(motion, tmp_path, write, write_manifest):
    """Two pairs of near copies, one with another label, whose names are not harmless."""
    rows = [
        {"path": write(tmp_path / "near\x1b[31m copy.mp4", motion("left", seed=0), crf=30), "label": "up"},
        {
            "path": write(tmp_path / "once more.avi", scaled(motion("up", seed=1), 64, 80), codec="mpeg4"),
            "label": "up",
        },
    ]
    return write_manifest(*(row | {"split": "train"} for row in rows))


def run(*args):
    quick = ("--set", "clip.length=8", "--set", "clip.size=32", "--set", "data.workers=2")
    return CliRunner().invoke(app, ["check", *(str(arg) for arg in args), *quick], env={"COLUMNS": "150"})


def test_pictures_show_each_pair_and_the_finding_names_its_own(suspicious, tmp_path):
    folder = tmp_path / "pictures"
    result = run(suspicious, "--pictures", folder, "--format", "json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()][:-1]
    assert {row["kind"]: row["severity"] for row in rows} == {
        "label-conflict": "warning", "near-duplicate": "warning"
    }  # fmt: skip
    assert {row["picture"] for row in rows} == {str(folder / "pair-01.png"), str(folder / "pair-02.png")}
    for row in rows:
        with Image.open(row["picture"]) as picture:
            assert picture.width > picture.height > 200
            assert np.ptp(np.asarray(picture.convert("L"))) > 100
    assert "wrote 2 pictures" in result.stderr
    shown = run(suspicious, "--pictures", folder).stdout
    assert "pair-01.png" in shown.replace("\n", "")


def test_both_rows_of_a_picture_show_the_same(suspicious, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "draw_pair", lambda strips, title, path: drawn.append((strips, title)))
    run(suspicious, "--pictures", tmp_path / "pictures")
    assert len(drawn) == 2
    for strips, title in drawn:
        first, second = (np.stack([scaled(f[None], 32, 32)[0] for f in strip.frames]) for strip in strips)
        assert np.abs(first.astype(int) - second).mean() < 12
        assert strips[0].seconds == pytest.approx(strips[1].seconds, abs=0.13)
        assert "may show the same as" in title


def test_pictures_of_an_earlier_check_go_and_foreign_files_stay(suspicious, tmp_path, clean_videos):
    folder = tmp_path / "pictures"
    assert run(suspicious, "--pictures", folder).exit_code == 0
    lines = suspicious.read_text().splitlines()
    suspicious.write_text("\n".join(lines[:-1]) + "\n")
    assert run(suspicious, "--pictures", folder).exit_code == 0
    assert [path.name for path in folder.glob("*.png")] == ["pair-01.png"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pair-01.png").write_text("mine")
    refused = run(suspicious, "--pictures", tmp_path / "mine")
    assert refused.exit_code in (1, 2)
    assert (tmp_path / "mine" / "pair-01.png").read_text() == "mine"
    assert run(suspicious, "--pictures", tmp_path / "mine", "--overwrite").exit_code == 0


def test_only_the_surest_are_drawn_and_the_rest_is_counted(suspicious, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PICTURES", 1)
    monkeypatch.setattr(pictures, "PICTURE_NAMES", ("pair-01.png",))
    result = run(suspicious, "--pictures", tmp_path / "pictures")
    assert "wrote 1 picture" in result.stderr
    assert "1 less sure" in result.stderr
    assert [path.name for path in (tmp_path / "pictures").glob("*.png")] == ["pair-01.png"]


def test_without_pairs_no_picture_is_drawn(write_manifest, tmp_path):
    result = run(write_manifest(), "--pictures", tmp_path / "pictures")
    assert result.exit_code == 0
    assert "no picture drawn" in result.stderr
    assert not list((tmp_path / "pictures").glob("*.png"))
