"""What `vidcli models` and `vidcli settings` do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from vidcli import config as settings
from vidcli.artifacts.exported import read_export
from vidcli.artifacts.model_file import describe_checkpoint, load_checkpoint
from vidcli.artifacts.run_folder import find_model
from vidcli.console import Terminal
from vidcli.console.tables import print_rows
from vidcli.errors import VidcliError
from vidcli.models import describe_backbones, describe_heads, describe_networks

_NUM_NEAREST = 3


def list_models(terminal: Terminal) -> None:
    """Run `vidcli models`."""
    print_rows(
        terminal,
        "frame backbones (model.backbone), cost of one 224x224 frame",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_frame:.3f}", row.description)
            for row in describe_backbones()
        ],
    )
    print_rows(
        terminal,
        "whole video networks (model.backbone), cost of one clip, top-1 on Kinetics-400 with its published "
        "weights: predict --model kinetics400-NAME; kinetics400 alone is mvit_v2_s",
        ("name", "parameters", "GMACs", "top-1", "what it is"),
        [
            (
                row.name,
                f"{row.parameters:,}",
                f"{row.gmacs_per_clip:.2f}",
                f"{row.kinetics400_top1:.3f}",
                f"{row.description} {row.views} x {row.clip}.",
            )
            for row in describe_networks()
        ],
    )
    print_rows(
        terminal,
        "heads (model.head), cost of one clip with the default settings",
        ("name", "parameters", "GMACs", "what it is"),
        [
            (row.name, f"{row.parameters:,}", f"{row.gmacs_per_clip:.6f}", row.description)
            for row in describe_heads()
        ],
    )


def list_settings(terminal: Terminal, patterns: Sequence[str]) -> None:
    """Run `vidcli settings`.

    Args:
        terminal: to print on.
        patterns: what is listed has each of these in its name or description, in letters of any case.

    Raises:
        VidcliError: nothing has; names the nearest setting.
    """

    def has_all(*texts: str) -> bool:
        text = "\n".join(texts).casefold()
        return all(pattern.casefold() in text for pattern in patterns)

    every = list(settings.iter_settings())
    known = [(path.stem, settings.recipe_title(path)) for path in settings.builtin_recipes()]
    found = [setting for setting in every if has_all(setting.name, setting.description)]
    recipes = [recipe for recipe in known if has_all(*recipe)]
    if not found and not recipes:
        asked = " ".join(patterns)
        near = _nearest(asked, [setting.name for setting in every])
        raise VidcliError(f"no setting or recipe has {asked!r} in its name or meaning; {near}")
    if found:
        print_rows(terminal, "settings (--set KEY=VALUE)", settings.Setting._fields, found)
    if recipes:
        print_rows(terminal, "recipes (--config NAME)", ("name", "what it is for"), recipes)


def _nearest(asked: str, names: Sequence[str]) -> str:
    """Return the settings with the most similar names, whole or after their section."""
    given = asked.casefold().replace("-", "_").replace(" ", "_")

    def likeness(name: str) -> float:
        parts = (name, name.partition(".")[2])
        return max(difflib.SequenceMatcher(None, given, part).ratio() for part in parts)

    return "the nearest are " + ", ".join(sorted(names, key=likeness, reverse=True)[:_NUM_NEAREST])


def show_model(model: Path) -> None:
    """Run `vidcli models show`."""
    path = find_model(model)
    if path.is_dir():
        print(json.dumps(read_export(path), indent=1))
        return
    checkpoint = load_checkpoint(path)
    weights = {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in checkpoint.weights.items()
    }
    print(json.dumps({**describe_checkpoint(checkpoint), "weights": weights}, indent=1))
