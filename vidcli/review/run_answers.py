"""What one or two runs answered to labelled videos, as `vidcli eval` wrote it, by the clips of the page."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vidcli.artifacts.run_folder import SPLITS_FILE, find_model
from vidcli.errors import DataError
from vidcli.evaluate import Comparison, bootstrap_interval, compare
from vidcli.evaluate.answer_table import PREDICTIONS_FILE, VideoAnswer, read_answers
from vidcli.evaluate.measurement import evaluation_folder
from vidcli.names import name_subject, visible
from vidcli.review.clips import ClipList

_NUM_TOLD = 3
"""The most probable classes that are told of a video, beside its own."""

Key: TypeAlias = tuple[int | str, float, float | None, str | None]
"""What tells videos apart: the position of a clip, or the path of a video that is none; span and subject."""


def find_answers(named: Path, data: Path, split: str, or_own: bool) -> Path | None:
    """Return the table of the answers of a run; None where it was not evaluated on these videos.

    Args:
        named: a run or a model, the folder of an evaluation, or its table.
        data: what the page shows; it may be a run.
        split: that was evaluated.
        or_own: take the answers to the run's own videos where there are none to `data`.

    Raises:
        CheckpointError: there is no such model.
    """
    table = named if named.suffix == ".csv" else named / PREDICTIONS_FILE
    if table.is_file():
        return table
    model_file = find_model(named)
    folders = [evaluation_folder(model_file, split, on) for on in (data, data / SPLITS_FILE)]
    if or_own:
        folders.append(evaluation_folder(model_file, split))
    tables = (folder / PREDICTIONS_FILE for folder in folders if folder is not None)
    return next((table for table in tables if table.is_file()), None)


@dataclass(frozen=True)
class RunAnswers:
    """The answers of a run.

    Attributes:
        name: of the run, as a person named it.
        class_names: the classes that it knows.
        by_key: the answer to each video.
    """

    name: str
    class_names: Sequence[str]
    by_key: dict[Key, VideoAnswer]


@dataclass(frozen=True)
class RunsSeen:
    """One or two runs, as the page shows them.

    Attributes:
        runs: their answers.
        keys: the videos that all of them answered, in the order of the first.
        comparison: of the two; None of one alone.
        notes: a sentence on each oddity.
    """

    runs: Sequence[RunAnswers]
    keys: Sequence[Key]
    comparison: Comparison | None
    notes: Sequence[str]

    @property
    def class_names(self) -> list[str]:
        """The classes that the runs know, in alphabetical order."""
        return sorted({name for run in self.runs for name in run.class_names})

    def to_dict(self, clips: ClipList) -> dict[str, Any]:
        """Return plain values, as the page takes them."""
        labels = [self.runs[0].by_key[key].label for key in self.keys]
        return {
            "runs": [_sum_up(run, self.keys, labels) for run in self.runs],
            "classes": self.class_names,
            "videos": [
                {
                    "id": key[0] if isinstance(key[0], int) else None,
                    "name": clips.names[key[0]] if isinstance(key[0], int) else _name_of(key),
                    "label": label,
                    "answers": [_tell(run, run.by_key[key], label) for run in self.runs],
                }
                for key, label in zip(self.keys, labels, strict=True)
            ],
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "notes": list(self.notes),
        }


def see_runs(clips: ClipList, tables: Iterable[tuple[str, Path]], tell: Callable[[str], object]) -> RunsSeen:
    """Join the answers of one or two runs to the same videos.

    Args:
        clips: of the page.
        tables: the name of each run, and the table of its answers.
        tell: called with a sentence on each oddity.

    Raises:
        DataError: a table is damaged, or the runs have no video in common.
    """
    find = _Finder(clips)
    runs = [_join(name, path, find) for name, path in tables]
    keys = [key for key in runs[0].by_key if all(key in run.by_key for run in runs)]
    names = " and ".join(run.name for run in runs)
    if not any(isinstance(key[0], int) for key in keys):
        raise DataError(
            f"{names}: no clip of this page was evaluated by {'both' if len(runs) > 1 else 'it'}; evaluate "
            "on the same data, with `vidcli eval DATA --model RUN`"
        )
    notes = _find_oddities(runs, keys)
    for note in notes:
        tell(note)
    right = [[run.by_key[key].predicted == runs[0].by_key[key].label for key in keys] for run in runs]
    return RunsSeen(runs, keys, compare(*right) if len(runs) > 1 else None, notes)


class _Finder:
    """Finds the clip of a row by its path or, if the data moved, by the names of its file and folder."""

    def __init__(self, clips: ClipList) -> None:
        self._paths = [visible(str(item.path.absolute())) for item in clips.items]
        self._tracks = [item.track for item in clips.items]
        self._alike: dict[tuple[str, float, float | None], list[int]] = defaultdict(list)
        for position, (path, item) in enumerate(zip(self._paths, clips.items, strict=True)):
            self._alike[_last_names(path), item.start_seconds, item.end_seconds].append(position)

    def key_of(self, answer: VideoAnswer) -> Key:
        path, span, track = os.path.abspath(answer.video), answer.span, answer.track
        alike = self._alike.get((_last_names(path), *span), [])
        there = [one for one in alike if self._paths[one] == path]
        # Where an earlier version wrote the answer, or the page was given no boxes, no subject is named.
        found = [one for one in there or alike if self._tracks[one] == track] or [
            one for one in there or alike if None in (self._tracks[one], track)
        ]
        if not found or (len(found) > 1 and not there):
            return (path, *span, track)
        return (found[-1], *span, self._tracks[found[-1]] or track)


def _last_names(path: str) -> str:
    return "/".join(Path(path).parts[-2:])


def _join(name: str, path: Path, find: _Finder) -> RunAnswers:
    table = read_answers(path)
    by_key = {find.key_of(answer): answer for answer in table.answers}
    if len(by_key) < len(table.answers):
        raise DataError(
            f"{path}: has several rows about the same video and span, and subjects that are not told apart; "
            "expected one, as `vidcli eval` writes with a column track"
        )
    return RunAnswers(name, table.class_names, by_key)


def _find_oddities(runs: Sequence[RunAnswers], keys: Sequence[Key]) -> list[str]:
    """Return a sentence on each kind of video that the runs do not share, or that cannot be shown."""
    notes, shared, first = [], set(keys), runs[0]
    for run in runs:
        if alone := [key for key in run.by_key if key not in shared]:
            example = run.by_key[alone[0]].video
            notes.append(f"left out: {_count(alone)} that only {run.name} answered, such as {example}")
    if strangers := [key for key in keys if isinstance(key[0], str)]:
        example = _name_of(strangers[0])
        notes.append(
            f"not to be played: {_count(strangers)} not among the clips of this page, such as {example}"
        )
    other = runs[-1]
    if changed := [key for key in keys if first.by_key[key].label != other.by_key[key].label]:
        video = first.by_key[changed[0]].video
        notes.append(f"{_count(changed)} with another label for {other.name}, which does not count: {video}")
    return notes


def _name_of(key: Key) -> str:
    """Return what a video that is no clip of the page is called."""
    return name_subject(key[0], key[3])


def _count(videos: Sequence[Key]) -> str:
    return f"{len(videos)} video" + ("s" if len(videos) > 1 else "")


def _sum_up(run: RunAnswers, keys: Sequence[Key], labels: Sequence[str]) -> dict[str, Any]:
    right_N = np.array([run.by_key[key].predicted == label for key, label in zip(keys, labels, strict=True)])
    return {
        "name": run.name,
        "num_right": int(right_N.sum()),
        "top1": float(right_N.mean()),
        "top1_interval": bootstrap_interval(right_N),
    }


def _tell(run: RunAnswers, answer: VideoAnswer, label: str) -> dict[str, Any]:
    """Return the answer to a video: the most probable classes, the best first, and its label's own share."""
    order = np.argsort(-np.array(answer.probabilities), kind="stable")[:_NUM_TOLD]
    shares = dict(zip(run.class_names, answer.probabilities, strict=False))
    return {
        "predicted": answer.predicted,
        "error": answer.error,
        "top": [[run.class_names[k], answer.probabilities[k]] for k in order],
        "share_of_label": shares.get(label),
    }
