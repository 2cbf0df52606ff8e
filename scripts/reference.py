"""Write the reference pages of the site from the code: commands, settings, recipes and models.

MkDocs runs `on_files` when it builds the site (see mkdocs.yml). The pages are made anew at every build
and are not kept in the repository, so that they cannot differ from the program.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from vidcli.config.listing import iter_settings
from vidcli.config.recipes import builtin_recipes, recipe_title
from vidcli.models import describe_encoders
from vidcli.models.registry import BACKBONES, HEADS, NETWORKS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site. MkDocs calls this."""
    from mkdocs.structure.files import File  # only the site needs MkDocs, not the tests of these pages

    for path, text in render_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def render_pages() -> dict[str, str]:
    """Return the Markdown of every generated page, by its path below docs/."""
    return {
        "reference/commands.md": render_commands(),
        "reference/settings.md": render_settings(),
        "reference/recipes.md": render_recipes(),
        "reference/models.md": render_models(),
    }


def load_command() -> Any:
    """Return the command tree of the program, found through its entry point `vidcli.__main__`."""
    entry = importlib.import_module("vidcli.__main__")
    return typer.main.get_command(sys.modules[entry.run.__module__].app)


def iter_commands(command: Any, name: str = "vidcli") -> Iterator[tuple[str, Any]]:
    """Yield every visible command below one, with its full name, in the order of the help."""
    for word, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield f"{name} {word}", child
            yield from iter_commands(child, f"{name} {word}")


def render_commands() -> str:
    """Return the page of all commands with their arguments and options."""
    root = load_command()
    parts = [
        "# Commands\n\nThis page is generated from the program. `vidcli COMMAND --help` prints the same.",
        "## Options of every command\n\nThey may stand before or after the name of the command.",
        _render_parameters(root),
    ]
    for name, command in iter_commands(root):
        parts += [f"## `{name}`", _render_help(command.help), _render_parameters(command)]
        if command.epilog:
            parts.append(_render_help(command.epilog))
    return "\n\n".join(part for part in parts if part) + "\n"


def render_settings() -> str:
    """Return the page of all settings, a table a section."""
    parts = [
        "# Settings",
        "This page is generated from the program; `vidcli settings` prints the same.",
        "Change one with `--set NAME=VALUE` or in a [recipe](recipes.md). Unknown names are refused.",
    ]
    rows_of: dict[str, list[list[str]]] = {}
    for setting in iter_settings():
        section = setting.name.partition(".")[0]
        row = [f"`{setting.name}`", f"`{setting.default}`", setting.range, setting.description]
        rows_of.setdefault(section, []).append(row)
    for section, rows in rows_of.items():
        parts += [f"## `{section}`", _render_table(("setting", "default", "range", "meaning"), rows)]
    return "\n\n".join(parts) + "\n"


def render_recipes() -> str:
    """Return the page of the built-in recipes, each whole with its comments."""
    parts = [
        "# Recipes",
        "A recipe is a YAML file of settings. These come with the program: `--config NAME` takes one.",
        "`--config FILE` takes a file of your own.",
    ]
    for path in builtin_recipes():
        text = path.read_text(encoding="utf-8").rstrip()
        parts += [f"## `{path.stem}`", recipe_title(path), f"```yaml\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def render_models() -> str:
    """Return the page of the backbones, video networks and heads."""
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("Frame backbones (`model.backbone`)", BACKBONES),
        ("Whole video networks (`model.backbone`)", NETWORKS),
        ("Heads (`model.head`)", HEADS),
    )
    parts = ["# Models", "`vidcli models` prints these with their parameters and multiplications."]
    for title, specs in kinds:
        rows = [[f"`{name}`", spec.description] for name, spec in specs.items()]
        parts += [f"## {title}", _render_table(("name", "what it is"), rows)]
    parts += [
        "## Encoders of transformers (`model.backbone=hf:ORG/NAME` or `hf:FOLDER`)",
        "By the `model_type` of their `config.json`; see [larger models](../guides/larger-models.md).",
        _render_table(("model_type", "takes", "what it is"), [list(row) for row in describe_encoders()]),
    ]
    return "\n\n".join(parts) + "\n"


def _render_help(text: str | None) -> str:
    """Return the first paragraph of a help text as prose, and those that show commands as code."""
    paragraphs = inspect.cleandoc(text or "").replace("\b\n", "").split("\n\n")
    shown = [
        f"```text\n{paragraph}\n```" if "vidcli " in paragraph and "\n" in paragraph else paragraph
        for paragraph in paragraphs
    ]
    return "\n\n".join(shown)


def _render_parameters(command: Any) -> str:
    context = typer.Context(command)
    shown = [item for item in command.params if not getattr(item, "hidden", False)]
    records = [record for item in shown if (record := item.get_help_record(context))]
    rows = [[f"`{name}`", meaning] for name, meaning in records]
    return _render_table(("argument or option", "meaning"), rows) if rows else ""


def _render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(cell: str) -> str:
    """Keep a cell from ending early or becoming HTML; code needs neither."""
    return cell if cell.startswith("`") else cell.replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
