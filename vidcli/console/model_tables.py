"""What `vidcli explain` and `vidcli export` show of a model."""

from __future__ import annotations

import math

import numpy as np
from rich.table import Table
from rich.text import Text

from vidcli.console.terminal import Terminal
from vidcli.console.text import count_noun, plain
from vidcli.explain import Explanation
from vidcli.export import ExportReport

_BAR_WIDTH = 30


def print_explanation(terminal: Terminal, explanation: Explanation) -> None:
    """Show the explained class, and the weight of each frame as a bar."""
    out = terminal.out
    told = Text("why ") + plain(explanation.class_name, "bold") + f" ({explanation.probability:.3f})"
    if explanation.class_name != explanation.predicted:
        told += Text(", where the model says ") + plain(explanation.predicted, "bold")
    out.print(plain(explanation.name) + Text(": ") + told, soft_wrap=True)
    table = Table("seconds", "weight", f"frames by {explanation.frame_method}")
    for column in table.columns[:2]:
        column.justify = "right"
    largest = max(float(np.abs(explanation.weights_T).max()), 1e-12)
    # Where no single frame matters much, all weights are small: more decimals keep them apart.
    decimals = max(3, 1 - math.floor(math.log10(largest)))
    for seconds, weight in zip(explanation.seconds_T, explanation.weights_T, strict=True):
        block = "█" if weight >= 0 else "▒"
        bar = block * round(_BAR_WIDTH * abs(float(weight)) / largest)
        style = "green" if weight >= 0 else "red"
        table.add_row(f"{seconds:.2f}", f"{weight:+.{decimals}f}", Text(bar, style=style))
    out.print(table)
    if (explanation.weights_T < 0).any():
        out.print("█ speaks for the class, ▒ against it")
    if explanation.full_heat is None:
        out.print("the map of places is flat: no place stands out, and the pictures show no heat")


def print_export(terminal: Terminal, report: ExportReport) -> None:
    """Show how an exported model compares with its original, and how to use it."""
    out = terminal.out
    out.print(f"format             {report.form}, {report.precision}, {report.num_bytes / 2**20:.1f} MiB")
    videos = count_noun(report.num_videos, "video")
    out.print(f"largest difference {report.max_difference:.2g} in a logit, on {videos}")
    out.print(f"same best class    {report.agreement:.3f} of them")
    if report.accuracy is not None and report.accuracy_before is not None:
        where = f"{count_noun(report.num_validated, 'video')} of {report.validated_on}"
        out.print(
            f"accuracy           {report.accuracy:.3f}, before {report.accuracy_before:.3f}, on {where}"
        )
        if report.validated_on == "train":
            terminal.warn("there is no validation split: accuracy was compared on training videos")
    for layer in report.float_layers:
        out.print(plain(f"left in float      {layer}"), soft_wrap=True)
    if report.form == "torch-export":
        terminal.say("this format is for other programs; vidcli itself runs --format onnx and openvino")
    else:
        terminal.say(f"next: vidcli eval --model {report.folder}")
    out.print(plain(str(report.folder)), soft_wrap=True)
