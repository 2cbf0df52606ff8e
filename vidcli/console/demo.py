"""How `vidcli demo` ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidcli.console.predictions import predictions_table
from vidcli.console.terminal import Terminal
from vidcli.console.text import plain
from vidcli.predict import Prediction


def print_demo_end(
    terminal: Terminal, run: Path, examples: Sequence[Prediction], top1: float, shuffled_top1: float
) -> None:
    """Show predictions of the demo, what time was worth, and how to do the same on one's own folder.

    Args:
        terminal: to print on.
        run: directory of the trained model.
        examples: an answer to one test video of each class.
        top1: share of the test videos that were answered right, 0 to 1.
        shuffled_top1: the same with the frames of each video in random order.
    """
    out = terminal.out
    out.print(predictions_table(examples, 2, out.width))
    out.print(
        f"the same videos with their frames shuffled: top-1 {shuffled_top1:.3f} (in order: {top1:.3f})",
        soft_wrap=True,
    )
    commands = [
        f"vidcli eval --model {run}",
        f"vidcli predict {examples[0].video} --model {run}",
        "",
        "vidcli train FOLDER          # FOLDER/CLASS/video.mp4, one folder a class",
        "vidcli eval                  # the newest run, on its own test videos",
        "vidcli predict VIDEO...",
    ]
    out.print("\nwhat was done here, again; and the same on a folder of your own:")
    for command in commands:
        out.print(plain(f"  {command}", "bold"), soft_wrap=True)
