"""What `vidcli export` shows."""

from __future__ import annotations

from vidcli.console.terminal import Terminal
from vidcli.console.text import count_noun, plain
from vidcli.export import ExportReport


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
        if report.validated_on != "val":
            terminal.warn("there is no validation split: accuracy was compared on training videos")
    for layer in report.float_layers:
        out.print(plain(f"left in float      {layer}"), soft_wrap=True)
    if report.form == "torch-export":
        terminal.say("this format is for other programs; vidcli itself runs --format onnx and openvino")
    else:
        terminal.say(f"next: vidcli eval --model {report.folder}")
    out.print(plain(str(report.folder)), soft_wrap=True)
