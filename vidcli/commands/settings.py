"""`vidcli settings`: every setting and recipe."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.errors import VidcliError

if TYPE_CHECKING:
    from vidcli.console import Terminal

_NUM_NEAREST = 3

PatternsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATTERN]...",
        help="Only what has all of these in its name or meaning.",
        show_default=False,
    ),
]


@app.command(
    rich_help_panel=LOOK_INSIDE,
    epilog=examples("vidcli settings", "vidcli settings lr", "vidcli settings clip frames"),
)
def settings(ctx: typer.Context, patterns: PatternsArgument = None) -> None:
    """List every setting with its default, range and meaning, and the built-in recipes."""
    list_settings(open_terminal(ctx), patterns or [])


def list_settings(terminal: Terminal, patterns: Sequence[str]) -> None:
    """Print the settings and recipes that have all the patterns in their name or meaning.

    Args:
        terminal: to print on.
        patterns: texts to look for; upper and lower case are the same.

    Raises:
        VidcliError: no setting or recipe has them; the message names the nearest settings.
    """
    from vidcli.config import Setting, builtin_recipes, iter_settings, recipe_title
    from vidcli.console.tables import print_rows

    def has_all(*texts: str) -> bool:
        text = "\n".join(texts).casefold()
        return all(pattern.casefold() in text for pattern in patterns)

    every = list(iter_settings())
    known = [(path.stem, recipe_title(path)) for path in builtin_recipes()]
    found = [setting for setting in every if has_all(setting.name, setting.description)]
    recipes = [recipe for recipe in known if has_all(*recipe)]
    if not found and not recipes:
        asked = " ".join(patterns)
        near = _nearest(asked, [setting.name for setting in every])
        raise VidcliError(f"no setting or recipe has {asked!r} in its name or meaning; {near}")
    if found:
        print_rows(terminal, "settings (--set KEY=VALUE)", Setting._fields, found)
    if recipes:
        print_rows(terminal, "recipes (--config NAME)", ("name", "what it is for"), recipes)


def _nearest(asked: str, names: Sequence[str]) -> str:
    """Return the settings with the most similar names, whole or after their section."""
    given = asked.casefold().replace("-", "_").replace(" ", "_")

    def likeness(name: str) -> float:
        parts = (name, name.partition(".")[2])
        return max(difflib.SequenceMatcher(None, given, part).ratio() for part in parts)

    return "the nearest are " + ", ".join(sorted(names, key=likeness, reverse=True)[:_NUM_NEAREST])
