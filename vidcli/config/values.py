"""What sections of settings are made of: their base class, and values of more than one spelling."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

MIN_PIXELS, MAX_PIXELS = 16, 1024
TRACKERS = ("tensorboard", "wandb", "mlflow")
PANELS = ("whole", "window", "follow")
STREAMS = ("appearance", "motion", "action")
_BOTH = "both"
"""An older name of appearance+motion."""


class Section(BaseModel):
    """Settings under one name; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def _parse_size(value: object) -> object:
    """Accept 112, "112", "64x112" (height x width) or [64, 112]."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*(?:[x×]\s*(\d+)\s*)?", value)
        sides: list[Any] = [int(side) for side in match.groups() if side] if match else []
    elif isinstance(value, (list, tuple)):
        sides = list(value)
    else:
        sides = [value]
    if len(sides) not in (1, 2) or not all(isinstance(side, (int, float)) for side in sides):
        raise ValueError("expected pixels such as 112, or HEIGHTxWIDTH such as 64x112")
    if not all(MIN_PIXELS <= side <= MAX_PIXELS and side == int(side) for side in sides):
        raise ValueError(f"expected whole pixels from {MIN_PIXELS} to {MAX_PIXELS} a side")
    return int(sides[0]), int(sides[-1])


def parse_word(value: object) -> object:
    """Undo YAML 1.1, which reads the words on and off as truth values."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def parse_pretrained(value: object) -> object:
    """Refuse what is neither a truth value nor `motion`."""
    if not isinstance(value, bool) and value != "motion":
        raise ValueError("must be true, false or motion")
    return value


def _parse_panels(value: object) -> tuple[str, ...]:
    """Accept names of panels with commas or in a list; return them from top to bottom.

    Raises:
        ValueError: one is unknown or named twice, or there is none.
    """
    words = value if isinstance(value, list | tuple) else str(value).split(",")
    names = [str(word).strip() for word in words]
    if not names or not set(names) <= set(PANELS) or len(set(names)) < len(names):
        raise ValueError(f"expected some of {', '.join(PANELS)} with commas between them, each once")
    return tuple(name for name in PANELS if name in names)


def parse_streams(value: object) -> str:
    """Accept off, or the streams of all panels joined by +, or those of each panel with commas or in a list.

    Raises:
        ValueError: it is something else.
    """
    value = parse_word(value)
    if value == "off":
        return "off"
    panels = value if isinstance(value, list | tuple) else str(value).split(",")
    if not panels:
        raise ValueError("names no stream")
    return join_panels([_split_streams(str(panel)) for panel in panels])


def join_panels(panels: Sequence[Collection[str]]) -> str:
    """Return the value of `model.streams`.

    Args:
        panels: the names of the streams of each panel, in any order.
    """
    words = [join_streams(streams) for streams in panels]
    return words[0] if len(set(words)) == 1 else ",".join(words)


def split_panels(streams: str, count: int) -> tuple[tuple[str, ...], ...]:
    """Return the streams of each panel, in order; none for off.

    Args:
        streams: the value of `model.streams`.
        count: panels of a picture, which all have the same streams where one word names them.
    """
    found = [_split_streams(word) for word in streams.split(",") if word != "off"]
    return tuple(found * count if len(found) == 1 else found)


def _split_streams(word: str) -> tuple[str, ...]:
    """Return the streams of one panel, in order.

    Args:
        word: their names, joined by +.

    Raises:
        ValueError: one is unknown or named twice.
    """
    names = [name.strip() for name in word.replace(_BOTH, "appearance+motion").split("+")]
    if not set(names) <= set(STREAMS) or len(set(names)) < len(names):
        raise ValueError(
            f"expected off, or some of {', '.join(STREAMS)} joined by +, for all panels or each with commas"
        )
    return tuple(stream for stream in STREAMS if stream in names)


def join_streams(streams: Collection[str]) -> str:
    """Return the word for the streams of one panel.

    Args:
        streams: their names, in any order.
    """
    return "+".join(stream for stream in STREAMS if stream in streams)


def parse_trackers(value: object) -> str:
    """Accept auto, none, and names of trackers with commas or in a list; return the names with commas.

    Raises:
        ValueError: it is something else.
    """
    words = value if isinstance(value, list | tuple) else str(value).split(",")
    names = list(dict.fromkeys(str(word).strip() for word in words))
    if names not in (["auto"], ["none"]) and not (names and set(names) <= set(TRACKERS)):
        raise ValueError(f"expected auto, none, or some of {', '.join(TRACKERS)} with commas between them")
    return ",".join(names)


FrameSize = Annotated[
    tuple[int, int],
    BeforeValidator(_parse_size),
    PlainSerializer(lambda size: f"{size[0]}x{size[1]}", return_type=str),
]


Panels = Annotated[
    tuple[str, ...],
    BeforeValidator(_parse_panels),
    PlainSerializer(lambda panels: ",".join(panels), return_type=str),
]


_Mean = Annotated[float, Field(ge=0, le=1)]
_Spread = Annotated[float, Field(gt=0, le=1)]
ChannelMean: TypeAlias = tuple[_Mean, _Mean, _Mean]
ChannelSpread: TypeAlias = tuple[_Spread, _Spread, _Spread]
