"""The sections of the report that show videos: a line each, and the frames that the model saw."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import image

from vidcli.palette import Colour
from vidcli.report.chips import class_label
from vidcli.report.markup import Html, tag, void

_MAX_HEIGHT = 112
_QUALITY = 82

Frame = npt.NDArray[np.uint8]


def examples(
    rows: Sequence[Mapping[str, Any]],
    frames: Mapping[tuple[str, float], Sequence[Frame]],
    colours: Mapping[str, Colour],
) -> Html:
    """Return videos by name with what was said of them; nothing where there are none.

    Args:
        rows: a mapping a video, as in eval.json.
        frames: what the model saw of each, by (video, start in seconds).
        colours: of the classes.
    """
    shown = [_example(row, frames.get((row["video"], row["start_seconds"]), ()), colours) for row in rows]
    return tag("div", *shown, class_="videos") if shown else Html("")


def _example(row: Mapping[str, Any], frames: Sequence[Frame], colours: Mapping[str, Colour]) -> Html:
    end = "its end" if row["end_seconds"] is None else f"{row['end_seconds']:g} s"
    has_span = row["end_seconds"] is not None or row["start_seconds"]
    span = f" {row['start_seconds']:g} s to {end}" if has_span else ""
    said = _said_of_set(row, colours) if "loss" in row else _said(row, colours)
    path = Path(row["video"])
    name = tag("span", str(Path(*path.parts[-3:])) if len(path.parts) > 3 else str(path), title=row["video"])
    return tag(
        "div",
        tag("div", name, tag("span", span, class_="soft"), class_="name"),
        tag("div", *said, class_="said"),
        tag("div", *(thumbnail(frame) for frame in frames), class_="frames"),
        class_="video",
    )


def _said(row: Mapping[str, Any], colours: Mapping[str, Colour]) -> list[Html | str]:
    is_right = row["predicted"] == row["label"]
    return [
        "is ",
        tag("b", class_label(row["label"], colours)),
        f" ({row['true_probability']:.3f}), taken for ",
        tag("b", class_label(row["predicted"], colours), class_="good" if is_right else "bad"),
        f" ({row['probability']:.3f})",
    ]


def _said_of_set(row: Mapping[str, Any], colours: Mapping[str, Colour]) -> list[Html | str]:
    is_right = not row["missed"] and not row["added"]
    return [
        "is ",
        tag("b", class_label(row["label"] or "none", colours)),
        ", taken for ",
        tag("b", class_label(row["predicted"] or "none", colours), class_="good" if is_right else "bad"),
        f" (loss {row['loss']:.3f})",
    ]


def thumbnail(frame: Frame) -> Html:
    """Return a frame (H, W, 3) as an image inside the page."""
    step = -(-frame.shape[0] // _MAX_HEIGHT)
    small = shrink(frame, step)
    buffer = io.BytesIO()
    image.imsave(buffer, small, format="jpg", pil_kwargs={"quality": _QUALITY})
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    height, width = small.shape[:2]
    return void("img", src=source, width=width, height=height, alt="a frame of the video", loading="lazy")


def shrink(frame: Frame, step: int) -> Frame:
    """Return a frame made smaller by a whole number: each pixel the mean of a square."""
    if step == 1:
        return np.ascontiguousarray(frame)
    height, width = frame.shape[0] // step, frame.shape[1] // step
    squares = frame[: height * step, : width * step].reshape(height, step, width, step, 3)
    return np.asarray(squares.mean(axis=(1, 3)).round(), dtype=np.uint8)
