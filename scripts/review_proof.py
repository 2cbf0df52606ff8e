"""Measure whether the queue of `vidcli review` helps, with the true labels in the place of a person.

    python scripts/review_proof.py DATA... [--step 4] [--seeds 3] [--plot docs/review.png]

DATA is a manifest with splits. Labels are given one by one to videos of the training split, at random or in
the order of the queue, which is made anew after each label as on the page; after each step the classifier of
the page answers the test videos, which never take part. Random orders are drawn five times as often. Then a
tenth of all labels is flipped at random, and the suspicious list is searched for them. One JSON object a data
set goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from vidcli.arrays import Bool, Float64
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.review.knowledge import Kernels, Opinion, describe_clips, learn
from vidcli.review.queue import rank_suspicious, rank_unlabelled

_FLIPPED, _LOOKED_AT = 0.1, 0.15
_RANDOM_ORDERS = 5
"""Random orders for each order of the queue, since they differ more."""


class Oracle:
    """The true labels of a data set, given one after the other."""

    def __init__(self, items: Sequence[VideoItem], kernels: Kernels) -> None:
        """Keep a data set and what the frozen network says of it."""
        self.items, self.kernels = items, kernels
        self.truth = [item.label for item in items]
        self.is_test_N: Bool = np.array([item.split == "test" for item in items])

    def curve(self, by_queue: bool, step: int, seed: int) -> list[tuple[int, float]]:
        """Return numbers of labels, and the accuracy on test videos with so many.

        Args:
            by_queue: whether the queue chooses, or chance.
            step: labels between two measurements.
            seed: of the first label, and of chance.
        """
        order = np.random.default_rng(seed).permutation(np.flatnonzero(~self.is_test_N))
        labels: list[str | None] = [None] * len(self.items)
        opinion: Opinion | None = None
        points: list[tuple[int, float]] = []
        for count, chance in enumerate(order, start=1):
            position = self._best(opinion, labels) if by_queue and count > 1 else chance
            labels[position] = self.truth[position]
            is_measured = count % step == 0 or count == len(order)
            if by_queue or is_measured:
                opinion = learn(self.kernels, self.items, labels)
            if is_measured:
                points.append((count, self._accuracy(opinion, self.truth[position])))
        return points

    def _best(self, opinion: Opinion | None, labels: Sequence[str | None]) -> int:
        is_open_N = ~self.is_test_N & np.array([label is None for label in labels])
        return rank_unlabelled(self.kernels, opinion, labels, is_open_N, 1)[0].position

    def _accuracy(self, opinion: Opinion | None, latest: str) -> float:
        """Return the share of right answers; where one class alone is known, it is the answer to all."""
        guesses = np.array([latest])
        if opinion is not None:
            highest_T = opinion.probabilities_NK[self.is_test_N].argmax(axis=1)
            guesses = np.array(opinion.class_names)[highest_T]
        return float((guesses == np.array(self.truth)[self.is_test_N]).mean())

    def share_found(self, seed: int) -> float:
        """Return the share of flipped labels that are among the most suspicious."""
        rng, num = np.random.default_rng(seed), len(self.items)
        flipped = set(rng.permutation(num)[: round(_FLIPPED * num)].tolist())
        names = sorted(set(self.truth))
        labels = [
            str(rng.choice([name for name in names if name != label])) if n in flipped else label
            for n, label in enumerate(self.truth)
        ]
        opinion = learn(self.kernels, self.items, labels)
        places = rank_suspicious(opinion, labels, np.ones(num, bool), round(_LOOKED_AT * num))
        return len(flipped & {place.position for place in places}) / len(flipped)


def share_needed(queue: Float64, chance: Float64) -> dict[str, float | None]:
    """Return, for shares of the labels at random, the share by the queue that is as accurate.

    Args:
        queue: numbers of labels and mean accuracies by the queue (2, points).
        chance: the same at random.
    """
    found: dict[str, float | None] = {}
    for share in (0.25, 0.5, 0.75, 1.0):
        at = int(np.abs(chance[0] - share * chance[0, -1]).argmin())
        reached = np.flatnonzero(queue[1] >= chance[1, at] - 1e-9)
        found[f"{share:.0%}"] = float(queue[0, reached[0]] / chance[0, at]) if len(reached) else None
    return found


def measure(data: Path, step: int, seeds: int) -> dict[str, Any]:
    """Return the numbers of one data set."""
    items = load_items(data)
    tell = partial(print, file=sys.stderr)
    kernels = describe_clips(
        items, torch.device("cpu"), tell, lambda done, total: tell(f"\r{done}/{total}", end="")
    )
    oracle = Oracle(items, kernels)
    curves = {
        name: np.mean([oracle.curve(name == "queue", step, seed) for seed in range(drawn)], axis=0).T
        for name, drawn in (("queue", seeds), ("random", _RANDOM_ORDERS * seeds))
    }
    found = [oracle.share_found(seed) for seed in range(seeds)]
    return {
        "data": data.parent.name,
        "curves": {name: curve.round(4).tolist() for name, curve in curves.items()},
        "mean_gain": float((curves["queue"] - curves["random"])[1].mean()),
        "share_needed": share_needed(curves["queue"], curves["random"]),
        "flipped_found": float(np.mean(found)),
        "of_seeds": found,
    }


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the curves of all data sets beside each other."""
    figure = Figure(figsize=(3.4 * len(rows), 2.8), layout="constrained")
    for row, axes in zip(rows, figure.subplots(1, len(rows), squeeze=False)[0], strict=True):
        for (name, (counts, accuracies)), line in zip(row["curves"].items(), ("-", "--"), strict=True):
            axes.plot(counts, accuracies, line, label=name)
        axes.set_title(row["data"])
        axes.set_xlabel("labels")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("accuracy on test videos")
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line (`sys.argv` without `arguments`), measure each data set, print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    for data in options.data:
        rows.append(measure(data, options.step, options.seeds))
        print(json.dumps(rows[-1]), flush=True)
    if options.plot is not None:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
