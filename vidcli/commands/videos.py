"""What `predict`, `timeline` and `live` share: the videos named, the model, and the files to write."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidcli.artifacts.run_folder import SPLITS_FILE, describe_unfinished, files_of_model, find_model
from vidcli.commands.options import WHOLE_PICTURES, VideoOptions
from vidcli.config import SubjectConfig
from vidcli.console import Terminal
from vidcli.data.frames import decode_limits
from vidcli.data.items import VideoItem, have_tracks, path_texts_of
from vidcli.data.outputs_afar import open_output
from vidcli.errors import ConfigError, OutputError, VidcliError, VideoError
from vidcli.predict import Predictor
from vidcli.predict.inputs import AUTO, STDIN, collect_items, parse_shard, read_list, shard_of_launcher
from vidcli.predict.predictor import with_boxes
from vidcli.runtime.files import is_stream
from vidcli.runtime.outputs import OutputFile
from vidcli.storage.addresses import is_afar
from vidcli.video import probe, rewrite_video

if TYPE_CHECKING:
    from vidcli.predict.annotate import Annotator
    from vidcli.predict.segments import Timeline

_NUM_PROBED = 20


@dataclass(frozen=True)
class Job:
    """The model, the videos and the files to write, all checked; None for a file that nobody asked for.

    Attributes:
        results: the answers; None is standard output.
        annotated: the video with labels and bars drawn in.
        picture: the timeline, drawn.
        bouts: numbers and lengths of bouts.
    """

    terminal: Terminal
    predictor: Predictor
    model_file: Path
    items: Sequence[VideoItem]
    results: OutputFile | None
    annotated: OutputFile | None
    picture: OutputFile | None
    bouts: OutputFile | None

    def annotate_with_prediction(self) -> None:
        """Write the one video with what the model says of the whole of it, if that was asked for.

        Raises:
            VideoError: it cannot be decoded, or the new one not be written.
        """
        if self.annotated is None:
            return
        predictor, item = self.predictor, self.items[0]
        prediction = predictor.predict(item)
        if prediction.probabilities is None:
            raise VideoError(item.path, prediction.error or "")
        held = None if prediction.thresholds is None else [prediction.labels]
        probabilities_1K = prediction.probabilities[None]
        from vidcli.predict.annotate import Annotator

        annotator = Annotator(predictor.class_names, probabilities_1K, float("inf"), held)
        self._annotate(self.annotated, annotator)

    def annotate_with_timeline(self, timeline: Timeline) -> None:
        """Write the one video with what the model says of each moment of it, if that was asked for."""
        if self.annotated is not None:
            from vidcli.predict.annotate import Annotator

            self._annotate(self.annotated, Annotator.of_timeline(timeline))

    def _annotate(self, target: OutputFile, annotator: Annotator) -> None:
        if annotator.names.note is not None:
            self.terminal.warn(annotator.names.note)
        video, limits = self.items[0].path, decode_limits(self.predictor.config.data)
        target.write(lambda path: rewrite_video(video, path, annotator.draw, limits))
        self.terminal.say(f"wrote {target.named}")


def open_job(
    terminal: Terminal,
    options: VideoOptions,
    is_continued: bool = False,
    picture: Path | None = None,
    bouts: Path | None = None,
) -> Job:
    """Find the videos, check the files to write, and load the model.

    Args:
        terminal: to print on.
        options: of the command line.
        is_continued: answers that the output file holds already are kept.
        picture: file for a drawn timeline.
        bouts: file for the bouts of timelines.

    Raises:
        VidcliError: one of them cannot be used; nothing has been computed yet.
    """
    items, output = _share(terminal, options, _find_items(terminal, options))
    if options.annotate is not None:
        _check_annotation(options.annotate, items)
    model_file = find_model(options.model)
    named: list[str | Path] = [*files_of_model(model_file), *options.videos]
    named += [] if options.boxes is None else [options.boxes]
    named += [] if options.model is None or not is_afar(options.model) else [options.model]
    if options.from_list is not None and options.from_list != STDIN:
        named.append(Path(options.from_list))
    places = [path for path in (output, options.annotate, picture, bouts) if path is not None]
    places = [
        path if is_afar(path) else Path(os.path.realpath(path)) for path in places if not is_stream(path)
    ]
    if len(set(places)) < len(places):
        raise OutputError(f"{places[0]}: is named as the place of two outputs; give each its own")

    def check(option: str, path: Path | None, is_continued: bool = False) -> OutputFile | None:
        if path is None:
            return None
        videos = path_texts_of(items)
        if is_continued:  # its content shows that it is none of the videos; millions are not looked at each
            videos = (video for video in videos if video.endswith(path.name))
        return open_output(option, path, [*named, *videos], options.overwrite, is_continued)

    results = check("--output", output, is_continued)
    annotated, drawn = check("--annotate", options.annotate), check("--picture", picture)
    counted = check("--bouts", bouts)
    predictor = Predictor.load(model_file, options.device)
    predictor = _seeing(terminal, predictor, options.boxes, items)
    predictor.abstain_below(options.threshold)
    terminal.detail(f"model: {model_file}")
    if (unfinished := describe_unfinished(model_file, predictor.config)) is not None:
        terminal.warn(unfinished)
    return Job(terminal, predictor, model_file, items, results, annotated, drawn, counted)


def _seeing(
    terminal: Terminal, predictor: Predictor, boxes: Path | None, items: Sequence[VideoItem]
) -> Predictor:
    """Return the predictor with the boxes that are named, or with those it learnt from for their subjects."""
    learnt = predictor.config.subject.boxes
    if boxes is None and learnt is not None:
        if have_tracks(items):
            return predictor
        terminal.warn(f"{WHOLE_PICTURES}; --boxes names boxes")
    return predictor if boxes is None and learnt is None else with_boxes(predictor, boxes)


def _find_items(terminal: Terminal, options: VideoOptions) -> Sequence[VideoItem]:
    """Return the videos that are named, or an item for each subject in them."""
    listed = [] if options.from_list is None else read_list(options.from_list)
    found = collect_items([*options.videos, *listed], terminal.warn)
    if options.boxes is None:
        return found
    from vidcli.data.subjects import expand_subjects  # Arrow, which `predict a.mp4` does without

    # Of the name that `with_boxes` gives, so that boxes are read once.
    return expand_subjects(found, SubjectConfig(boxes=os.path.abspath(options.boxes)), options.track)


def _share(
    terminal: Terminal, options: VideoOptions, items: Sequence[VideoItem]
) -> tuple[Sequence[VideoItem], Path | None]:
    """Return this process's part of the items, and the file for its results."""
    launched = shard_of_launcher(os.environ)
    shard = parse_shard(options.shard) if options.shard is not None else launched
    if shard is None:
        return items, options.output
    part, output = shard.take(items), options.output
    if options.shard in (None, AUTO) and output is not None:
        output = shard.name_file(output)  # processes of one launch share one command line
    place = f" to {output}" if output else ""
    terminal.say(f"part {shard.number} of {shard.count}: {len(part)} of {len(items)} videos{place}")
    return part, output


