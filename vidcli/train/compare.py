"""Which head, and does time matter: every head on the features of one frozen backbone.

Shape suffixes: N videos, V views, T frames, F features a frame, B batch, K classes, H heads.

Features are computed once, so that a head trains in seconds. Each head is trained and scored twice:
on frames in order, and on frames shuffled, in training as in scoring. Where the second is as good,
the order of the frames told the head nothing.

Who is scored: the val split if the data brings one, otherwise every training video by heads that
were trained without its fold. The test split is left alone unless it is asked for.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidcli.artifacts.claim import RunClaim
from vidcli.artifacts.model_file import Checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import CONFIG_FILE, MODEL_FILE, SPLITS_FILE
from vidcli.config import Config, ModelConfig, config_to_yaml
from vidcli.data.features import FrozenBackbone, VideoFeatures
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import fingerprint, manifest_text, read_data
from vidcli.data.relocation import with_digests
from vidcli.data.splits import assign_folds, assign_splits, of_split
from vidcli.errors import ConfigError, DataError
from vidcli.evaluate import bootstrap_interval
from vidcli.models import (
    FeatureClassifier,
    VideoClassifier,
    build_model,
    head_names,
    heads_that_see_order,
    settle_clip,
    wake_residual_branches,
)
from vidcli.runtime.files import write_text
from vidcli.train.events import Notice
from vidcli.train.run import run_name
from vidcli.train.schedule import build_optimizer, learning_rate

NUM_FOLDS = 5
COMPARISON_FILE = "compare.json"
_NUM_DRAWS = 2000
_TAIL = 0.025
_MIN_STD = 1e-6

Order = Literal["ordered", "shuffled"]


@dataclass(frozen=True)
class CompareProgress:
    """How far a comparison is: features or trainings of heads done, and of how many."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class HeadScore:
    """One head: share of videos it is right on, with 95% intervals, and seconds to train and score."""

    head: str
    sees_order: bool
    ordered: float
    ordered_interval: tuple[float, float]
    shuffled: float
    shuffled_interval: tuple[float, float]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """All heads on the features of one backbone.

    Attributes:
        weights: where the backbone's come from; "random" if from nowhere.
        scored_on: which videos, in words.
        largest_class: share of the most frequent class: what guessing it always would reach.
        num_videos: how many were scored.
        num_videos_read: how many have features: those trained on as well.
        num_failed: how many could not be decoded and are in no number.
        num_cached: videos whose features were there already, of all that were read.
        feature_seconds: time to read or compute the features.
        ordered, shuffled: mean accuracy of the heads that can tell the two apart.
        difference_interval: 95% bootstrap of their difference, over groups, or videos without.
        best: the head that is best on frames in order.
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
        """How much better frames in order are than shuffled ones."""
        return self.ordered - self.shuffled

    @property
    def time_matters(self) -> bool:
        """Whether order helps by more than chance explains."""
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
        split: `auto` scores val or held-out folds of train, `test` the test split.
        out: run directory for the best head, trained on all but test; None keeps nothing.
        device: where to compute.
        on_event: told how far it is, and what was left out.

    Raises:
        ConfigError: the backbone is a whole video network, which has no features of frames, or videos
            have several classes.
        DataError: the data cannot be trained on, or has no test split to score.
    """
    if config.data.multi_label:
        raise ConfigError("--compare: scores accuracy, which data.multi_label=true has none of")
    config = settle_clip(config)
    with RunClaim() as claim:
        run = claim.begin(out, run_name(config)) if out is not None else None
        model = _build_frozen(config, device)
        items = _read_items(config, data, split, on_event)
        return _compare(config, items, split, run, model, device, on_event)


def _build_frozen(config: Config, device: torch.device) -> VideoClassifier:
    """Return the model whose backbone makes the features, as the settings or chance give it."""
    torch.manual_seed(config.train.seed)
    # One and the same head, so that the draws of a random backbone do not depend on the setting.
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
    bench = _HeadBench(config, found.videos, device)
    folds, scored_on = _make_folds(bench.items, config, split)
    heads, correct = _score_heads(bench, folds, on_event)
    scored_N = np.flatnonzero(folds >= 0)
    seeing = head_names() if model.looks_aside else heads_that_see_order()
    ordered_N = np.mean([correct[head, "ordered"][scored_N] for head in seeing], axis=0)
    shuffled_N = np.mean([correct[head, "shuffled"][scored_N] for head in seeing], axis=0)
    scored_items = [bench.items[index] for index in scored_N]
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
        difference_interval=_interval_over_units(ordered_N - shuffled_N, scored_items, config.train.seed),
        best=max(heads, key=lambda score: score.ordered).head,
    )
    if run is not None:
        _save_best(run, comparison, bench, model, items)
    return comparison


