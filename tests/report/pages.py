"""Reports of any number of classes, with names that try what a page can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from vidcli.evaluate import Details, Example, Slice, bootstrap_interval, evaluate
from vidcli.predict import Prediction
from vidcli.report.page import RunReport, render_report

LONG = "a very long class name without any end " * 2
CLASS_NAMES = {
    "two": ("<script>alert(1)</script>", "up"),
    "scripts": ("行走", "läuft", "בריצה", "يجري", "Бежит", "n" * 60, LONG[:60]),
    "thirty": tuple(f"{LONG[:50]}{number}" for number in range(30)),
    "two hundred": tuple(f"class {number}" for number in range(200)),
}


def evaluation_of(names: tuple[str, ...]) -> dict[str, Any]:
    """Return what `vidcli eval --json` prints of random answers, with slices and examples."""
    rng = np.random.default_rng(0)
    labels = [names[at % len(names)] for at in range(2 * len(names) + 20)]
    predictions = [Prediction("v", names, rng.dirichlet(np.full(len(names), 0.3))) for _ in labels]
    scores = evaluate(predictions, labels, names)
    video = "/data/" + "v" * 120 + "/" + "a folder/" * 9 + "video.mp4"
    example = Example(video, 1.5, 9.25, names[0], names[1], 0.9, 0.05, 0.6)
    slices = tuple(
        Slice(f"{'group' * 12} {number}", size, 0, 0.5, bootstrap_interval(np.arange(size) % 2 == 0))
        for number, size in enumerate((8, 9, 2, 3))
    )
    details = Details(False, slices, slices, slices[:1], (example,) * 3, (example,) * 2)
    return scores.to_dict() | details.to_dict() | {"split": "test", "data": None}


def page_of(kind: str, **changes: Any) -> str:
    """Return the page of a run that is like no other."""
    names = CLASS_NAMES[kind]
    scores = evaluation_of(names)
    epochs = [
        {
            "epoch": n,
            "lr": 1e-6 * n,
            "train_loss": 3 / n,
            "val_loss": 4 / n,
            "train_accuracy": 0.5,
            "val_top1": 0.4,
        }
        for n in range(1, 31)
    ]
    frame = np.random.default_rng(0).integers(0, 256, (112, 200, 3), dtype=np.uint8)
    shown = {(row["video"], row["start_seconds"]): [frame] * 6 for row in scores["worst"]}
    given: dict[str, Any] = {
        "run": "2026-11-27_" + "run" * 30,
        "command": "vidcli train " + "/a/very/long/path" * 12,
        "settings": [("train.lr", "0.1", True), ("model." + "x" * 40, "y" * 90, True), ("a.b", "c", False)],
        "num_parameters": 12_345_678,
        "num_videos": {name: {"train": 3, "val": 1, "test": 2} for name in names},
        "num_all": {"train": 3 * len(names)},
        "num_groups": {"train": 3},
        "unusable": [("/data/" + "u" * 150 + ".mp4", "is " + "damaged " * 30)],
        "epochs": epochs,
        "best_epoch": 20,
        "split": "test",
        "evaluation": scores,
        "frames": shown,
        "environment": {"torch": "2.9", "processor": "a processor " * 12},
        "trained": "2026-11-27 09:10 UTC",
        "evaluated": "2026-11-27 09:12 UTC",
        "unfinished": "30 of 100 epochs are done. Go on with: vidcli train --resume " + "/long" * 40,
    }
    return render_report(RunReport(**(given | changes)))
