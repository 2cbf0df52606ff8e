"""The names of models that need no training; what is no such name is told without importing torch."""

from __future__ import annotations

DATA_SET = "kinetics400"


def published_names() -> list[str]:
    """Return what --model may name: `kinetics400`, and each network as `kinetics400-NETWORK`."""
    from vidcli.models.registry import NETWORKS

    return [DATA_SET, *(f"{DATA_SET}-{name}" for name in NETWORKS)]


def is_published(name: str) -> bool:
    """Tell whether a name is that of a published model."""
    return name.startswith(DATA_SET) and name in published_names()
