"""Which head is best, and does the order of frames matter: all heads on features of one frozen backbone.

Features are computed once, so that a head trains in seconds. Each head is trained and scored twice: on
frames in order, and on shuffled frames. Where a head is as good on shuffled frames, their order told it
nothing.

The val split is scored where the data has one; otherwise every training video is, by heads trained without
its fold. The test split is used only when it is asked for.

Shape suffixes: N videos.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vidcli.artifacts.claim import RunClaim
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.artifacts.run_folder import CONFIG_FILE, MODEL_FILE, SPLITS_FILE
from vidcli.config import Config, ModelConfig, config_to_yaml
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import fingerprint, manifest_text, read_data
from vidcli.data.relocation import with_digests
from vidcli.data.span_clips import cut_spans
from vidcli.data.splits import assign_folds, assign_splits, of_split
from vidcli.errors import ConfigError, DataError
from vidcli.evaluate import bootstrap_over_groups
from vidcli.features.frozen_backbone import FrozenBackbone
from vidcli.models import (
    VideoClassifier,
    build_model,
    head_names,
    heads_that_see_order,
    settle_clip,
    wake_residual_branches,
)
from vidcli.report.model_card import write_card
from vidcli.runtime.files import write_text
from vidcli.train.events import Notice
from vidcli.train.head_trials import HeadScore, HeadTrials, score_heads
from vidcli.train.recording_spans import settle_spans
from vidcli.train.run import run_name

NUM_FOLDS = 5
COMPARISON_FILE = "compare.json"


@dataclass(frozen=True)
class CompareProgress:
    """How far a comparison is.

    Attributes:
        what: `features` of videos, or `heads` that are trained.
        done: how many are done.
        total: how many there are.
    """

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Comparison:
    """All heads on the features of one backbone.

    Attributes:
        backbone: its name.
        weights: where the weights of the backbone come from; "random" without training.
        scored_on: which videos were scored, in words.
        largest_class: share of the most frequent class, which always guessing that class reaches.
        num_videos: videos scored.
        num_videos_read: videos with features, those only trained on included.
        num_failed: videos that could not be decoded; no other number counts them.
        num_cached: videos, of those with features, whose features were in the cache.
        feature_seconds: time to read or compute the features.
        heads: the scores of each head.
        ordered: mean accuracy, on frames in order, of the heads that see their order.
        shuffled: mean accuracy of the same heads on shuffled frames.
        difference_interval: 95% bootstrap interval of the difference of the two, over groups of videos, or
            over videos where there are no groups.
        best: the head with the highest accuracy on frames in order.
    """

    backbone: str
    weights: str
    scored_on: str
    largest_class: float
    num_videos: int
    num_videos_read: int
    num_failed: int
    num_cached: int
    feature_seconds: float
    heads: tuple[HeadScore, ...]
    ordered: float
    shuffled: float
    difference_interval: tuple[float, float]
    best: str

    @property
    def difference(self) -> float:
        """Accuracy on frames in order less that on shuffled frames."""
        return self.ordered - self.shuffled

    @property
    def time_matters(self) -> bool:
        """Whether the order of frames helps by more than chance explains."""
        return self.difference_interval[0] > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli train --compare --json` prints them."""
        return asdict(self) | {"difference": self.difference, "time_matters": self.time_matters}


def compare_heads(
    config: Config,
    data: Path,
    split: str,
    out: Path | None,
    device: torch.device,
    on_event: Callable[[CompareProgress | Notice], None],
) -> Comparison:
    """Train every head on frozen features, and tell whether the order of frames matters.

    Args:
        config: backbone, clips and how heads are trained; `model.head` is not read.
        data: a folder, manifest or published data set.
        split: `auto` scores the val split or folds of the train split, `test` the test split.
        out: run directory for the best head, trained on all videos but those of test; None keeps nothing.
        device: where to compute.
        on_event: called with the progress, and for each video that is left out.

    Raises:
        ConfigError: the backbone is a whole video network, which has no features of frames, or videos have
            several classes.
        DataError: the data cannot be trained on, or has no test split to score.
        TrainError: the loss of a head is no longer finite, or a batch does not fit in memory.
    """
    if config.data.multi_label:
        raise ConfigError("--compare: scores accuracy, which data.multi_label=true has none of")
    config = settle_clip(config)
    with RunClaim() as claim:
        run = claim.begin(out, run_name(config)) if out is not None else None
        model = _build_frozen(config, device)
        config, items = _read_items(config, data, split, on_event)
        comparison = _compare(config, items, split, run, model, device, on_event)
    if run is not None and (obstacle := write_card(run)) is not None:
        on_event(Notice(obstacle))
    return comparison


def _build_frozen(config: Config, device: torch.device) -> VideoClassifier:
    """Return the model whose backbone makes the features; its weights are trained or random."""
    torch.manual_seed(config.train.seed)
    # The head is always the same, so that a random backbone does not depend on `model.head`.
    model = build_model(config.model.model_copy(update={"head": "mean"}), num_classes=2).to(device)
    if not isinstance(model, VideoClassifier):
        raise ConfigError(
            f"--compare: {config.model.backbone} takes whole clips and has no head to compare; choose a "
            "frame backbone (`vidcli models`)"
        )
    if config.model.weights is None and not config.model.pretrained:
        wake_residual_branches(model.backbone)
    return model


