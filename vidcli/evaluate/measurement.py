"""What a model says of labelled videos: which videos, how good its answers are, where they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidcli.artifacts.run_folder import EXPORT_FILE, SPANS_FILE, SPLITS_FILE
from vidcli.data.fetched import is_fetched
from vidcli.data.items import SPLITS, VideoItem, class_names_of
from vidcli.data.manifest import load_items, read_data
from vidcli.data.relocation import find_learnt, load_run_items
from vidcli.data.splits import of_split
from vidcli.data.subjects import settle_subjects
from vidcli.errors import ConfigError, DataError
from vidcli.evaluate.details import Details, find_details, is_right
from vidcli.evaluate.multilabel import MultiLabelEvaluation, evaluate_multi_label, targets_of
from vidcli.evaluate.scores import Evaluation, evaluate
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.outputs import choose_folder
from vidcli.runtime.threads import num_workers


@dataclass(frozen=True)
class LabelledVideos:
    """The data that a model is evaluated on, as a person names it.

    Attributes:
        model_file: as `find_model` returns it.
        data: folder or manifest; None is the run's own data.
        data_root: folder that the run's own data has moved to; None where it has not.
        split: train, val, test or all.
        is_split_named: a person named the split, which data without splits then has to have.
        whole_spans: of a run that cut spans of recordings into clips, take the spans.
    """

    model_file: Path
    data: Path | None
    data_root: Path | None
    split: str
    is_split_named: bool
    whole_spans: bool = False

    @property
    def subject(self) -> str:
        """What an evaluation is about, in the record of its folder; empty for the run's own data."""
        return "" if self.data is None else str(self.data.resolve())

    @property
    def folder(self) -> Path | None:
        """The folder for an evaluation for which none is named; see `evaluation_folder`."""
        return evaluation_folder(self.model_file, self.split, self.data)

    def select(self, predictor: Predictor, warn: Callable[[str], None]) -> Sequence[VideoItem]:
        """Return the videos to evaluate.

        Args:
            predictor: the model; all classes must be known to it.
            warn: takes a sentence on each oddity of the data.

        Raises:
            ConfigError: a split was named, and the data has none.
            DataError: there are no such videos, or they have classes that the model does not know.
        """
        source, items = self._read(predictor, warn)
        splits = {item.split for item in items} - {None}
        if not splits and self.is_split_named and self.split != "all":
            raise ConfigError(
                f"--split {self.split}: {source} has no splits, so that its videos are one set; leave "
                "--split out to evaluate all of them"
            )
        # Data without splits, such as a folder of new videos, is evaluated whole.
        chosen = items if self.split == "all" or not splits else of_split(items, self.split)
        if not chosen:
            there = ", ".join(name for name in SPLITS if name in splits)
            raise DataError(f"{source}: has no {self.split} split; there is {there}. Choose with --split")
        if strangers := unknown_classes(predictor, chosen):
            raise DataError(
                f"{source}: classes that the model was not trained on: {', '.join(strangers)}. It knows "
                f"{', '.join(predictor.class_names)}"
            )
        if not any(item.path.exists() for item in chosen):
            moved = "" if self.data else ". If the data moved, name its folder with --data-root"
            raise DataError(
                f"{source}: not one of its {len(chosen)} {self.split} videos is there, such as "
                f"{chosen[0].path}; nothing was measured{moved}"
            )
        return chosen

    def _read(self, predictor: Predictor, warn: Callable[[str], None]) -> tuple[Path, Sequence[VideoItem]]:
        """Return the file or folder that names the videos, and all that it names."""
        if self.data is not None:
            listing = read_data(self.data, self.data.name == SPLITS_FILE, predictor.config.data)
            for note in listing.notes:
                warn(note)
            return self.data, settle_subjects(listing.items, predictor.config.subject, warn)
        if not self.model_file.exists():
            raise DataError(
                f"--model {self.model_file}: was published without videos; name the DATA to evaluate on"
            )
        run = self.model_file.parent
        splits = run / SPANS_FILE if self.whole_spans and (run / SPANS_FILE).is_file() else run / SPLITS_FILE
        if not splits.is_file():
            raise DataError(f"{run}: holds no {SPLITS_FILE}; name the DATA to evaluate on")
        return splits, load_run_items(splits, self.data_root)

    def describe_missing(self, items: Sequence[VideoItem]) -> str | None:
        """Return a sentence on the videos whose files are missing; None where all are there."""
        missing = [item.path for item in items if not item.path.exists()]
        if not missing:
            return None
        way_on = "" if self.data else "; if the data moved, name its folder with --data-root"
        return (
            f"{len(missing)} of {len(items)} videos are not there and count as wrong, such as "
            f"{missing[0]}{way_on}"
        )


