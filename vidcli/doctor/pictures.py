"""Pictures of the pairs of videos that may be copies: `vidcli check --pictures DIR`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from vidcli.doctor import DataReport, Pair
from vidcli.errors import VideoError
from vidcli.report.strips import Strip, draw_pair
from vidcli.runtime.outputs import OutputFolder
from vidcli.sampling import Seconds
from vidcli.video import decode_frames

MAX_PICTURES = 50
PICTURE_NAMES = tuple(f"pair-{number:02d}.png" for number in range(1, MAX_PICTURES + 1))
_NUM_MOMENTS = 5
_SIDE = 256


def draw_pairs(
    folder: OutputFolder, report: DataReport, say: Callable[[str], None], warn: Callable[[str], None]
) -> DataReport:
    """Draw the pairs that may be copies, the surest first; return the report with their pictures named.

    Args:
        folder: to draw into, at most 50 pictures.
        report: what the check found.
        say: takes a sentence on how many were drawn.
        warn: takes a sentence on each pair that could not be drawn.
    """
    pairs = [(number, found.pair) for number, found in enumerate(report.findings) if found.pair is not None]
    pairs.sort(key=lambda numbered: -numbered[1].similarity.sureness)
    findings = list(report.findings)
    num_drawn = 0
    for (number, pair), name in zip(pairs, PICTURE_NAMES, strict=False):
        try:
            strips = [_strip(report, pair, is_first) for is_first in (True, False)]
        except VideoError as error:
            warn(f"no picture of {findings[number].subject}: {error}")
            continue
        title = f"{findings[number].kind}: {findings[number].detail}"
        folder.write(name, partial(draw_pair, strips, title))
        findings[number] = replace(findings[number], picture=str(folder.folder / name))
        num_drawn += 1
    folder.remove_earlier()
    more = f"; {len(pairs) - MAX_PICTURES} less sure ones have none" if len(pairs) > MAX_PICTURES else ""
    if pairs:
        say(f"wrote {num_drawn} pictures of pairs that may be copies to {folder.folder}{more}")
    else:
        say("no videos that may be copies: no picture drawn")
    return replace(report, findings=findings)


def _strip(report: DataReport, pair: Pair, is_first: bool) -> Strip:
    """Return frames of one video of a pair, at moments at which the other video should show the same."""
    item = report.items[pair.first if is_first else pair.second]
    start, end = pair.shared_seconds
    moments = start + (np.arange(_NUM_MOMENTS) + 0.5) / _NUM_MOMENTS * (end - start)
    wanted: Seconds = np.maximum(moments if is_first else moments - pair.similarity.lag_seconds, 0.0)
    decoded = decode_frames(item.path, lambda _: wanted, _fit, item.start_seconds, item.end_seconds)
    aside = ", ".join(filter(None, (item.label, item.split)))
    return Strip(f"{item.path.name} ({aside})", list(decoded.frames), (wanted + item.start_seconds).tolist())


def _fit(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
