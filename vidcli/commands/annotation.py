"""What `vidcli predict --annotate` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidcli.console import Terminal
from vidcli.data.frames import decode_limits
from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, VideoError
from vidcli.predict import Predictor
from vidcli.predict.annotate import Annotator
from vidcli.predict.segments import Timeline
from vidcli.runtime.outputs import OutputFile
from vidcli.video import rewrite_video


def check_annotation(target: Path, items: Sequence[VideoItem]) -> None:
    """Refuse what cannot be annotated, before anything is computed.

    Raises:
        ConfigError: not one whole video was named.
    """
    if len(items) != 1:
        raise ConfigError(f"--annotate {target}: draws into one video, but {len(items)} were named")
    if items[0].start_seconds or items[0].end_seconds is not None:
        raise ConfigError(f"--annotate {target}: draws into a whole video, but a span of one was named")


def annotate_with_prediction(
    terminal: Terminal, predictor: Predictor, item: VideoItem, target: OutputFile
) -> None:
    """Write a video with what a model says of the whole of it.

    Raises:
        VideoError: it cannot be decoded, or the new one not be written.
    """
    prediction = predictor.predict(item)
    if prediction.probabilities is None:
        raise VideoError(item.path, prediction.error or "")
    held = None if prediction.thresholds is None else [prediction.labels]
    annotator = Annotator(predictor.class_names, prediction.probabilities[None], float("inf"), held)
    _write(terminal, predictor, item, target, annotator)


def annotate_with_timeline(
    terminal: Terminal, predictor: Predictor, item: VideoItem, target: OutputFile, timeline: Timeline
) -> None:
    """Write a video with what a model says of each moment of it."""
    _write(terminal, predictor, item, target, Annotator.of_timeline(timeline))


def _write(
    terminal: Terminal, predictor: Predictor, item: VideoItem, target: OutputFile, annotator: Annotator
) -> None:
    if annotator.names.note is not None:
        terminal.warn(annotator.names.note)
    limits = decode_limits(predictor.config.data)
    target.write(lambda path: rewrite_video(item.path, path, annotator.draw, limits))
    terminal.say(f"wrote {target.path}")
