"""Pictures and pages of results. Nothing here computes a result."""

from __future__ import annotations

from vidcli.report.confusion_plot import draw_confusion
from vidcli.report.curves import draw_curves
from vidcli.report.ethogram_plot import draw_ethogram
from vidcli.report.reliability_plot import draw_reliability
from vidcli.report.strips import draw_samples
from vidcli.report.timeline_plot import draw_timeline

__all__ = [
    "draw_confusion",
    "draw_curves",
    "draw_ethogram",
    "draw_reliability",
    "draw_samples",
    "draw_timeline",
]