def _compare(
    config: Config,
    items: Sequence[VideoItem],
    split: str,
    run: Path | None,
    model: VideoClassifier,
    device: torch.device,
    on_event: Callable[[CompareProgress | Notice], None],
) -> Comparison:
    """Compute the features, train and score the heads, and keep the best where a run is given."""
    started = time.monotonic()
    backbone = FrozenBackbone(model, config, device)
    found = backbone.features_of(
        items, lambda done, total: on_event(CompareProgress("features", done, total))
    )
    backbone.prune()
    for failure in found.failures:
        on_event(Notice(f"left out: {failure}"))
    feature_seconds = time.monotonic() - started
    trials = HeadTrials(config, found.videos, device)
    folds, scored_on = _make_folds(trials.items, config, split)
    heads, correct = score_heads(
        trials, folds, lambda done, total: on_event(CompareProgress("heads", done, total))
    )
    scored_N = np.flatnonzero(folds >= 0)
    seeing = head_names() if model.looks_aside else heads_that_see_order()
    ordered_N = np.mean([correct[head, "ordered"][scored_N] for head in seeing], axis=0)
    shuffled_N = np.mean([correct[head, "shuffled"][scored_N] for head in seeing], axis=0)
    scored_items = [trials.items[index] for index in scored_N]
    comparison = Comparison(
        backbone=config.model.backbone,
        weights=_describe_weights(config.model),
        scored_on=scored_on,
        largest_class=max(Counter(item.label for item in scored_items).values()) / len(scored_items),
        num_videos=len(scored_items),
        num_videos_read=len(found.videos),
        num_failed=len(found.failures),
        num_cached=found.num_cached,
        feature_seconds=feature_seconds,
        heads=tuple(heads),
        ordered=float(ordered_N.mean()),
        shuffled=float(shuffled_N.mean()),
        difference_interval=bootstrap_over_groups(ordered_N - shuffled_N, scored_items, config.train.seed),
        best=max(heads, key=lambda score: score.ordered).head,
    )
    if run is not None:
        _save_best(run, config, comparison, trials, model, items)
    return comparison


def _read_items(
    config: Config, data: Path, split: str, on_event: Callable[[CompareProgress | Notice], None]
) -> tuple[Config, Sequence[VideoItem]]:
    """Return the settings that the data ask for, and the videos or clips of recordings with their splits.

    Test videos are there only if they are asked for.
    """
    listing = read_data(data, settings=config.data)
    for text in listing.notes:
        on_event(Notice(text))
    settled, rows = settle_spans(config, listing.items, lambda text: on_event(Notice(text)))
    if settled.data.multi_label:
        raise ConfigError(f"--compare: spans of different classes overlap in {data}, and it scores accuracy")
    # Without a val split, folds score every video, where a part split off would score only a few.
    items: Sequence[VideoItem] = assign_splits(rows, settled.data.model_copy(update={"val_fraction": 0.0}))
    if settled.data.clips_per_span > 1:
        items, notes = cut_spans(items, settled)
        for text in notes:
            on_event(Notice(text))
    if len(class_names_of(of_split(items, "train"))) < 2:
        raise DataError(f"{data}: one class to train on; a classifier needs two or more")
    if split == "test":
        if not of_split(items, "test"):
            raise DataError(f"{data}: has no test split to score; leave --split away")
        return settled, items
    return settled, [item for item in items if item.split != "test"]


def _make_folds(items: Sequence[VideoItem], config: Config, split: str) -> tuple[npt.NDArray[np.int64], str]:
    """Return the fold of each video, -1 for one that is only trained on, and what is scored in words."""
    if split == "test":
        held_out, text = "test", "the test split, trained on all others"
    elif of_split(items, "val"):
        held_out, text = "val", "the val split, trained on train"
    else:
        folds = assign_folds(items, NUM_FOLDS, config.data.split_seed)
        by = "groups" if any(item.group for item in items) else "videos"
        text = f"the training videos, each by heads trained without its fold ({max(folds) + 1} folds of {by})"
        return np.array(folds), text
    folds_N = np.array([0 if item.split == held_out else -1 for item in items])
    if not (folds_N == 0).any() or not (folds_N == -1).any():
        raise DataError(f"no video of {held_out} or train can be decoded; nothing to compare on")
    return folds_N, text


def _describe_weights(model: ModelConfig) -> str:
    if model.weights is not None:
        return Path(model.weights).name
    if model.pretrained == "motion":
        return "generated videos (model.pretrained=motion)"
    return "published" if model.pretrained else "random"


def _save_best(
    run: Path,
    config: Config,
    comparison: Comparison,
    trials: HeadTrials,
    model: VideoClassifier,
    items: Sequence[VideoItem],
) -> None:
    """Write a run directory with the best head, trained on all videos except test videos."""
    best = comparison.best
    chosen = [index for index, item in enumerate(trials.items) if item.split != "test"]
    trained = trials.train(best, "ordered", torch.tensor(chosen))
    device = next(trained.model.parameters()).device
    trained.model.absorb_standardisation(trained.mean_F.to(device), trained.std_F.to(device))
    config = config.model_copy(update={"model": config.model.model_copy(update={"head": best})})
    backbone = {f"backbone.{name}": value for name, value in model.backbone.state_dict().items()}
    score = next(score for score in comparison.heads if score.head == best)
    learnt = [replace(trials.items[index], split="train") for index in chosen]
    save_checkpoint(
        run / MODEL_FILE,
        Checkpoint(
            backbone | dict(trained.model.state_dict()),
            config,
            trials.class_names,
            {"compare_top1": score.ordered},
            fingerprint(learnt),
        ),
    )
    write_text(run / CONFIG_FILE, config_to_yaml(config))
    write_text(run / SPLITS_FILE, manifest_text(with_digests(items)))
    write_text(run / COMPARISON_FILE, json.dumps(comparison.to_dict(), indent=1) + "\n")
