"""Copies are found however they were made; other videos of one scene are left alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from vidcli.data.manifest import VideoItem
from vidcli.doctor.duplicates import _count_ones, _unequal_bits, cluster_alike
from vidcli.doctor.inspect import Fingerprint, inspect_file
from vidcli.sampling import ClipSampler
from vidcli.synthetic import MOTION_CLASSES


def scaled(frames, height, width):
    clip_TCHW = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(clip_TCHW, (height, width), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def look(path):
    return inspect_file(path, [VideoItem(path, "a")], ClipSampler(8), digest=False).spans[0]


def cluster(paths):
    spans = [look(path) for path in paths]
    return cluster_alike([s.fingerprint for s in spans], [s.is_still for s in spans], list(paths))


COPIES = {
    "half.mp4": lambda frames: {"frames": scaled(frames, 32, 32)},
    "stretched.mp4": lambda frames: {"frames": scaled(frames, 48, 80)},
    "poor.mp4": lambda frames: {"frames": frames, "crf": 38},
    "other.avi": lambda frames: {"frames": frames, "codec": "mpeg4"},
    "faster.mp4": lambda frames: {"frames": frames, "fps": 30},
    "doubled.mkv": lambda frames: {"frames": frames.repeat(2, axis=0), "fps": 24},
    "halved.mp4": lambda frames: {"frames": frames[::2], "fps": 6},
    "darker.mp4": lambda frames: {"frames": (frames * 0.9).astype(np.uint8)},
}


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_found(seed, tmp_path, motion, write):
    frames = motion(MOTION_CLASSES[seed], seed=seed, num_frames=24)
    paths = [write(tmp_path / "original.mp4", frames)]
    paths += [write(tmp_path / name, **change(frames)) for name, change in COPIES.items()]
    paths.append(write(tmp_path / "stranger.mp4", motion("left", seed=99, num_frames=24)))
    assert cluster(paths) == [list(range(len(COPIES) + 1))]


@pytest.mark.parametrize("side", [32, 64])
def test_motions_of_one_scene_are_no_copies(side, tmp_path, motion, write):
    """All eight classes of one seed show one scene, and those of a pair are each other's reversal."""
    paths = [
        write(tmp_path / f"{name}_{seed}.mp4", motion(name, seed=seed, num_frames=8, side=side))
        for seed in range(6)
        for name in MOTION_CLASSES
    ]
    assert cluster(paths) == []


def test_stills_are_compared_as_pictures(tmp_path, motion, write):
    def freeze(name, seed, **options):
        return write(tmp_path / name, np.repeat(motion(seed=seed)[:1], 12, axis=0), **options)

    paths = [freeze("a.mp4", 1), freeze("b.mp4", 2), freeze("c.mp4", 1, crf=30)]
    # The same scene with its shape elsewhere is another picture.
    paths.append(write(tmp_path / "d.mp4", np.repeat(motion(seed=1)[5:6], 12, axis=0)))
    assert all(look(path).is_still for path in paths)
    assert cluster(paths) == [[0, 2]]


def fake(rng):
    return Fingerprint(
        rng.uniform(0, 255, (8, 16, 16)).astype(np.float32), rng.uniform(0, 255, (4, 4, 3)).astype(np.float32)
    )


@pytest.mark.parametrize(("offset", "alike"), [(2, True), (10, False)])
def test_stills_must_be_equally_bright(offset, alike):
    picture = fake(np.random.default_rng(0))
    other = Fingerprint(picture.grey_KHW + offset, picture.colour_HWC + offset)
    assert bool(cluster_alike([picture, other], [True, True], "ab")) == alike
    assert cluster_alike([picture, other], [True, False], "ab") == []


def test_clusters_reach_across_blocks_and_through_a_chain():
    rng = np.random.default_rng(0)
    fingerprints = [fake(rng) for _ in range(1300)]
    for copy, source in ((5, 1299), (700, 5), (600, 20)):
        noise = rng.normal(0, 1, (8, 16, 16)).astype(np.float32)
        fingerprints[copy] = Fingerprint(
            fingerprints[source].grey_KHW + noise, fingerprints[source].colour_HWC
        )
    still = [False] * len(fingerprints)
    assert cluster_alike(fingerprints, still, range(1300)) == [[5, 700, 1299], [20, 600]]
    # Spans of one file are not compared with each other.
    contents = [0 if index in (20, 600) else index for index in range(1300)]
    assert cluster_alike(fingerprints, still, contents) == [[5, 700, 1299]]


@pytest.mark.parametrize("modern", [True, False], ids=["NumPy 2", "NumPy 1"])
def test_bits_are_counted(modern, monkeypatch):
    if not modern:
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    words = np.random.default_rng(0).integers(0, 2**64, (5, 7), dtype=np.uint64)
    expected = [[bin(int(word)).count("1") for word in row] for row in words]
    np.testing.assert_array_equal(_count_ones(words), expected)
    distances = _unequal_bits(words, words)
    assert distances[1, 3] == sum(
        bin(int(a) ^ int(b)).count("1") for a, b in zip(words[1], words[3], strict=True)
    )
    assert (np.diag(distances) == 0).all()


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


def test_near_copy_across_splits_is_an_error_and_test_stays(
    motion, clean_videos, tmp_path, write, write_manifest, check
):
    # Seed 0 is train/left, as the fixture makes it.
    copy = write(tmp_path / "again.avi", scaled(motion("left", seed=0), 48, 48), codec="mpeg4")
    report = check(write_manifest({"path": copy, "label": "left", "split": "test"}))
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("error", "leak")
    assert finding.video == str(clean_videos[0])
    assert finding.detail.startswith("shows the same as again.avi (test); is in train")


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
    assert (finding.severity, finding.kind) == ("error", "leak")
    assert "drawn splits may part them" in finding.detail
    assert len(report.usable) == 6
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
