"""Measure how fast frames are decoded, beside every other decoder that is installed.

All contenders run in one process and take turns, so that a busy machine slows all of them alike.
A measurement is repeated until it lasts long enough for coarse clocks, and medians of the rounds are
compared. Each peer runs in every setting that it has, and only the fastest on a file counts. Whether a peer
returns the right frames is checked once: `ratio` compares with the fastest peer, whatever it returns, and
`ratio_right` with the fastest peer whose frames are right.
"""

from __future__ import annotations

import importlib
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from vidcli.arrays import Float64, Frames
from vidcli.bench.frame_check import find_fault, find_references
from vidcli.bench.timing import Row, order_of_turn, seconds_a_call
from vidcli.errors import VideoError
from vidcli.sampling import Seconds
from vidcli.video import decode_frames, probe

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

NUM_FRAMES = 16
SHORT_SIDE = 128
_HOPELESS = 4  # times slower than the fastest
_MANY_FRAMES = 1500  # a minute of 25 frames a second
_TURN_SECONDS = 0.1  # some clocks tick only every few milliseconds


@dataclass(frozen=True)
class Contender:
    """One decoder in one setting.

    Attributes:
        peer: name of the decoder.
        setting: name of the setting; empty if the decoder has only one.
        decode: takes a path, moments in seconds, the frame numbers at these moments, the size (None is
            the coded one) and a number of threads; returns RGB frames (N, H, W, 3), one for each moment.
    """

    peer: str
    setting: str
    decode: Callable[[Path, Seconds, list[int], Size | None, int], Any]

    @property
    def name(self) -> str:
        """Peer and setting as one name."""
        return f"{self.peer} {self.setting}".strip()


def find_contenders() -> tuple[list[Contender], dict[str, str]]:
    """Return the peers that can be loaded here, and the reason for each peer that cannot."""
    contenders: list[Contender] = []
    absent: dict[str, str] = {}
    for name, build in (("torchcodec", _torchcodec), ("decord", _decord), ("cv2", _opencv)):
        try:
            module = importlib.import_module("torchcodec.decoders" if name == "torchcodec" else name)
            if name == "torchcodec":
                _check_torchcodec(module)
        except (ImportError, OSError, RuntimeError) as error:
            lines = str(error).strip().splitlines()
            absent[name] = lines[0] if lines else type(error).__name__
        else:
            contenders.extend(build(module))
    return contenders, absent


def _check_torchcodec(module: Any) -> None:
    """Raise RuntimeError if torchcodec finds no FFmpeg, which it otherwise does only at its first use."""
    try:
        module.VideoDecoder(b"no video")
    except RuntimeError as error:
        if "libtorchcodec" in str(error):
            raise RuntimeError("it finds no shared libraries of FFmpeg") from error
    except ValueError:
        pass  # the error for bytes that are no video


def _ours(path: Path, moments: Seconds, numbers: list[int], size: Size | None, threads: int) -> Frames:
    rule = None if size is None else lambda height, width: size
    return decode_frames(path, lambda duration: moments, rule, num_threads=threads).frames


def _torchcodec(module: Any) -> Iterator[Contender]:
    def with_mode(mode: str) -> Callable[[Path, Seconds, list[int], Size | None, int], Any]:
        def decode(path: Path, moments: Seconds, numbers: list[int], size: Size | None, threads: int) -> Any:
            transforms = None
            if size is not None:
                resize = importlib.import_module("torchcodec.transforms").Resize
                transforms = [resize(size)]
            decoder = module.VideoDecoder(
                str(path),
                dimension_order="NHWC",
                num_ffmpeg_threads=threads,
                seek_mode=mode,
                transforms=transforms,
            )
            return decoder.get_frames_played_at(moments.tolist()).data

        return decode

    for mode in ("exact", "approximate"):
        yield Contender("torchcodec", mode, with_mode(mode))


def _decord(module: Any) -> Iterator[Contender]:
    def decode(path: Path, moments: Seconds, numbers: list[int], size: Size | None, threads: int) -> Any:
        height, width = size or (-1, -1)
        reader = module.VideoReader(str(path), num_threads=threads, width=width, height=height)
        return reader.get_batch([min(number, len(reader) - 1) for number in numbers]).asnumpy()

    yield Contender("decord", "", decode)


