"""How `vidcli demo` ends."""

from __future__ import annotations

from vidcli.console.predictions import predictions_table
from vidcli.console.terminal import Terminal
from vidcli.console.text import plain
from vidcli.demo import DemoResult


def print_demo_end(terminal: Terminal, result: DemoResult) -> None:
    """Show predictions of the demo, what time was worth, and how to do the same on one's own folder."""
    out = terminal.out
    out.print(predictions_table(result.examples, 2, out.width))
    out.print(
        f"the same videos with their frames shuffled: top-1 {result.shuffled_scores.top1:.3f} "
        f"(in order: {result.scores.top1:.3f})",
        soft_wrap=True,
    )
    example = result.examples[0].video
    commands = [
        f"vidcli eval --model {result.run}",
        f"vidcli predict {example} --model {result.run}",
        "",
        "vidcli train FOLDER          # FOLDER/CLASS/video.mp4, one folder a class",
        "vidcli eval                  # the newest run, on its own test videos",
        "vidcli predict VIDEO...",
    ]
    out.print("\nwhat was done here, again; and the same on a folder of your own:")
    for command in commands:
        out.print(plain(f"  {command}", "bold"), soft_wrap=True)
