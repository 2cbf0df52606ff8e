"""Near copies are found however they were made; other videos of one scene are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.doctor.copies import COPIES, compare, cropped, scaled, write_copy
from vidcli.data.items import VideoItem
from vidcli.doctor import near_duplicates
from vidcli.doctor.file_report import inspect_file
from vidcli.doctor.fingerprint import MAX_SLOTS, SLOTS_PER_SECOND, Fingerprint, build_fingerprint
from vidcli.doctor.near_duplicates import find_alike
from vidcli.doctor.similarity import Similarity
from vidcli.sampling import ClipSampler
from vidcli.synthetic import MOTION_CLASSES

FPS = 24
SIDE = 96


def walk(seed: int, num_frames: int = 72, room: int = 0, side: int = SIDE, size: float = 0.12) -> np.ndarray:
    """Return frames of a ball on its own way through a room; equal rooms have one still background."""
    places = np.random.default_rng(1000 + room)
    scene = scaled(places.integers(0, 256, (1, 6, 6, 3), dtype=np.uint8), side, side)[0]
    steps = np.random.default_rng(seed).normal(0, 1, (num_frames // 6 + 2, 2)).cumsum(axis=0)
    knots = np.arange(len(steps)) * 6
    path = np.stack([np.interp(np.arange(num_frames), knots, steps[:, axis]) for axis in range(2)], axis=1)
    path = 0.5 + 0.35 * np.sin(path)
    rows, columns = np.mgrid[:side, :side] / side
    away = (rows - path[:, 0, None, None]) ** 2 + (columns - path[:, 1, None, None]) ** 2
    ball = np.clip((size**2 - away) / (0.2 * size**2), 0, 1)[..., None]
    return (scene * (1 - ball) + np.array([240, 220, 30]) * ball).round().astype(np.uint8)


def still(room: int = 0, num_frames: int = 48) -> np.ndarray:
    return np.repeat(walk(0, 1, room), num_frames, axis=0)


def look(path: Path, start: float = 0.0, end: float | None = None) -> Fingerprint:
    (span,) = inspect_file(
        path, [VideoItem(path, "a", start_seconds=start, end_seconds=end)], ClipSampler(8), False
    ).spans
    assert span is not None
    return span.fingerprint


def alike(*fingerprints: Fingerprint) -> list[tuple[int, int]]:
    return sorted((match.first, match.second) for match in find_alike(fingerprints, range(len(fingerprints))))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_copy(tmp_path_factory.mktemp("original") / "a.mp4", walk(1), FPS)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Fingerprint]:
    """Fingerprints of other ways through the same room."""
    folder = tmp_path_factory.mktemp("others")
    return [look(write_copy(folder / f"{seed}.mp4", walk(seed), FPS)) for seed in range(2, 8)]


MORE_COPIES = {
    "stretched": lambda frames: {"frames": scaled(frames, 64, 112)},
    "one side cropped": lambda frames: {"frames": frames[:, :, 6:]},
    "cropped by a tenth": lambda frames: {"frames": cropped(frames, 0.05)[:, 1:, :]},
    "less contrast": lambda frames: {"frames": (128 + 0.85 * (frames.astype(float) - 128)).astype(np.uint8)},
    "other gamma": lambda frames: {"frames": (255 * (frames / 255) ** 0.8).astype(np.uint8)},
    "doubled": lambda frames: {"frames": frames.repeat(2, axis=0), "fps": 2 * FPS},
    "shifted by an odd time": lambda frames: {"frames": frames[7:]},
    "mirrored, poor and small": lambda frames: {
        "frames": scaled(frames[:, :, ::-1], 48, 48), "options": {"crf": "32"}
    },
    "with a flash": lambda frames: {"frames": np.concatenate([frames[:1] * 0 + 255, frames[1:]])},
}  # fmt: skip


@pytest.mark.parametrize("name", [*COPIES, *MORE_COPIES])
def test_a_copy_is_found_among_others_of_the_room(name, original, others, tmp_path):
    frames = walk(1)
    made = COPIES[name](frames, FPS, "h264") if name in COPIES else MORE_COPIES[name](frames)
    copy = look(write_copy(tmp_path / "copy.mp4", **({"fps": FPS} | made)))
    assert alike(look(original), *others, copy) == [(0, len(others) + 1)]


def test_ways_through_one_room_are_no_copies(original, others):
    assert alike(look(original), *others) == []


def test_one_way_through_two_rooms_is_no_copy(original, tmp_path):
    assert alike(look(original), look(write_copy(tmp_path / "b.mp4", walk(1, room=1), FPS))) == []


def test_small_things_that_move_decide(tmp_path):
    """Nearly all of the picture is equal, and stands still."""
    one, copy, other = (
        look(write_copy(tmp_path / f"{number}.mp4", walk(seed, size=0.05), FPS, options={"crf": crf}))
        for number, (seed, crf) in enumerate(((1, "23"), (1, "30"), (2, "23")))
    )
    assert alike(one, copy, other) == [(0, 1)]


@pytest.mark.parametrize("side", [32, 64])
def test_motions_of_one_scene_are_no_copies(side, tmp_path, motion, write):
    """All eight classes of one seed show one scene, and those of a pair are each other's reversal."""
    paths = [
        write(tmp_path / f"{name}_{seed}.mp4", motion(name, seed=seed, num_frames=8, side=side))
        for seed in range(6)
        for name in MOTION_CLASSES
    ]
    assert alike(*map(look, paths)) == []


