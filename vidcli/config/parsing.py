"""Readers of settings that people may write in several ways."""

from __future__ import annotations

TRACKERS = ("tensorboard", "wandb", "mlflow")


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