def _read_items(
    config: Config, data: Path, split: str, on_event: Callable[[CompareProgress | Notice], None]
) -> list[VideoItem]:
    """Return the videos with their splits; without the test ones unless they are asked for."""
    listing = read_data(data, settings=config.data)
    for text in listing.notes:
        on_event(Notice(text))
    # Validation is by folds where none is given, which scores every video and not a few.
    items = assign_splits(listing.items, config.data.model_copy(update={"val_fraction": 0.0}))
    if len(class_names_of(of_split(items, "train"))) < 2:
        raise DataError(f"{data}: one class to train on; a classifier needs two or more")
    if split == "test":
        if not of_split(items, "test"):
            raise DataError(f"{data}: has no test split to score; leave --split away")
        return items
    return [item for item in items if item.split != "test"]


def _make_folds(items: Sequence[VideoItem], config: Config, split: str) -> tuple[npt.NDArray[np.int64], str]:
    """Return the fold that holds each video out, -1 for one only trained on; and that in words."""
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


class _HeadBench:
    """The features of all videos in both orders, and how a head is trained on some of them."""

    def __init__(self, config: Config, videos: Sequence[VideoFeatures], device: torch.device) -> None:
        self.config, self.device = config, device
        self.items = [video.item for video in videos]
        self.class_names = class_names_of(self.items)
        label_of = {name: label for label, name in enumerate(self.class_names)}
        self.labels_N = torch.tensor([label_of[item.label] for item in self.items], device=device)
        self.features_NVTF: dict[Order, Tensor] = {
            "ordered": torch.from_numpy(np.stack([video.ordered_VTF for video in videos])),
            "shuffled": torch.from_numpy(np.stack([video.shuffled_VTF for video in videos])),
        }

    def train(self, head: str, order: Order, chosen_N: Tensor) -> tuple[FeatureClassifier, Tensor, Tensor]:
        """Return a head trained on the chosen videos, and the standardisation of its input."""
        settings = self.config.train
        features_NVTF = self.features_NVTF[order][chosen_N]
        flat = features_NVTF.flatten(0, 2).double()
        mean_F, std_F = flat.mean(0).float(), flat.std(0).float().clamp_min(_MIN_STD)
        clips_BTF = ((features_NVTF - mean_F) / std_F).flatten(0, 1).to(self.device)
        labels_B = self.labels_N[chosen_N].repeat_interleave(features_NVTF.shape[1])
        torch.manual_seed(settings.seed)
        model = FeatureClassifier(
            clips_BTF.shape[-1],
            len(self.class_names),
            self.config.model.model_copy(update={"head": head}),
        ).to(self.device)
        optimizer = build_optimizer(model, settings)
        steps = -(-len(clips_BTF) // settings.batch_size)
        model.train()
        for epoch in range(settings.epochs):
            shuffled_B = torch.from_numpy(
                np.random.default_rng([settings.seed, epoch]).permutation(len(clips_BTF))
            )
            for step, batch_B in enumerate(torch.split(shuffled_B, settings.batch_size)):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, epoch * steps + step, steps)
                loss = functional.cross_entropy(
                    model(clips_BTF[batch_B]), labels_B[batch_B], label_smoothing=settings.label_smoothing
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if settings.grad_clip:
                    nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
                optimizer.step()
        return model.eval(), mean_F, std_F

    @torch.inference_mode()
    def score(
        self, trained: tuple[FeatureClassifier, Tensor, Tensor], order: Order, chosen_N: Tensor
    ) -> npt.NDArray[np.bool_]:
        """Return which of the chosen videos the head is right on, its probabilities averaged over views."""
        model, mean_F, std_F = trained
        right: list[Tensor] = []
        for some_N in torch.split(chosen_N, 256):
            features_NVTF = (self.features_NVTF[order][some_N] - mean_F) / std_F
            logits_NVK = model(features_NVTF.flatten(0, 1).to(self.device)).unflatten(0, (len(some_N), -1))
            right.append(logits_NVK.softmax(-1).mean(1).argmax(-1) == self.labels_N[some_N])
        correct_N: npt.NDArray[np.bool_] = torch.cat(right).cpu().numpy()
        return correct_N


def _score_heads(
    bench: _HeadBench, folds_N: npt.NDArray[np.int64], on_event: Callable[[CompareProgress | Notice], None]
) -> tuple[list[HeadScore], dict[tuple[str, Order], npt.NDArray[np.bool_]]]:
    """Return a row a head, and which videos each is right on in each order (False where not scored)."""
    orders: tuple[Order, ...] = ("ordered", "shuffled")
    num_folds = int(folds_N.max()) + 1
    total, done = len(head_names()) * len(orders) * num_folds, 0
    scored_N = folds_N >= 0
    scores = []
    correct: dict[tuple[str, Order], npt.NDArray[np.bool_]] = {}
    for head in head_names():
        started = time.monotonic()
        for order in orders:
            correct[head, order] = np.zeros(len(folds_N), dtype=bool)
            for fold in range(num_folds):
                held_out_N = torch.from_numpy(np.flatnonzero(folds_N == fold))
                trained = bench.train(head, order, torch.from_numpy(np.flatnonzero(folds_N != fold)))
                correct[head, order][held_out_N.numpy()] = bench.score(trained, order, held_out_N)
                done += 1
                on_event(CompareProgress("heads", done, total))
        ordered_N, shuffled_N = (correct[head, order][scored_N] for order in orders)
        scores.append(
            HeadScore(
                head,
                head in heads_that_see_order(),
                float(ordered_N.mean()),
                bootstrap_interval(ordered_N),
                float(shuffled_N.mean()),
                bootstrap_interval(shuffled_N),
                time.monotonic() - started,
            )
        )
    return scores, correct


def _interval_over_units(
    difference_N: npt.NDArray[np.float64], items: Sequence[VideoItem], seed: int
) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean over videos, whole groups drawn at a time.

    Videos of one group are right and wrong together; drawn one by one they would claim to know more
    than they do.
    """
    names = [item.group or str(item.path) for item in items]
    if len(set(names)) < 2:
        names = [str(index) for index in range(len(items))]
    _, unit_N = np.unique(names, return_inverse=True)
    sums_U = np.bincount(unit_N, weights=difference_N)
    counts_U = np.bincount(unit_N)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_NUM_DRAWS):
        drawn_U = rng.integers(len(sums_U), size=len(sums_U))
        draws.append(sums_U[drawn_U].sum() / counts_U[drawn_U].sum())
    low, high = np.quantile(draws, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _describe_weights(model: ModelConfig) -> str:
    if model.weights is not None:
        return Path(model.weights).name
    if model.pretrained == "motion":
        return "generated videos (model.pretrained=motion)"
    return "published" if model.pretrained else "random"


def _save_best(
    run: Path, comparison: Comparison, bench: _HeadBench, model: VideoClassifier, items: Sequence[VideoItem]
) -> None:
    """Write a run directory with the best head, trained on every video that is no test video."""
    best = comparison.best
    chosen = [index for index, item in enumerate(bench.items) if item.split != "test"]
    trained, mean_F, std_F = bench.train(best, "ordered", torch.tensor(chosen))
    trained.absorb_standardisation(mean_F.to(bench.device), std_F.to(bench.device))
    config = bench.config.model_copy(update={"model": bench.config.model.model_copy(update={"head": best})})
    backbone = {f"backbone.{name}": value for name, value in model.backbone.state_dict().items()}
    score = next(score for score in comparison.heads if score.head == best)
    learnt = [replace(bench.items[index], split="train") for index in chosen]
    save_checkpoint(
        run / MODEL_FILE,
        Checkpoint(
            backbone | dict(trained.state_dict()),
            config,
            bench.class_names,
            {"compare_top1": score.ordered},
            fingerprint(learnt),
        ),
    )
    write_text(run / CONFIG_FILE, config_to_yaml(config))
    write_text(run / SPLITS_FILE, manifest_text(with_digests(items)))
    write_text(run / COMPARISON_FILE, json.dumps(comparison.to_dict(), indent=1) + "\n")