def test_a_lamp_that_blinks_at_one_place_is_no_evidence_of_another_day(tmp_path):
    def blink(seed: int, phase: int) -> np.ndarray:
        frames = walk(seed, 96)
        frames[(np.arange(96) + phase) % 24 < 12, :8, :8] = 255
        return frames

    paths = [write_copy(tmp_path / f"{n}.mp4", blink(n, 5 * n), FPS) for n in range(3)]
    assert alike(*map(look, paths)) == []


def quiet(seed: int, pulse: float = 0.0, num_frames: int = 96) -> np.ndarray:
    """Return frames of a room in which only light and leaves change, by a few grey levels.

    Args:
        seed: the changes; the room is always the same.
        pulse: grey levels by which a pattern, equal in all videos, jumps each second, as keyframes do.
        num_frames: number of frames.
    """
    random = np.random.default_rng(seed)
    changes = random.normal(0, 1.1, (num_frames // 6 + 1, 8, 8)).repeat(6, axis=0)[:num_frames]
    pattern = np.random.default_rng(99).choice([-pulse, pulse], (8, 8))
    changes[::FPS] += pattern
    large = changes.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)[..., None]
    return np.clip(still(num_frames=num_frames) + large, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def quiet_fingerprints(tmp_path_factory: pytest.TempPathFactory) -> list[Fingerprint]:
    folder = tmp_path_factory.mktemp("quiet")
    return [look(write_copy(folder / f"{seed}.mp4", quiet(seed), FPS)) for seed in range(4)]


@pytest.mark.parametrize("name", ["shifted", "mirrored"])
def test_a_copy_is_found_by_small_changes_where_nothing_moves(name, quiet_fingerprints, tmp_path):
    made = COPIES[name](quiet(0), FPS, "h264")
    copy = look(write_copy(tmp_path / "copy.mp4", **({"fps": FPS} | made)))
    similarity = compare(quiet_fingerprints[0], copy)
    assert similarity is not None
    assert not similarity.is_still
    assert similarity.peak > 5
    assert similarity.movement + similarity.changes < 1.4, "what moves would be enough evidence"
    assert alike(*quiet_fingerprints, copy) == [(0, 4)]


def test_pulses_that_all_videos_of_a_camera_share_are_no_peak(tmp_path):
    one, other = (look(write_copy(tmp_path / f"{n}.mp4", quiet(n, pulse=6.0), FPS)) for n in range(2))
    similarity = compare(one, other)
    assert similarity is not None
    assert similarity.peak < 3
    assert alike(one, other) == []


def test_a_crop_of_a_moment_needs_more_evidence_than_one_of_seconds():
    brief, long = (
        Similarity(0.83, 0.83, 0.06, 3.0, 5.0, 0.0, 0.0, False, True, num_slots) for num_slots in (5, 40)
    )
    assert not brief.is_copy
    assert long.is_copy


def test_stills_must_be_almost_equal(tmp_path):
    again = look(write_copy(tmp_path / "again.mp4", still(), FPS, options={"crf": "26"}))
    shade = still().copy()
    shade[:, 40:56, 40:56] = np.clip(
        shade[:, 40:56, 40:56].astype(int) + 12, 0, 255
    )  # something was put there
    a = look(write_copy(tmp_path / "a.mp4", still(), FPS))
    b = look(write_copy(tmp_path / "b.mp4", shade, FPS))
    c = look(write_copy(tmp_path / "c.mp4", still(room=1), FPS))
    assert alike(a, again, b, c) == [(0, 1)]
    assert find_alike([a, again], "ab")[0].similarity.is_still


def test_plain_stills_look_like_nothing_in_particular(tmp_path):
    sky = [np.full((24, SIDE, SIDE, 3), level, np.uint8) for level in (120, 122, 180)]
    sky[1][:, :4, :4] += 9
    paths = [write_copy(tmp_path / f"{n}.mp4", frames, FPS) for n, frames in enumerate(sky)]
    assert (0, 2) not in alike(*map(look, paths))


def test_a_still_is_no_copy_of_a_video_of_its_room(original, tmp_path):
    assert alike(look(original), look(write_copy(tmp_path / "still.mp4", still(), FPS))) == []


@pytest.mark.parametrize("start", [0.0, 1.3, 2.5])
def test_a_cut_is_found_in_the_whole_and_the_lag_is_told(start, tmp_path):
    frames = walk(3, 144)
    whole = look(write_copy(tmp_path / "whole.mp4", frames, FPS))
    cut = look(write_copy(tmp_path / "cut.mp4", frames[round(start * FPS) :][:72], FPS))
    (match,) = find_alike([whole, cut], "ab")
    assert match.similarity.lag_seconds == pytest.approx(start, abs=0.13)


def test_spans_are_compared_by_what_they_show(tmp_path):
    frames = walk(4, 144)
    path = write_copy(tmp_path / "long.mp4", frames, FPS)
    copy = look(write_copy(tmp_path / "copy.mp4", frames[72:], FPS))
    first, second = look(path, 0.0, 3.0), look(path, 3.0, 6.0)
    matches = find_alike([first, second, copy], ["long", "long", "copy"])
    assert [(match.first, match.second) for match in matches] == [(1, 2)]
    # Spans of one file are not compared with each other, however much they share.
    assert find_alike([second, look(path, 2.9, 6.0)], ["long", "long"]) == []


def test_videos_too_short_to_tell_are_left_alone(tmp_path):
    paths = [write_copy(tmp_path / f"{n}.mp4", walk(n, 5), FPS) for n in range(2)]
    assert alike(*map(look, paths)) == []
    (one,) = (write_copy(tmp_path / "one.mp4", walk(1, 1), FPS),)
    assert alike(look(one), look(one)) == []


def test_a_long_video_keeps_its_liveliest_half_minute():
    times = np.arange(0, 100, 0.125)
    rng = np.random.default_rng(0)
    grey = np.full((len(times), 16, 16), 9000, np.uint16)
    grey[400:720] += rng.integers(0, 3000, (320, 16, 16), dtype=np.uint16)
    kept = build_fingerprint(times, 100.0, grey)
    assert len(kept.slots_THW) == MAX_SLOTS
    assert 399 <= kept.start_seconds * SLOTS_PER_SECOND <= 720 - MAX_SLOTS
    shifted = build_fingerprint(times[:-40], 95.0, grey[40:])
    similarity = compare(kept, shifted)
    assert similarity is not None
    assert similarity.is_copy
    assert similarity.lag_seconds == 5.0


def test_likeness_is_the_same_from_both_sides(original, tmp_path):
    copy = look(write_copy(tmp_path / "copy.mp4", walk(1)[12:, :, ::-1], FPS))
    forth, back = compare(look(original), copy), compare(copy, look(original))
    assert isinstance(forth, Similarity)
    assert isinstance(back, Similarity)
    assert forth.is_mirrored
    assert back.is_mirrored
    assert forth.lag_seconds == 0.5 == -back.lag_seconds == -forth.reversed().lag_seconds
    assert forth.sureness == pytest.approx(back.sureness, abs=0.02)


def fake(rng: np.random.Generator, room: np.ndarray, num_slots: int = 40) -> Fingerprint:
    """Return a spot on a random way through a room, with the noise of a camera."""
    rows, columns = np.mgrid[:16, :16]
    way = 8 + 5 * rng.normal(0, 0.3, (num_slots, 2)).cumsum(axis=0)
    spot = 60 * np.exp(
        -((rows - way[:, 0, None, None] % 16) ** 2 + (columns - way[:, 1, None, None] % 16) ** 2) / 4
    )
    noise = rng.normal(0, 0.2, (num_slots, 16, 16))
    return Fingerprint(np.clip((room + spot + noise) * 128, 0, 32767).astype(np.uint16))


def test_copies_are_found_across_tiles(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_TILE", 64)
    rng = np.random.default_rng(0)
    videos = [fake(rng, rng.uniform(30, 160, (16, 16))) for _ in range(150)]
    for copy, source in ((5, 149), (70, 5), (130, 20)):
        noise = rng.integers(-30, 30, videos[source].slots_THW.shape)
        videos[copy] = Fingerprint((videos[source].slots_THW + noise).clip(0).astype(np.uint16))
    assert alike(*videos) == [(5, 70), (5, 149), (20, 130), (70, 149)]


def test_time_and_pairs_grow_with_the_number_of_videos_not_its_square():
    """One room for all is the hardest: every video looks like every other."""
    rng = np.random.default_rng(0)
    room = rng.uniform(30, 160, (16, 16))
    videos = [fake(rng, room) for _ in range(300)]
    mean_NHW = np.stack([np.median(video.pictures(), axis=0) for video in videos])
    content_N = np.arange(len(videos))
    pairs = {*near_duplicates._nearest_looks(mean_NHW, content_N)}
    pairs |= {*near_duplicates._shared_moments(videos, mean_NHW, content_N)}
    assert len(pairs) <= 16 * len(videos)
    assert find_alike(videos, range(len(videos))) == []
