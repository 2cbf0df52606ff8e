from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from vidcli.errors import DataError
from vidcli.synthetic import (
    MOTION_CLASSES,
    MOTION_PAIRS,
    MotionClip,
    MotionVideoOptions,
    render_motion,
    write_motion_videos,
)
from vidcli.video import decode_frames, probe

SMALL = MotionVideoOptions(size=(32, 40), num_frames=6)
STEADY = MotionVideoOptions(jitter=0.0)


def render(class_name: str, seed: int, options: MotionVideoOptions | None = None) -> MotionClip:
    return render_motion(class_name, np.random.default_rng(seed), options)


def centroids(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return y and x of the centre of each mask, (T, 2)."""
    return np.array([np.argwhere(mask).mean(axis=0) for mask in masks])


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- rendering ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [None, SMALL])
@pytest.mark.parametrize("class_name", MOTION_CLASSES)
def test_clip_has_the_size_that_was_asked_for(class_name: str, options: MotionVideoOptions | None) -> None:
    clip = render(class_name, 3, options)
    expected = options or MotionVideoOptions()
    assert clip.frames.shape == (expected.num_frames, *expected.size, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.masks.shape == clip.frames.shape[:3]
    assert clip.masks.dtype == np.bool_
    assert clip.frames.flags.c_contiguous
    assert clip.masks.flags.c_contiguous


def test_equal_seeds_give_equal_clips_and_others_do_not() -> None:
    clip, again, other = render("grow", 5), render("grow", 5), render("grow", 6)
    np.testing.assert_array_equal(clip.frames, again.frames)
    np.testing.assert_array_equal(clip.masks, again.masks)
    assert np.mean(clip.frames != other.frames) > 0.9


@pytest.mark.parametrize("pair", MOTION_PAIRS)
@pytest.mark.parametrize("seed", [0, 7])
def test_a_clip_played_backwards_is_a_clip_of_the_partner(pair: tuple[str, str], seed: int) -> None:
    first, second = render(pair[0], seed), render(pair[1], seed)
    np.testing.assert_array_equal(first.frames[::-1], second.frames)
    np.testing.assert_array_equal(first.masks[::-1], second.masks)
    assert np.any(first.frames != second.frames)


def test_a_random_frame_shows_the_shape_alike_in_every_class() -> None:
    """Compare the classes' distributions of the shape's place and size by their quantiles."""
    num_clips = 80
    rng = np.random.default_rng(0)
    measured: dict[str, list[list[float]]] = {}
    for name in ("right", "down", "grow", "clockwise"):  # their partners have the same frames
        for seed in range(num_clips):
            mask = render(name, seed, MotionVideoOptions(size=(32, 32), num_frames=8)).masks[rng.integers(8)]
            y, x = np.argwhere(mask).mean(axis=0) / 32
            measured.setdefault(name, []).append([y, x, float(np.sqrt(mask.mean()))])
    samples = {name: np.sort(np.array(values), axis=0) for name, values in measured.items()}
    for name, values in samples.items():
        for quantity, tolerance in ((0, 0.08), (1, 0.08), (2, 0.06)):
            gap = np.abs(values[:, quantity] - samples["right"][:, quantity])
            assert gap[8:-8].mean() < tolerance, (name, quantity)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("class_name", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)]
)
def test_a_translation_goes_the_way_its_name_says(class_name: str, axis: int, sign: int, seed: int) -> None:
    clip = render(class_name, seed, STEADY)
    moved = np.diff(centroids(clip.masks), axis=0) * sign
    assert np.all(moved[:, axis] > 0)
    assert 0.25 * 64 < moved[:, axis].sum() <= 0.5 * 64 + 1
    assert abs(moved[:, 1 - axis].sum()) < 0.2 * moved[:, axis].sum()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("class_name", "sign"), [("grow", 1), ("shrink", -1)])
def test_a_growth_goes_the_way_its_name_says(class_name: str, sign: int, seed: int) -> None:
    area_T = render(class_name, seed, STEADY).masks.sum(axis=(1, 2))[::sign]
    assert np.all(np.diff(area_T) >= 0)
    assert 1.7 < np.sqrt(area_T[-1] / area_T[0]) < 3.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("class_name", "sign"), [("clockwise", 1), ("counter-clockwise", -1)])
def test_a_rotation_goes_the_way_its_name_says(class_name: str, sign: int, seed: int) -> None:
    """Find the turn between frames by matching the picture in polar coordinates around the shape."""
    clip = render(class_name, seed, STEADY)
    # The bounding circle of all masks together turns onto itself.
    y, x = np.argwhere(clip.masks.mean(axis=0) > 0.5).mean(axis=0)
    angle_A, radius_R = np.deg2rad(np.arange(360)), np.linspace(2, np.sqrt(clip.masks[0].sum() / np.pi), 12)
    rows = np.clip(np.rint(y + radius_R[:, None] * np.sin(angle_A)), 0, 63).astype(int)
    columns = np.clip(np.rint(x + radius_R[:, None] * np.cos(angle_A)), 0, 63).astype(int)
    polar_TRA = clip.frames.mean(axis=-1)[:, rows, columns]
    polar_TRA -= polar_TRA.mean(axis=(1, 2), keepdims=True)
    candidates = np.arange(-40, 41)
    turned = 0
    for before, after in zip(polar_TRA[:-3:3], polar_TRA[3::3], strict=True):
        scores = [np.sum(np.roll(before, turn, axis=1) * after) for turn in candidates]
        turned += int(candidates[np.argmax(scores)])
    assert 95 < sign * turned < 190  # rows count downwards: growing angles are clockwise


def test_the_shape_stands_out_from_its_background() -> None:
    contrasts = []
    for seed in range(20):
        clip = render("right", seed, MotionVideoOptions(num_distractors=0))
        grey = clip.frames.mean(axis=-1)
        contrasts.append(np.abs(grey[clip.masks] - grey[~clip.masks].mean()).mean())
    assert min(contrasts) > 25


def test_the_background_shakes_and_flickers_without_direction() -> None:
    clip = render("clockwise", 1)
    border = clip.frames[:, :4].astype(float).mean(axis=-1)
    assert np.all(np.abs(np.diff(border, axis=0)).mean(axis=(1, 2)) > 0)
    steady = render("clockwise", 1, STEADY).frames
    assert len({frame.tobytes() for frame in steady}) == len(steady)


def test_an_unknown_class_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'clockwise'"):
        render("clokwise", 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (63, 64)},
        {"size": (64, 65)},
        {"size": (16, 64)},
        {"num_frames": 1},
        {"fps": 0.0},
        {"jitter": -0.1},
        {"jitter": 0.5},
        {"num_distractors": -1},
        {"crf": 52},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MotionVideoOptions(**wrong)  # type: ignore[arg-type]


# --- the folder -----------------------------------------------------------------------------------


def test_written_videos_decode_to_what_was_rendered(tmp_path: Path) -> None:
    options = MotionVideoOptions(size=(48, 64), num_frames=10, fps=12.5)
    paths = write_motion_videos(tmp_path / "motion", 1, 0, 0, seed=4, options=options)
    assert [path.parent.name for path in paths] == list(MOTION_CLASSES)
    assert paths[0] == tmp_path / "motion" / "train" / "left" / "left_0001.mp4"
    for path in paths:
        info = probe(path)
        assert (info.height, info.width) == (48, 64)
        assert info.codec == "h264"
        assert info.num_frames == 10
        assert info.fps == 12.5
        assert info.duration_seconds == pytest.approx(0.8)
        frames = decode_frames(path).frames
        assert frames.shape == (10, 48, 64, 3)
    # The lossy file shows the clip of its own seed: split 0, class 0, number 1.
    rng = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(0, 0, 1)))
    expected = render_motion("left", rng, options).frames.astype(float)
    error = np.abs(decode_frames(paths[0]).frames - expected).mean()
    assert error < 8


def test_no_two_videos_of_a_set_are_alike(tmp_path: Path) -> None:
    paths = write_motion_videos(tmp_path, 3, 2, 2, options=SMALL)
    assert len(paths) == len(set(paths)) == 8 * 7
    assert len({path.read_bytes() for path in paths}) == len(paths)
    assert {path.relative_to(tmp_path).parts[0] for path in paths} == {"train", "val", "test"}


def test_each_video_depends_on_its_own_seed_alone(tmp_path: Path) -> None:
    write_motion_videos(tmp_path / "few", 1, 1, 0, seed=2, options=SMALL)
    write_motion_videos(tmp_path / "many", 2, 2, 1, seed=2, options=SMALL)
    write_motion_videos(tmp_path / "other", 1, 1, 0, seed=3, options=SMALL)
    few, many, other = (files_below(tmp_path / name) for name in ("few", "many", "other"))
    videos = [name for name in few if name.endswith(".mp4")]
    assert len(videos) == 16
    assert all(few[name] == many[name] for name in videos)
    assert all(few[name] != other[name] for name in videos)


def test_progress_counts_every_video(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_motion_videos(tmp_path, 1, 1, 0, options=SMALL, progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 16) for done in range(17)]


def test_a_finished_folder_is_reused(tmp_path: Path) -> None:
    paths = write_motion_videos(tmp_path, 1, 0, 0, options=SMALL)
    written = {path: path.stat().st_mtime_ns for path in paths}
    seen: list[tuple[int, int]] = []
    again = write_motion_videos(tmp_path, 1, 0, 0, options=SMALL, progress=lambda *n: seen.append(n))
    assert again == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == written
    assert seen == [(8, 8)]
    marker = json.loads((tmp_path / "motion.json").read_text())
    assert marker["seed"] == 0
    assert marker["num_per_class"] == {"train": 1, "val": 0, "test": 0}
    assert marker["options"]["size"] == [32, 40]


def test_a_video_missing_from_a_finished_folder_is_written_again(tmp_path: Path) -> None:
    paths = write_motion_videos(tmp_path, 1, 0, 0, options=SMALL)
    before = files_below(tmp_path)
    paths[3].unlink()
    write_motion_videos(tmp_path, 1, 0, 0, options=SMALL)
    assert files_below(tmp_path) == before


class Interrupted(Exception):
    pass


def write_half(folder: Path, seed: int = 0) -> None:
    """Stop in the middle, and leave a partial file as a killed run does."""

    def interrupt(num_done: int, num_videos: int) -> None:
        if num_done == num_videos // 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        write_motion_videos(folder, 2, 1, 0, seed=seed, options=SMALL, progress=interrupt)
    (folder / "train" / "up" / ".partial-up_0002.mp4").write_bytes(b"half a video")
    assert not (folder / "motion.json").exists()


def test_a_half_written_folder_is_completed(tmp_path: Path) -> None:
    write_half(tmp_path / "half")
    kept = tmp_path / "half" / "train" / "left" / "left_0001.mp4"
    written = kept.stat().st_mtime_ns
    write_motion_videos(tmp_path / "half", 2, 1, 0, options=SMALL)
    write_motion_videos(tmp_path / "whole", 2, 1, 0, options=SMALL)
    assert files_below(tmp_path / "half") == files_below(tmp_path / "whole")
    assert kept.stat().st_mtime_ns == written


def test_a_half_written_folder_of_other_settings_is_rewritten(tmp_path: Path) -> None:
    write_half(tmp_path / "half", seed=1)
    write_motion_videos(tmp_path / "half", 1, 0, 0, seed=2, options=SMALL)
    write_motion_videos(tmp_path / "whole", 1, 0, 0, seed=2, options=SMALL)
    assert files_below(tmp_path / "half") == files_below(tmp_path / "whole")


def test_a_finished_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    write_motion_videos(tmp_path, 1, 0, 0, options=SMALL)
    before = files_below(tmp_path)
    with pytest.raises(DataError, match="other settings") as caught:
        write_motion_videos(tmp_path, 1, 0, 0, seed=1, options=SMALL)
    assert str(tmp_path) in str(caught.value)
    assert "Delete that folder, or name another" in str(caught.value)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "train/left/left_0001.mp4", "train/jump/jump_0001.mp4"])
def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(DataError, match="holds other things") as caught:
        write_motion_videos(tmp_path, 1, 0, 0, options=SMALL)
    assert name in str(caught.value)
    assert files_below(tmp_path) == {name: b"mine"}


def test_a_foreign_file_in_a_half_written_folder_is_refused(tmp_path: Path) -> None:
    write_half(tmp_path)
    (tmp_path / "train" / "mine.mp4").write_bytes(b"mine")
    before = files_below(tmp_path)
    with pytest.raises(DataError, match=r"mine\.mp4"):
        write_motion_videos(tmp_path, 2, 1, 0, options=SMALL)
    assert files_below(tmp_path) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "motion").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        write_motion_videos(tmp_path / "motion", 1, 0, 0, options=SMALL)
    with pytest.raises(DataError, match="cannot be written"):
        write_motion_videos(tmp_path / "motion" / "below", 1, 0, 0, options=SMALL)


def test_misuse_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all zero"):
        write_motion_videos(tmp_path, 0, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        write_motion_videos(tmp_path, 1, -1, 0)
    with pytest.raises(ValueError, match="seed"):
        write_motion_videos(tmp_path, 1, 0, 0, seed=-1)
    assert list(tmp_path.iterdir()) == []
