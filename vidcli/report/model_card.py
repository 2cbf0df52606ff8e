"""The model card of a run: `README.md` in the format of the Hugging Face hub.

It names no paths and no videos, so that it can be published with the model file. Its licence is left to the
person who publishes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

import vidcli
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import CARD_FILE, MODEL_FILE, SPLITS_FILE, epochs_of_unfinished, read_epochs
from vidcli.config import ModelConfig, config_to_yaml
from vidcli.data.items import SPLITS, VideoItem, labels_of
from vidcli.data.manifest import load_items
from vidcli.evaluate.details import MIN_VIDEOS
from vidcli.names import visible
from vidcli.report.gather import count_groups, describe_expectation, read_evaluation, read_unusable
from vidcli.runtime.outputs import OutputFolder

_SCORES = {
    "top1": ("top-1 accuracy", "accuracy"),
    "balanced_accuracy": ("balanced accuracy", "balanced_accuracy"),
    "macro_f1": ("macro F1", "f1"),
    "exact_match": ("exact match", "exact_match"),
    "mean_average_precision": ("mean average precision", "mean_average_precision"),
}
"""What a score is called here and on the hub, by its name in `eval.json`."""

_FEW_VIDEOS = 20
_TEMPLATE = "model_card.md"
_TASK = "video-classification"


@dataclass(frozen=True)
class Card:
    """What the card says.

    Large because it is the content of one page, each attribute a part of it.

    Attributes:
        title: name of the run.
        version: of vidcli.
        is_multi_label: a video may have several classes.
        class_names: the classes.
        splits: name, number of videos and number of groups of each.
        classes: name and number of videos in each split of every class.
        has_groups: any video names a group.
        num_unusable: videos that could not be decoded.
        fingerprint: of the data.
        expectation: a sentence on what cross-validation lets expect; empty where none was made.
        scores: split, name, value and interval of each score that was measured.
        verdicts: one sentence for each split that was measured.
        limits: sentences on what the model is not good for.
        num_parameters: of the model.
        trained: how long it was trained, in words.
        settings: all settings as YAML.
    """

    title: str
    version: str
    is_multi_label: bool
    class_names: Sequence[str]
    splits: Sequence[Mapping[str, Any]]
    classes: Sequence[Mapping[str, Any]]
    has_groups: bool
    num_unusable: int
    fingerprint: str
    expectation: str
    scores: Sequence[Mapping[str, Any]]
    verdicts: Sequence[str]
    limits: Sequence[str]
    num_parameters: int
    trained: str
    settings: str


def write_card(run: Path) -> str | None:
    """Write the card of a run beside its model, unless something else is called so there.

    Args:
        run: its directory.

    Returns:
        One sentence on why the card was not written; None where it was.
    """
    try:
        text = render_card(run)
        if _is_written(run / CARD_FILE, text):
            return None
        with OutputFolder(run, "card", (CARD_FILE,), option="model card in", is_shared=True) as folder:
            folder.write_text(CARD_FILE, text)
    except Exception as error:  # a run that is over must not fail for a page about it
        return f"no model card was written: {error}"
    return None


def _is_written(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def render_card(run: Path) -> str:
    """Return the card of a run as Markdown with a front matter of YAML.

    Raises:
        CheckpointError: the run holds no model, or a file of it is damaged.
        DataError: its table of videos is damaged.
    """
    checkpoint = load_checkpoint(run / MODEL_FILE)
    items = load_items(run / SPLITS_FILE, missing_ok=True)
    found = {split: read_evaluation(run / MODEL_FILE, split) for split in reversed(SPLITS)}
    evaluations = {split: told for split, told in found.items() if told is not None}
    card = _gather(run, checkpoint, items, evaluations)
    front_matter = yaml.safe_dump(_front_matter(card, checkpoint), sort_keys=False, allow_unicode=True)
    return _template().render(card=card, front_matter=front_matter)


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    """Return the template of a card, which takes longer to compile than a card takes to write."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: names go through `md`
    )
    environment.filters["md"] = escape_markdown
    return environment.get_template(_TEMPLATE)


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in one line and without HTML."""
    shown = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", visible(text))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _gather(
    run: Path,
    checkpoint: Checkpoint,
    items: Sequence[VideoItem],
    evaluations: Mapping[str, Mapping[str, Any]],
) -> Card:
    config, names = checkpoint.config, list(checkpoint.class_names)
    num_groups = count_groups(items)
    there = [split for split in SPLITS if any(item.split == split for item in items)]
    multi_label = config.data.multi_label
    counts = Counter((name, item.split) for item in items for name in labels_of(item.label, multi_label))
    epochs = read_epochs(run)
    unfinished = epochs_of_unfinished(run, config.train, epochs)
    return Card(
        title=run.resolve().name,
        version=vidcli.__version__,
        is_multi_label=multi_label,
        class_names=names,
        splits=[
            {
                "name": split,
                "num_videos": sum(item.split == split for item in items),
                "num_groups": num_groups.get(split),
            }
            for split in there
        ],
        classes=[{"name": name, "counts": [counts[name, split] for split in there]} for name in names],
        has_groups=bool(num_groups),
        num_unusable=len(read_unusable(run)),
        fingerprint=checkpoint.fingerprint,
        expectation=describe_expectation(run),
        scores=[row for split, told in evaluations.items() for row in _scores_of(split, told)],
        verdicts=[f"{split} videos: {told['verdict']}" for split, told in evaluations.items()],
        limits=_limits(checkpoint, counts, evaluations, bool(num_groups), unfinished),
        num_parameters=sum(weights.numel() for weights in checkpoint.weights.values()),
        trained=_describe_training(checkpoint, len(epochs)),
        settings=config_to_yaml(config),
    )


def _describe_training(checkpoint: Checkpoint, num_epochs: int) -> str:
    epoch = checkpoint.metrics.get("epoch")
    frozen = " and ".join(_frozen_networks(checkpoint.config.model))
    on_them = f", on descriptors of {frozen}" if frozen else ""
    if not num_epochs or epoch is None:
        return f"fitted at once, without epochs{on_them}"
    return f"the model of epoch {epoch} of {num_epochs}{on_them}"


def _frozen_networks(model: ModelConfig) -> list[str]:
    """Return the pretrained networks that streams read, and what these know."""
    streams = _streams(model) if model.pretrained is True else set()
    of_frames = [f"{model.backbone} (ImageNet)"] if streams - {"action"} else []
    return of_frames + (["I3D (Kinetics-400)"] if "action" in streams else [])


def _streams(model: ModelConfig) -> set[str]:
    return {stream for of_panel in model.streams_of_each_panel for stream in of_panel}


def _scores_of(split: str, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for key, (name, metric) in _SCORES.items():
        if told.get(key) is None:
            continue
        ends = told.get(f"{key}_interval")
        interval = "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
        rows.append(
            {"split": split, "name": name, "metric": metric, "value": told[key], "interval": interval}
        )
    return rows


def _limits(
    checkpoint: Checkpoint,
    counts: Mapping[tuple[str, str | None], int],
    evaluations: Mapping[str, Mapping[str, Any]],
    has_groups: bool,
    unfinished: int | None,
) -> list[str]:
    """Return what a user of the model should know, from what was measured and counted."""
    limits = []
    if not checkpoint.config.data.multi_label:
        limits.append("It answers one of its classes for every video, also for one that shows none of them.")
    if unfinished is not None:
        limits.append(f"The run did not come to its end: it was stopped after {unfinished} epochs.")
    rare = [name for name in checkpoint.class_names if counts.get((name, "train"), 0) < _FEW_VIDEOS]
    if rare:
        limits.append(f"Fewer than {_FEW_VIDEOS} training videos: {', '.join(rare)}.")
    if not has_groups:
        limits.append(
            "No groups were named: if videos of one recording or person are in several splits, scores are "
            "too good."
        )
    for split, told in evaluations.items():
        slices = [row for row in told.get("by_group", ()) if row["num_videos"] >= MIN_VIDEOS]
        if len(slices) > 1:
            key = "exact_match" if "exact_match" in slices[0] else "top1"
            worst = min(slices, key=lambda row: row[key])
            limits.append(
                f"In its worst group of the {split} split {worst[key]:.3f} of {worst['num_videos']} videos "
                "are right."
            )
        unsure = [
            row["label"] for row in told["per_class"] if row["recall"] is not None and row["recall"] < 0.5
        ]
        if unsure:
            limits.append(
                f"Fewer than half of the {split} videos of these classes are found: {', '.join(unsure)}."
            )
    if checkpoint.calibration.num_videos == 0:
        limits.append("Its probabilities are not calibrated: there were no validation videos.")
    return limits


def _front_matter(card: Card, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the metadata that the hub reads; see https://huggingface.co/docs/hub/model-cards."""
    model = checkpoint.config.model
    known = {"library_name": "vidcli", "pipeline_tag": _TASK}
    parts = sorted(_streams(model)) or [model.head]
    about: dict[str, Any] = {**known, "tags": ["vidcli", _TASK, model.backbone, *parts]}
    if not card.scores:
        return about
    results = []
    for split in dict.fromkeys(row["split"] for row in card.scores):
        dataset = {"name": f"{split} videos of this run", "type": "private", "split": split}
        metrics = [
            {"type": row["metric"], "name": row["name"], "value": round(row["value"], 4)}
            for row in card.scores
            if row["split"] == split
        ]
        results.append({"task": {"type": _TASK}, "dataset": dataset, "metrics": metrics})
    metrics = list(dict.fromkeys(row["metric"] for row in card.scores))
    return {**about, "metrics": metrics, "model-index": [{"name": visible(card.title), "results": results}]}