def _check_annotation(target: Path, items: Sequence[VideoItem]) -> None:
    """Refuse what cannot be annotated, before anything is computed.

    Raises:
        ConfigError: not one whole video was named.
    """
    if len(items) != 1:
        raise ConfigError(f"--annotate {target}: draws into one video, but {len(items)} were named")
    if items[0].start_seconds or items[0].end_seconds is not None:
        raise ConfigError(f"--annotate {target}: draws into a whole video, but a span of one was named")


def clip_seconds_of(predictor: Predictor, model_file: Path) -> float:
    """Return how many seconds the clips span that a model was trained on.

    Args:
        predictor: the model.
        model_file: as `find_model` returns it; the videos of its run tell, where its sampling does not.

    Raises:
        ConfigError: nothing tells.
    """
    # Arrow, which `predict a.mp4` does without.
    from vidcli.data.manifest import load_items
    from vidcli.data.splits import of_split

    clip = predictor.config.clip
    if clip.sampling == "dense":
        return clip.length * clip.stride_seconds
    splits = model_file.parent / SPLITS_FILE
    lengths = []
    try:
        items = of_split(load_items(splits, missing_ok=True), "train") if splits.is_file() else []
    except VidcliError:
        items = []
    for item in items[:: max(1, len(items) // _NUM_PROBED)]:
        try:
            end = probe(item.path).duration_seconds if item.end_seconds is None else item.end_seconds
        except VideoError:
            continue  # gone since; others tell as much
        lengths.append(end - item.start_seconds)
    if not lengths:
        raise ConfigError(
            "this model samples whole videos, and those it was trained on are not here to tell how long they "
            "were; give that as --window SECONDS"
        )
    return statistics.median(lengths)
