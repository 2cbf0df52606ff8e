"""Long recordings with a table of what happens in them when, the same files for the same settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vidcli.arrays import Frames
from vidcli.runtime.files import is_leftover, write_text, write_whole
from vidcli.runtime.threads import run_ahead
from vidcli.sheets import csv_text
from vidcli.synthetic.claimed_folder import ClaimedFolder
from vidcli.synthetic.long_recording import (
    LONG_VERSION,
    NUM_KINDS,
    Actor,
    Bout,
    LongRecordingOptions,
    LongScene,
    draw_bouts,
    visit_of,
)
from vidcli.video import encode_video

LABELS_FILE, BOXES_FILE = "labels.csv", "boxes.csv"
_COLUMNS = ("path", "label", "split", "group", "start", "end", "track")
_BOX_COLUMNS = ("video", "frame", "track", "x", "y", "w", "h")
_TRACKS = ("a", "b")
_FRAMES_AHEAD = 64
_KIND_KEY = 2**32 - 1  # of the seed of what the subjects look like; recordings have the keys from 0


@dataclass(frozen=True)
class _Job:
    """A recording to write.

    Attributes:
        path: of the video.
        split: train, val or test.
        bouts: seeds of what each subject does.
        kinds: seeds of what each looks like.
        scene: seed of all else in the picture.
        boxes: seed of the faults of boxes.
    """

    path: Path
    split: str
    bouts: tuple[np.random.SeedSequence, ...]
    kinds: tuple[np.random.SeedSequence, ...]
    scene: np.random.SeedSequence
    boxes: np.random.SeedSequence

    def actors(self, options: LongRecordingOptions) -> list[Actor]:
        """Return its subjects."""
        found = []
        for number, (bouts, kind) in enumerate(zip(self.bouts, self.kinds, strict=True)):
            visit = visit_of(number > 0, options)
            does = draw_bouts(np.random.default_rng(bouts), options, visit)
            found.append(Actor(_TRACKS[number], kind, does, visit))
        return found


def write_recordings(
    folder: str | os.PathLike[str],
    num_recordings: int,
    seed: int = 0,
    options: LongRecordingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write long recordings, or reuse those in the folder; return the table of their bouts, a manifest.

        folder/recording_01.mp4 ...    half of them train, a fifth val, the rest test
        folder/labels.csv              path, label, split, group, start, end, track: a row for each bout
        folder/boxes.csv               video, frame, track, x, y, w, h: where the subjects are
        folder/recordings.json         written last: settings, seed, version

    Every recording depends on the seed and its number alone. Test recordings have scenes and bouts that no
    other has, and subjects of the same kinds as all. An interrupted call is completed by the next one.

    Args:
        folder: must not exist, be empty, or have been written by this function.
        num_recordings: at least 3.
        seed: another seed gives other recordings.
        options: length and look of the recordings; None takes the defaults.
        progress: called with the number of frames that exist and the number of all frames.

    Raises:
        DataError: the folder holds something else, or cannot be written.
        ValueError: there are fewer than 3 recordings, or the seed is negative.
    """
    options = options or LongRecordingOptions()
    if num_recordings < 3 or seed < 0:
        raise ValueError("expected at least 3 recordings, and a seed that is not negative")
    request = {
        "long_version": LONG_VERSION,
        "seed": seed,
        "num_recordings": num_recordings,
        "options": {**asdict(options), "size": list(options.size)},
    }
    root = Path(folder)
    jobs = list(_plan(root, num_recordings, seed))
    table = root / LABELS_FILE
    claimed = ClaimedFolder(root, "recordings", "recordings", _is_ours)
    paths = [table, root / BOXES_FILE, *(job.path for job in jobs)]
    if not claimed.write(request, paths, lambda: _write_missing(root, jobs, options, progress)) and progress:
        num_frames = num_recordings * options.num_frames
        progress(num_frames, num_frames)
    return table


def split_of(number: int, num_recordings: int) -> str:
    """Return the split of a recording: half are train, a fifth val, the rest test; each has one.

    Args:
        number: of the recording, from 0.
        num_recordings: how many there are, at least 3.
    """
    num_val = max(1, num_recordings // 5)
    num_train = max(1, min(num_recordings // 2, num_recordings - num_val - 1))
    return "train" if number < num_train else "val" if number < num_train + num_val else "test"


def _plan(root: Path, num_recordings: int, seed: int) -> Iterator[_Job]:
    kinds = np.random.SeedSequence(seed, spawn_key=(_KIND_KEY,)).spawn(NUM_KINDS)
    for number in range(num_recordings):
        *bouts, scene, boxes = np.random.SeedSequence(seed, spawn_key=(number,)).spawn(len(_TRACKS) + 2)
        num_subjects = 1 + number % 2
        yield _Job(
            root / f"recording_{number + 1:02}.mp4",
            split_of(number, num_recordings),
            tuple(bouts[:num_subjects]),
            tuple(kinds[(number + k) % NUM_KINDS] for k in range(num_subjects)),
            scene,
            boxes,
        )


def _is_ours(path: Path) -> bool:
    """Tell whether a path below the folder is one of its files, or what is left of one."""
    name = path.name
    known = re.fullmatch(r"recording_\d{2,}\.mp4", name) is not None or name in (LABELS_FILE, BOXES_FILE)
    return len(path.parts) == 1 and (known or is_leftover(path))


def _write_missing(
    root: Path,
    jobs: list[_Job],
    options: LongRecordingOptions,
    progress: Callable[[int, int], None] | None,
) -> None:
    rows: list[tuple[str, ...]] = []
    boxes: list[tuple[str, ...]] = []
    for number, job in enumerate(jobs):
        actors = job.actors(options)
        rows += [_row(job, actor, bout, options.fps) for actor in actors for bout in actor.bouts]
        scene = LongScene(np.random.default_rng(job.scene), actors, options)
        for frame, track, sides in scene.boxes(np.random.default_rng(job.boxes)):
            boxes.append((job.path.name, str(frame), track, *(f"{side:.1f}" for side in sides)))
        if not job.path.exists():
            _encode(job.path, _counted(scene.frames(), number, len(jobs), options, progress), options)
    write_text(root / LABELS_FILE, csv_text([_COLUMNS, *rows]))
    write_text(root / BOXES_FILE, csv_text([_BOX_COLUMNS, *boxes]))


def _row(job: _Job, actor: Actor, bout: Bout, fps: float) -> tuple[str, ...]:
    times = (repr(round(frame / fps, 4)) for frame in (bout.start, bout.end))
    return (job.path.name, bout.label, job.split, job.path.stem, *times, actor.name)


def _counted(
    frames: Iterator[Frames],
    number: int,
    num_recordings: int,
    options: LongRecordingOptions,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Frames]:
    for done, frame_HWC in enumerate(frames, number * options.num_frames + 1):
        if progress is not None and done % 100 == 0:
            progress(done, num_recordings * options.num_frames)
        yield frame_HWC


def _encode(path: Path, frames: Iterator[Frames], options: LongRecordingOptions) -> None:
    # Without x264's macroblock tree: with it, frames this small are not coded alike every time.
    coding = {"crf": str(options.crf), "preset": "veryfast", "g": "120"}
    coding["x264-params"] = "mbtree=0:scenecut=0"
    with closing(run_ahead(frames, _FRAMES_AHEAD)) as drawn:  # one core draws, another encodes
        write_whole(path, lambda temporary: encode_video(temporary, drawn, options.fps, options=coding))