def evaluation_folder(model_file: Path, split: str, data: Path | None = None) -> Path | None:
    """Return the folder for an evaluation for which none is named.

    It lies in the run, or in the exported model. What was measured on other data than the run's own has a
    folder of its own beside it. A published model, which is asked for by its name, has no folder: None.

    Args:
        model_file: as `find_model` returns it.
        split: train, val, test or all.
        data: folder or manifest; None is the run's own data.
    """
    run = _run_of(model_file)
    if run is None:
        return None
    folder = model_file if model_file.is_dir() else run
    if data is None:
        return folder / f"eval-{split}"
    data = data.resolve()
    return choose_folder(folder / f"eval-{split}-{data.stem}", "eval", str(data))


def _run_of(model_file: Path) -> Path | None:
    """Return the folder that a model file or an exported model lies in; None for one from elsewhere."""
    if is_fetched(model_file):
        return None
    is_exported = (model_file / EXPORT_FILE).is_file()
    return model_file.parent if is_exported or model_file.is_file() else None


def unknown_classes(predictor: Predictor, items: Sequence[VideoItem]) -> list[str]:
    """Return the classes of labelled videos that a model does not know, in order of their names."""
    named = class_names_of(items, predictor.config.data.multi_label)
    return sorted(set(named) - set(predictor.class_names))


def describe_learnt(model_file: Path, items: Sequence[VideoItem]) -> str | None:
    """Return a sentence on the videos that a model learnt from, as far as its run tells; None without any."""
    run = _run_of(model_file)
    if run is None or not (run / SPLITS_FILE).is_file():
        return None
    splits = load_items(run / SPLITS_FILE, missing_ok=True)
    learnt = [item for item in splits if item.split in ("train", "val")]
    num_learnt = len(find_learnt(items, learnt))
    if not num_learnt:
        return None
    return (
        f"{num_learnt} of these {len(items)} videos are among those that {run} learnt from (train or "
        "val in its splits.csv): its numbers on them are too good. If this is the run's own data that "
        "moved, --data-root DIR in place of DATA evaluates its own split"
    )


@dataclass(frozen=True)
class Measurement:
    """What a model said of labelled videos, and how good that is.

    Attributes:
        predictions: in the order of the videos.
        scores: of all videos.
        details: where the model is wrong.
        num_missing: videos whose files are not there; they count as wrong in the scores.
        share_right_of_present: share of the other videos whose classes are all right, 0 to 1.
    """

    predictions: Sequence[Prediction]
    scores: Evaluation | MultiLabelEvaluation
    details: Details
    num_missing: int
    share_right_of_present: float

    def to_dict(self, videos: LabelledVideos) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        about: dict[str, Any] = {
            "model": str(videos.model_file),
            "data": None if videos.data is None else str(videos.data),
            "split": videos.split,
        }
        if self.num_missing:
            about["num_missing"] = self.num_missing
            about["share_right_of_present"] = self.share_right_of_present
        return self.scores.to_dict() | self.details.to_dict() | about


def measure(
    predictor: Predictor, items: Sequence[VideoItem], predictions: Sequence[Prediction]
) -> Measurement:
    """Return how good the answers of a model to labelled videos are.

    Args:
        predictor: the model.
        items: labelled videos.
        predictions: an answer to each of them.
    """
    scores: Evaluation | MultiLabelEvaluation
    if predictor.config.data.multi_label:
        targets_NK = targets_of(items, predictor.class_names)
        scores = evaluate_multi_label(predictions, targets_NK, predictor.calibration)
    else:
        labels = [item.label for item in items]
        scores = evaluate(predictions, labels, predictor.class_names, predictor.calibration)
    details = find_details(items, predictions, num_workers(predictor.config.data.workers))
    right = right_answers(items, predictions)
    right_of_present = [right for item, right in zip(items, right, strict=True) if item.path.exists()]
    num_missing = len(items) - len(right_of_present)
    share = sum(right_of_present) / len(right_of_present) if right_of_present else 0.0
    return Measurement(predictions, scores, details, num_missing, share)


def right_answers(items: Sequence[VideoItem], predictions: Sequence[Prediction]) -> list[bool]:
    """Tell of each video whether the answer to it is right."""
    return [is_right(item, prediction) for item, prediction in zip(items, predictions, strict=True)]
