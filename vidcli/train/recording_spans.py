"""Recordings with labelled spans as training data: what becomes a class, and what is cut into clips."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import MODEL_FILE, SMOOTHING_FILE, SPANS_FILE, SPLITS_FILE
from vidcli.config import Config, DataConfig, SubjectConfig
from vidcli.data.background import (
    fill_background,
    is_recording,
    read_labelled_spans,
    rows_by_subject,
    unknown_recordings,
)
from vidcli.data.items import VideoItem
from vidcli.data.manifest import manifest_text
from vidcli.data.relocation import load_run_items, with_digests
from vidcli.data.span_clips import cut_spans, join_overlaps, overlapping, require_dense
from vidcli.data.subjects import present_of, settle_subjects
from vidcli.errors import VideoError
from vidcli.predict import Predictor
from vidcli.runtime.files import write_text
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.events import Event, FollowProgress, Notice
from vidcli.train.learnt_rules import describe_gain, learn_rules


def settle_spans(
    config: Config, items: Sequence[VideoItem], tell: Callable[[str], None]
) -> tuple[Config, Sequence[VideoItem]]:
    """Return the settings and rows to learn from: of subjects while they are there, overlaps joined, and what
    nobody labelled as a class.

    Args:
        config: all settings.
        items: rows of a data set.
        tell: takes a sentence on each thing that was done.

    Raises:
        ConfigError: clips of spans would have no length of their own.
        DataError: there is no background, or its class is there already; boxes of a subject are missing.
    """
    if config.subject.boxes is not None:  # a run may be asked about from any folder
        boxes = str(Path(config.subject.boxes).absolute())
        config = config.model_copy(update={"subject": config.subject.model_copy(update={"boxes": boxes})})
    rows = settle_subjects(items, config.subject, tell)
    data = config.data
    require_dense(config)
    for text in _idle_settings(config):
        tell(text)
    if data.clips_per_span > 1 and not data.multi_label and (pair := overlapping(rows)) is not None:
        one, other = pair
        tell(
            f"{one.path.name}: {one.label} and {other.label} overlap at {other.start_seconds:g} s: a moment "
            "can have several classes, as with data.multi_label=true and train.class_balance=off"
        )
        rows = join_overlaps(rows)
        data = data.model_copy(update={"multi_label": True})
        train = config.train.model_copy(update={"class_balance": "off"})
        config = config.model_copy(update={"data": data, "train": train})
    if data.background is not None:
        labelled = None if data.labelled_spans is None else read_labelled_spans(Path(data.labelled_spans))
        rows, notes = fill_background(
            rows, data.background, labelled, lambda row: present_of(row, config.subject)
        )
        if labelled is not None and (strange := unknown_recordings(labelled, rows)) is not None:
            notes.append(strange)
        for note in notes:
            tell(note)
    elif data.clips_per_span == 1 and rows and rows[0].end_seconds is not None and _are_recordings(rows):
        tell("rows are spans of recordings, each one clip; the recipe `recordings` cuts them into clips")
    return config, rows


def _are_recordings(rows: Sequence[VideoItem]) -> bool:
    return all(map(is_recording, rows_by_subject(rows).values()))


def _idle_settings(config: Config) -> Iterator[str]:
    """Yield a sentence for each setting of spans or subjects that has no effect in this run."""
    usual, data = DataConfig(), config.data
    if config.subject.boxes is None:
        for name, value in SubjectConfig():
            if getattr(config.subject, name) != value:
                yield f"subject.{name} has no effect without subject.boxes"
    in_background = data.background is not None
    for name, is_used, needed in (
        ("labelled_spans", in_background, "data.background"),
        ("background_share", in_background and data.clips_per_span > 1, "data.background and clips_per_span"),
        ("clip_step_seconds", data.clips_per_span > 1, "data.clips_per_span"),
        ("max_clips", data.clips_per_span > 1, "data.clips_per_span"),
        ("context_windows", data.clips_per_span > 1, "data.clips_per_span"),
        ("across_borders", data.clips_per_span > 1, "data.clips_per_span"),
    ):
        if getattr(data, name) != getattr(usual, name) and not is_used:
            yield f"data.{name} has no effect without {needed}"


def cut_for_run(
    run: Path, config: Config, items: Sequence[VideoItem], tell: Callable[[str], None]
) -> Sequence[VideoItem]:
    """Return the clips of a run; the spans that they are cut from stay in its `spans.csv`.

    Args:
        run: its directory.
        config: all settings.
        items: with their splits; returned as they are where spans are taken whole.
        tell: takes a sentence on the clips of each split.
    """
    if config.data.clips_per_span == 1:
        return items
    write_text(run / SPANS_FILE, manifest_text(with_digests(items)))
    clips, notes = cut_spans(items, config)
    for note in notes:
        tell(note)
    return clips


def learn_timeline(
    run: Path, device: torch.device, on_event: Callable[[Event], None], group: Group = ALONE
) -> None:
    """Learn on the validation recordings of a run how its model's timelines are smoothed; keep that with it.

    Nothing happens where spans were not cut into clips, or where that was learnt before.

    Args:
        run: directory of a run that is over.
        device: where to compute.
        on_event: told what was chosen, and what that gains.
        group: the processes that trained together; the main one learns.
    """
    if not group.is_main or not (run / SPANS_FILE).is_file() or not (run / MODEL_FILE).is_file():
        return
    checkpoint = load_checkpoint(run / MODEL_FILE)
    if checkpoint.rules is not None:
        return
    spans = load_run_items(run / SPANS_FILE)
    if not any(item.split == "val" for item in spans):
        on_event(
            Notice(
                "no validation recordings: how to smooth timelines is not learnt; data.val_fraction=0.2 "
                "keeps some for that"
            )
        )
        return
    predictor = Predictor.from_checkpoint(checkpoint, device)
    clips = [item for item in load_run_items(run / SPLITS_FILE) if item.split == "train"]
    left_out: set[str] = set()

    def tell(error: VideoError) -> None:
        left_out.add(error.path)
        on_event(Notice(f"left out of learning how to smooth timelines: {error}"))

    def progress(done: int, total: int) -> None:
        on_event(FollowProgress(done, total))

    trials = learn_rules(predictor, spans, clips, progress, tell)
    if not trials:
        return
    num_recordings = len({str(item.path) for item in spans if item.split == "val"} - left_out)
    on_event(Notice(describe_gain(trials, num_recordings)))
    told = {"num_recordings": num_recordings, "trials": [trial.to_dict() for trial in trials]}
    write_text(run / SMOOTHING_FILE, json.dumps(told, indent=1) + "\n")
    save_checkpoint(run / MODEL_FILE, replace(checkpoint, rules=trials[0].rules))