def _opencv(module: Any) -> Iterator[Contender]:
    def with_seeks(seeks: bool) -> Callable[[Path, Seconds, list[int], Size | None, int], Any]:
        def decode(path: Path, moments: Seconds, numbers: list[int], size: Size | None, threads: int) -> Any:
            capture = module.VideoCapture(str(path), module.CAP_FFMPEG, [module.CAP_PROP_N_THREADS, threads])
            position, pictures = 0, []
            for number in numbers:
                if seeks:
                    capture.set(module.CAP_PROP_POS_FRAMES, number)
                    capture.grab()
                while not seeks and position <= number:
                    capture.grab()
                    position += 1
                found, picture = capture.retrieve()
                if not found:
                    raise ValueError(f"frame {number} did not come")
                if size is not None:
                    picture = module.resize(picture, size[::-1], interpolation=module.INTER_LINEAR)
                pictures.append(module.cvtColor(picture, module.COLOR_BGR2RGB))
            capture.release()
            return np.stack(pictures)

        return decode

    yield Contender("opencv", "reading on", with_seeks(False))
    yield Contender("opencv", "seeking", with_seeks(True))


def bench_decode(
    paths: Iterable[str | os.PathLike[str]],
    rounds: int = 5,
    num_threads: int | None = None,
    short_and_long: tuple[Path, Path] | None = None,
) -> Iterator[Row]:
    """Measure every video; yield a row for each video and size, and a summary last.

    Args:
        paths: the videos; one of 1500 frames or more is measured with several threads as well.
        rounds: number of turns of each contender, of which the median counts.
        num_threads: number of threads for long videos; None is one for each core of this machine.
        short_and_long: two videos of one kind, to measure how the time depends on the duration.

    Yields:
        Rows with `video`, `codec`, `has_b_frames`, `size` (`full` or the short side), `threads`,
        `milliseconds` by contender, `fastest_peer`, `ratio` (how many times faster than it vidcli is),
        `exact` (whether vidcli's frames equal those of a sequential decode), `wrong` (by peer, what is
        wrong with its frames), `failed` (by peer, its error), `fastest_right_peer` and `ratio_right`
        (the same without the wrong ones); or `video` and `error`.
        The summary holds `geomean_ratio` (short side, one thread), `geomean_h264_b` (of H.264 with
        B-frames alone), `geomean_full`, `geomean_parallel`, `worst_ratio` (of all with one thread), in
        `right` the same five for peers whose frames are right, `exact`, `length` (see
        `measure_cost_of_length`), `absent` (by peer, why it cannot be loaded); None if nothing was
        measured.
    """
    peers, absent = find_contenders()
    threads = num_threads or os.cpu_count() or 1
    rows: list[Row] = []
    for path in map(Path, paths):
        try:
            info = probe(path)
            height, width = info.upright_size
            scale = SHORT_SIDE / min(height, width)
            small = max(1, round(height * scale)), max(1, round(width * scale))
            cases: list[tuple[str, Size | None, int]] = [(str(SHORT_SIDE), small, 1), ("full", None, 1)]
            if info.duration_seconds * (info.fps or 25.0) >= _MANY_FRAMES and threads > 1:
                cases.append((str(SHORT_SIDE), small, threads))
            for label, size, count in cases:
                with _torch_threads(count):
                    row = _measure(path, info.duration_seconds, info.fps or 25.0, size, count, peers, rounds)
                about = {"video": str(path), "codec": info.codec, "has_b_frames": info.has_b_frames}
                rows.append({**about, "size": label, "threads": count, **row})
                yield rows[-1]
        except VideoError as error:
            yield {"video": str(path), "error": error.reason}
    length = measure_cost_of_length(*short_and_long, rounds) if short_and_long else None
    yield {**summarize(rows, absent), "length": length}


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads.

    torchcodec gathers frames with torch. On a busy machine more threads than a row has wait for each other
    many times longer than a small file takes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(
    path: Path,
    duration: float,
    fps: float,
    size: Size | None,
    threads: int,
    peers: list[Contender],
    rounds: int,
) -> Row:
    moments = (np.arange(NUM_FRAMES) + 0.5) * duration / NUM_FRAMES
    numbers = [int(moment * fps) for moment in moments]
    ours = Contender("vidcli", "", _ours)
    first: dict[str, float] = {}
    failed: dict[str, str] = {}
    wrong: dict[str, str] = {}
    shape = _ours(path, moments, numbers, size, threads).shape[1:3]
    references = find_references(path, moments, shape, fps)
    for contender in (ours, *peers):
        try:
            # The first call warms the file cache; the second shows which contenders are worth more turns.
            frames = contender.decode(path, moments, numbers, size, threads)
            first[contender.name] = seconds_a_call(
                _TURN_SECONDS, contender.decode, path, moments, numbers, size, threads
            )
        except VideoError:
            raise
        except Exception as error:  # each peer has errors of its own
            failed[contender.name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        fault = find_fault(frames, references, shape)
        if fault:
            wrong[contender.name] = fault
    # A contender that is several times slower than the fastest keeps the one time that it has.
    slowest = _HOPELESS * max(min(first.values()), _TURN_SECONDS)
    contenders = [contender for contender in (ours, *peers) if contender.name in first]
    running = [c for c in contenders if c is ours or first[c.name] <= slowest]
    times = {c.name: [] if c in running else [first[c.name]] for c in contenders}
    for turn in range(rounds):
        for contender in order_of_turn(running, turn):
            times[contender.name].append(
                seconds_a_call(_TURN_SECONDS, contender.decode, path, moments, numbers, size, threads)
            )
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    rivals = {name: value for name, value in medians.items() if name != ours.name}
    fastest, ratio = _compare(rivals, medians[ours.name])
    right = {name: value for name, value in rivals.items() if name not in wrong}
    fastest_right, ratio_right = _compare(right, medians[ours.name])
    return {
        "milliseconds": {name: round(value, 2) for name, value in medians.items()},
        "fastest_peer": fastest,
        "ratio": ratio,
        "fastest_right_peer": fastest_right,
        "ratio_right": ratio_right,
        "exact": is_exact(path, moments, size, threads),
        "wrong": wrong,
        "failed": failed,
    }


def _compare(rivals: dict[str, float], own: float) -> tuple[str | None, float | None]:
    """Return the fastest rival and how many times longer than `own` it took; None without rivals."""
    fastest = min(rivals, key=rivals.__getitem__, default=None)
    return (fastest, round(rivals[fastest] / own, 3)) if fastest else (None, None)


def is_exact(path: Path, moments: Seconds, size: Size | None, threads: int = 1) -> bool:
    """Tell whether the frames equal, bit for bit, those of decoding the file from end to end.

    Args:
        path: the video.
        moments: times of the wanted frames in seconds, ascending.
        size: height and width to decode to; None is the coded size.
        threads: number of threads of the fast decode.
    """
    rule = None if size is None else lambda height, width: size
    fast = decode_frames(path, lambda duration: moments, rule, num_threads=threads)
    plain = decode_frames(path, lambda duration: moments, rule, mode="sequential")
    return bool(
        np.array_equal(fast.frames, plain.frames) and np.array_equal(fast.pts_seconds, plain.pts_seconds)
    )


def summarize(rows: list[Row], absent: dict[str, str]) -> Row:
    """Return the summary of all rows."""
    return {
        **_summarize_ratios(rows, "ratio"),
        "right": _summarize_ratios(rows, "ratio_right"),
        "exact": all(row["exact"] for row in rows) if rows else None,
        "absent": absent,
    }


def _summarize_ratios(rows: list[Row], key: str) -> Row:
    small_rows = [row for row in rows if row["threads"] == 1 and row["size"] != "full"]
    small = [row[key] for row in small_rows]
    h264_b = [row[key] for row in small_rows if row["codec"] == "h264" and row["has_b_frames"]]
    full = [row[key] for row in rows if row["threads"] == 1 and row["size"] == "full"]
    parallel = [row[key] for row in rows if row["threads"] > 1]
    single = [ratio for ratio in (*small, *full) if ratio is not None]
    return {
        "geomean_ratio": _geomean(small),
        "geomean_h264_b": _geomean(h264_b),
        "geomean_full": _geomean(full),
        "geomean_parallel": _geomean(parallel),
        "worst_ratio": min(single, default=None),
    }


def _geomean(ratios: list[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return round(statistics.geometric_mean(known), 3) if known else None


def measure_cost_of_length(
    short: str | os.PathLike[str], long: str | os.PathLike[str], rounds: int = 5
) -> Row:
    """Compare the time of 16 frames of a short video with that of as many of a long one.

    Args:
        short: a short video.
        long: a long video of the same kind.
        rounds: number of turns of each, of which the median counts.

    Returns:
        `short_ms` and `long_ms` in milliseconds, and their `ratio`.
    """
    times: dict[str, list[float]] = {"short_ms": [], "long_ms": []}
    spread: Float64 = (np.arange(NUM_FRAMES) + 0.5) / NUM_FRAMES

    def plan(duration_seconds: float) -> Seconds:
        return spread * duration_seconds

    for _ in range(rounds):
        for key, path in (("short_ms", short), ("long_ms", long)):
            times[key].append(seconds_a_call(_TURN_SECONDS, decode_frames, path, plan) * 1000)
    result = {key: round(statistics.median(values), 2) for key, values in times.items()}
    return {**result, "ratio": round(result["long_ms"] / result["short_ms"], 3)}
