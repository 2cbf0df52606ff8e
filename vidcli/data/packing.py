"""Pack labelled videos into shards: tar files of small copies that are quick to read here and there.

    OUT/000000.tar                an index, and for each video `000017.mp4` and `000017.json`
    OUT/.vidcli-pack.json         what was written, and of what
    OUT/.vidcli-pack/000017.mp4   copies of a shard that is not written yet, to go on with

The videos are dealt to the shards at random, by a fixed seed, so that each shard is a fair sample.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vidcli.config import Config
from vidcli.data.frames import FrameSource, decode_limits
from vidcli.data.items import VideoItem
from vidcli.data.shards import SHARD_SUFFIX, read_shards
from vidcli.errors import DataError, VideoError
from vidcli.runtime.files import remove_leftovers, write_whole
from vidcli.runtime.outputs import OutputFolder
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import Seconds
from vidcli.storage.sources import size_of
from vidcli.storage.tar_members import write_tar
from vidcli.video.write.compact import CompactCoding, compact_video

COPIES_FOLDER = ".vidcli-pack"
_NUM_TIMED = 16


@dataclass(frozen=True)
class Packed:
    """What packing did.

    Attributes:
        num_videos: packed files.
        num_shards: tar files, those of earlier calls included.
        source_bytes: bytes of the packed sources.
        packed_bytes: bytes of the tar files.
        failures: one error for each video that cannot be decoded, which is in no shard.
        speedup: how many times faster clips are read from the shards than from the sources; None where none
            could be timed.
    """

    num_videos: int
    num_shards: int
    source_bytes: int
    packed_bytes: int
    failures: list[VideoError]
    speedup: float | None


class Packer:
    """Packs the videos of a data set, all of which have a split."""

    def __init__(
        self, items: Sequence[VideoItem], config: Config, coding: CompactCoding, videos_per_shard: int
    ) -> None:
        """Deal the videos to shards.

        Args:
            items: labelled videos, or spans of them.
            config: limits of decoding, number of threads, and the clips that are timed.
            coding: size and coding of the copies.
            videos_per_shard: files of a shard; the last one may hold fewer.

        Raises:
            DataError: rows are about subjects or parts of pictures, which the smaller copies would lose.
        """
        if num_parts := sum(item.track is not None or item.box is not None for item in items):
            raise DataError(
                f"{num_parts} rows have a track or a box, in pixels of their videos, and shards hold smaller "
                "copies of whole pictures; pack a manifest without these columns, or train on the videos"
            )
        self._items, self._config, self._coding = items, config, coding
        rows: dict[Path, list[int]] = {}
        for place, item in enumerate(items):
            rows.setdefault(item.path, []).append(place)
        self._rows = rows
        paths = list(rows)
        order = np.random.default_rng(0).permutation(len(paths)).tolist()
        dealt = [paths[number] for number in order]
        self._shards = [
            dealt[start : start + videos_per_shard] for start in range(0, len(dealt), videos_per_shard)
        ]
        width = max(6, len(str(len(paths))))
        self._keys = {path: f"{number:0{width}}" for number, path in enumerate(dealt)}
        self.names = [f"{number:06}{SHARD_SUFFIX}" for number in range(len(self._shards))]

    @property
    def subject(self) -> str:
        """What the shards are about: other videos, labels, splits or codings make other shards."""
        rows = [
            (
                str(item.path.absolute()),
                item.label,
                item.split,
                item.group,
                item.start_seconds,
                item.end_seconds,
            )
            for item in self._items
        ]
        about = [rows, asdict(self._coding), list(map(len, self._shards))]
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
        return f"{len(self._rows)} videos ({digest})"

    def run(
        self, output: OutputFolder, progress: Callable[[int, int], None], fail: Callable[[VideoError], None]
    ) -> Packed:
        """Write the shards that are not there yet.

        Args:
            output: the folder, which may hold shards of an earlier call.
            progress: called with the number of videos done and of all.
            fail: called with the error of each video that cannot be decoded.

        Raises:
            WriteError: the folder cannot be written.
        """
        output.begin()
        copies = output.folder / COPIES_FOLDER
        copies.mkdir(exist_ok=True)
        remove_leftovers(copies)
        failures: list[VideoError] = []
        done = 0
        for name, paths in zip(self.names, self._shards, strict=True):
            if not output.is_there(name):
                workers = num_workers(self._config.data.workers)
                usable: list[Path] = []
                attempts = map_ahead(partial(self._copy, copies), paths, workers, ahead=2 * workers)
                for number, (path, error) in enumerate(zip(paths, attempts, strict=True), done + 1):
                    if error is None:
                        usable.append(path)
                    else:
                        failures.append(error)
                        fail(error)
                    progress(number, len(self._rows))
                output.write(name, partial(self._write_shard, copies, usable))
            for path in paths:
                (copies / f"{self._keys[path]}.mp4").unlink(missing_ok=True)
            done += len(paths)
            progress(done, len(self._rows))
        copies.rmdir()
        return self._report(output.folder, failures)

    def _copy(self, copies: Path, path: Path) -> VideoError | None:
        """Write the small copy of a video, unless it is there; return why that cannot be done."""
        copy = copies / f"{self._keys[path]}.mp4"
        if copy.exists():
            return None
        limits = decode_limits(self._config.data)
        try:
            write_whole(copy, lambda temporary: compact_video(path, temporary, self._coding, limits))
        except VideoError as error:
            return error
        return None

    def _write_shard(self, copies: Path, paths: Sequence[Path], target: Path) -> None:
        members: dict[str, Path | bytes] = {}
        rows = []
        for path in paths:
            key = self._keys[path]
            own = [(place, self._items[place]) for place in self._rows[path]]
            described = [
                {
                    "path": f"{key}.mp4",
                    "place": place,
                    "label": item.label,
                    "split": item.split,
                    "group": item.group,
                    "start": item.start_seconds,
                    "end": item.end_seconds,
                    "source": str(path),
                }
                for place, item in own
            ]
            rows += described
            about = described[0] if len(described) == 1 else {"videos": described}
            members[f"{key}.mp4"] = copies / f"{key}.mp4"
            members[f"{key}.json"] = json.dumps(about, ensure_ascii=False).encode()
        write_tar(target, members, rows)

    def _report(self, folder: Path, failures: list[VideoError]) -> Packed:
        packed = read_shards(folder)
        sources = {self._keys[path]: path for path in self._rows}
        there = {item.path.stem: item.path for item in packed}
        step = max(1, len(there) // _NUM_TIMED)
        pairs = [(sources[key], path) for key, path in sorted(there.items())][::step][:_NUM_TIMED]
        return Packed(
            num_videos=len(there),
            num_shards=len(self._shards),
            source_bytes=sum(size_of(sources[key]) for key in there),
            packed_bytes=sum((folder / name).stat().st_size for name in self.names),
            failures=failures,
            speedup=self._time(pairs),
        )

    def _time(self, pairs: Sequence[tuple[Path, Path]]) -> float | None:
        """Return how many times faster clips are read from copies, in one thread, than from sources."""
        source = FrameSource(self._config)
        length = self._config.clip.length

        def spread(duration_seconds: float) -> Seconds:
            return (np.arange(length) + 0.5) / length * duration_seconds

        def seconds(paths: Sequence[Path]) -> float:
            started = time.perf_counter()
            for path in paths:
                source.frames(VideoItem(path, ""), spread)
            return time.perf_counter() - started

        try:
            near, far = seconds([copy for _, copy in pairs]), seconds([path for path, _ in pairs])
        except VideoError:  # one that changed meanwhile
            return None
        return far / near if pairs else None
