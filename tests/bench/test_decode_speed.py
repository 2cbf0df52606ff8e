"""The decoding benchmark: what it reports, and that its numbers mean what they say."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcli.bench import decode_speed as bench
from vidcli.bench import sample_videos as bench_videos
from vidcli.video import decode_frames, encode_video, probe, repeat_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "clip.mp4"
    pictures = (np.full((48, 64, 3), 4 * number, np.uint8) for number in range(50))
    encode_video(path, pictures, 25, options={"g": "10", "bf": "2", "preset": "veryfast"})
    return path


def peer(name: str, decode: Callable[..., object]) -> bench.Contender:
    return bench.Contender(name, "", decode)  # type: ignore[arg-type]


@pytest.fixture
def with_peers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_peers(*peers: bench.Contender) -> None:
        monkeypatch.setattr(bench, "find_contenders", lambda: (list(peers), {"decord": "not installed"}))
        monkeypatch.setattr(bench, "_TURN_SECONDS", 0.1)

    return set_peers


def test_rows_and_summary(clip: Path, with_peers: Callable[..., None]) -> None:
    def slow(*args: object) -> None:
        time.sleep(0.3)

    def broken(*args: object) -> None:
        raise RuntimeError("no such codec\nmore lines")

    with_peers(peer("slow", slow), peer("broken", broken))
    *rows, summary = bench.bench_decode([clip], rounds=2)
    assert [(row["size"], row["threads"]) for row in rows] == [("128", 1), ("full", 1)]
    for row in rows:
        assert row["fastest_peer"] == "slow"
        assert row["milliseconds"]["slow"] >= 250
        assert row["ratio"] == pytest.approx(
            row["milliseconds"]["slow"] / row["milliseconds"]["vidcli"], rel=0.02
        )
        assert row["ratio"] > 3
        assert row["exact"] is True
        assert row["failed"] == {"broken": "RuntimeError: no such codec"}
    assert summary["geomean_ratio"] == summary["geomean_h264_b"] == rows[0]["ratio"]
    assert [(row["codec"], row["has_b_frames"]) for row in rows] == [("h264", True)] * 2
    assert summary["length"] is None
    assert summary["geomean_full"] == rows[1]["ratio"]
    assert summary["geomean_parallel"] is None
    assert summary["worst_ratio"] == min(row["ratio"] for row in rows)
    assert summary["exact"] is True
    assert summary["absent"] == {"decord": "not installed"}


def test_a_peer_with_other_frames_is_told_and_left_out_of_the_second_ratio(
    clip: Path, with_peers: Callable[..., None]
) -> None:
    def right(
        path: Path, moments: np.ndarray, numbers: object, size: bench.Size | None, threads: int
    ) -> object:
        time.sleep(0.1)
        return bench._ours(path, moments, [], size, threads)

    def early(
        path: Path, moments: np.ndarray, numbers: object, size: bench.Size | None, threads: int
    ) -> object:
        time.sleep(0.03)
        return bench._ours(path, moments - 0.2, [], size, threads)

    with_peers(peer("right", right), peer("early", early))
    *rows, summary = bench.bench_decode([clip], rounds=1)
    for row in rows:
        assert row["wrong"].keys() == {"early"}
        assert row["wrong"]["early"].endswith("of 16 frames are others")
        assert (row["fastest_peer"], row["fastest_right_peer"]) == ("early", "right")
        assert row["ratio_right"] == pytest.approx(
            row["milliseconds"]["right"] / row["milliseconds"]["vidcli"], rel=0.02
        )
        assert row["ratio_right"] > 1.5 * row["ratio"]
    assert summary["geomean_ratio"] == rows[0]["ratio"]
    assert summary["right"]["geomean_ratio"] == rows[0]["ratio_right"]
    assert summary["right"]["geomean_full"] == rows[1]["ratio_right"]
    assert summary["right"]["worst_ratio"] == min(row["ratio_right"] for row in rows)


def test_torch_keeps_to_the_threads_of_the_row(clip: Path, with_peers: Callable[..., None]) -> None:
    seen: set[tuple[int, int]] = set()

    def note(path: Path, moments: object, numbers: object, size: object, threads: int) -> None:
        seen.add((threads, torch.get_num_threads()))
        time.sleep(0.05)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with_peers(peer("noting", note))
        list(bench.bench_decode([clip], rounds=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {(1, 1)}


def test_frames_that_differ_are_told(
    clip: Path, with_peers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def off_by_one(path: Path, plan: object, *args: object, **kwargs: object) -> object:
        decoded = decode_frames(path, plan, *args, **kwargs)  # type: ignore[arg-type]
        if kwargs.get("mode") != "sequential":
            decoded.frames[0, 0, 0, 0] ^= 1
        return decoded

    with_peers()
    monkeypatch.setattr(bench, "decode_frames", off_by_one)
    *_, summary = bench.bench_decode([clip], rounds=1)
    assert summary["exact"] is False
    assert summary["geomean_ratio"] is None


def test_a_bad_file_is_named_and_the_rest_goes_on(
    clip: Path, tmp_path: Path, with_peers: Callable[..., None]
) -> None:
    with_peers()
    rows = list(bench.bench_decode([tmp_path / "missing.mp4", clip], rounds=1))
    assert rows[0] == {"video": str(tmp_path / "missing.mp4"), "error": "no such file"}
    assert len(rows) == 4


def test_long_videos_are_measured_with_all_cores(
    clip: Path, tmp_path: Path, with_peers: Callable[..., None]
) -> None:
    with_peers(peer("slow", lambda *args: time.sleep(0.1)))
    repeat_video(clip, tmp_path / "long.mp4", 31)
    *rows, summary = bench.bench_decode([tmp_path / "long.mp4"], rounds=1, num_threads=2)
    assert [(row["size"], row["threads"]) for row in rows] == [("128", 1), ("full", 1), ("128", 2)]
    assert summary["geomean_parallel"] == rows[-1]["ratio"]


def test_absent_peers_are_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"No module named {name!r}\nsecond line")

    monkeypatch.setattr(bench.importlib, "import_module", refuse)
    contenders, absent = bench.find_contenders()
    assert contenders == []
    assert absent["decord"] == "No module named 'decord'"
    assert absent.keys() == {"torchcodec", "decord", "cv2"}


def test_torchcodec_without_its_libraries_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unloadable:
        @staticmethod
        def VideoDecoder(source: bytes) -> None:
            raise RuntimeError("Could not load libtorchcodec. Likely causes:")

    real = bench.importlib.import_module
    monkeypatch.setattr(
        bench.importlib,
        "import_module",
        lambda name: Unloadable if name == "torchcodec.decoders" else real("no_such_module"),
    )
    contenders, absent = bench.find_contenders()
    assert contenders == []
    assert absent["torchcodec"] == "it finds no shared libraries of FFmpeg"


def test_b_frames_are_told_apart(clip: Path, tmp_path: Path, with_peers: Callable[..., None]) -> None:
    plain = tmp_path / "plain.mp4"
    pictures = (np.full((48, 64, 3), 4 * number, np.uint8) for number in range(50))
    encode_video(plain, pictures, 25, options={"g": "10", "bf": "0", "preset": "ultrafast"})
    with_peers(peer("slow", lambda *args: time.sleep(0.1)))
    *rows, summary = bench.bench_decode([clip, plain], rounds=1)
    assert summary["geomean_h264_b"] == rows[0]["ratio"]
    assert [row["has_b_frames"] for row in rows] == [True, True, False, False]


def test_lengths_are_compared_on_request(clip: Path, tmp_path: Path, with_peers: Callable[..., None]) -> None:
    with_peers()
    repeat_video(clip, tmp_path / "long.mp4", 10)
    *_, summary = bench.bench_decode([clip], rounds=1, short_and_long=(clip, tmp_path / "long.mp4"))
    assert set(summary["length"]) == {"short_ms", "long_ms", "ratio"}


def test_cost_of_length(clip: Path, tmp_path: Path) -> None:
    repeat_video(clip, tmp_path / "long.mp4", 10)
    row = bench.measure_cost_of_length(clip, tmp_path / "long.mp4", rounds=1)
    assert row["ratio"] == pytest.approx(row["long_ms"] / row["short_ms"], rel=0.02)


def test_repeated_videos_are_longer_and_the_same(clip: Path, tmp_path: Path) -> None:
    repeat_video(clip, tmp_path / "long.mp4", 3)
    assert probe(tmp_path / "long.mp4").duration_seconds == pytest.approx(6, abs=0.1)
    once, thrice = decode_frames(clip).frames, decode_frames(tmp_path / "long.mp4").frames
    np.testing.assert_array_equal(thrice, np.concatenate([once] * 3))


def test_videos_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [
        bench_videos._h264(32, 48, 12, 3, 6),
        bench_videos._Kind("small", ".avi", "mpeg4", 32, 48),
    ]
    monkeypatch.setattr(bench_videos, "_KINDS", kinds)
    monkeypatch.setattr(bench_videos, "_CLIP_SECONDS", 2)
    paths = bench_videos.make_bench_videos(tmp_path / "cache")
    assert [path.name for path in paths] == ["h264_48x32_gop12_b3_1min.mp4", "small.avi"]
    assert probe(paths[0]).duration_seconds == pytest.approx(12, abs=0.2)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert bench_videos.make_bench_videos(tmp_path / "cache") == paths
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written
