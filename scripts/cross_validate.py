"""Compare settings on the training videos alone: whole groups held out in turn, never the test split.

    python scripts/cross_validate.py DATA --config small-real --set train.ema=0.98 [--folds 3] [--seed 0]

The groups of the training split are dealt to the folds, the largest first to the fold that is
smallest; each fold is then predicted by a model that was trained on the others. One line a fold
goes to stderr. One JSON object goes to stdout: the settings given, every fold's top-1, and the
scores of all videos together, each predicted once by a model that never saw its recording.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import LAST_FILE
from vidcli.config import Config, load_config
from vidcli.data.check import check_videos
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.evaluate import evaluate
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.memory import keep_freed_memory
from vidcli.train.events import Notice
from vidcli.train.trainer import Trainer


def deal_groups(items: list[VideoItem], num_folds: int) -> dict[str | None, int]:
    """Return the fold of every group: the largest groups first, each to the smallest fold so far."""
    sizes = Counter(item.group for item in items)
    held = [0] * num_folds
    fold_of = {}
    for group, size in sorted(sizes.items(), key=lambda entry: (-entry[1], str(entry[0]))):
        fold = held.index(min(held))
        fold_of[group] = fold
        held[fold] += size
    return fold_of


def predict_fold(
    config: Config, items: list[VideoItem], held_out: list[VideoItem], source: FrameSource
) -> list[Prediction]:
    """Train on what is not held out, in a directory that is thrown away, and predict the rest."""
    train_items = [replace(item, split="train") for item in items if item not in set(held_out)]
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as run:
        trainer = Trainer(config, train_items, source, Path(run), cpu, tell)
        trainer.train()
        saved = load_checkpoint(Path(run) / LAST_FILE)
    predictor = Predictor(saved.build(), config, saved.class_names, cpu, source)
    return list(predictor.predict_many(held_out))


def tell(event: object) -> None:
    """Print what a trainer notes; its progress is of no interest here."""
    if isinstance(event, Notice):
        print(event.text, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line (`sys.argv` without `arguments`), run every fold, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", default="small-real")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    keep_freed_memory()
    assignments = [*options.set, f"train.seed={options.seed}", "data.val_fraction=0"]
    config = load_config(options.config, assignments)
    items = [item for item in load_items(options.data) if item.split in ("train", None)]
    checked = check_videos(items, config, lambda done, total: None)
    items = list(checked.usable)
    fold_of = deal_groups(items, options.folds)
    started, rows = os.times(), []
    began = time.monotonic()
    predictions: list[Prediction] = []
    labelled: list[VideoItem] = []
    for fold in range(options.folds):
        held_out = [item for item in items if fold_of[item.group] == fold]
        predicted = predict_fold(config, items, held_out, checked.source)
        predictions += predicted
        labelled += held_out
        scores = evaluate(predicted, [item.label for item in held_out], predicted[0].class_names)
        rows.append(round(scores.top1, 3))
        print(f"fold {fold + 1}: {len(held_out)} videos, top-1 {scores.top1:.3f}", file=sys.stderr)
    scores = evaluate(predictions, [item.label for item in labelled], predictions[0].class_names)
    ended = os.times()
    summary = {
        "config": options.config,
        "set": options.set,
        "seed": options.seed,
        "folds": rows,
        "top1": round(scores.top1, 3),
        "balanced_accuracy": round(scores.balanced_accuracy, 3),
        "macro_f1": round(scores.macro_f1, 3),
        "loss": round(scores.loss, 3) if scores.loss is not None else None,
        "recall": {score.label: round(score.recall or 0, 3) for score in scores.per_class},
        "cpu_seconds": round(ended.user - started.user),
        "wall_seconds": round(time.monotonic() - began),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
