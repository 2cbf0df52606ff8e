"""Pictures of results. Nothing here computes a result."""

from __future__ import annotations

from vidcli.report.confusion import draw_confusion
from vidcli.report.curves import draw_curves
from vidcli.report.samples import draw_samples

__all__ = ["draw_confusion", "draw_curves", "draw_samples"]
