"""README and the pages of docs/ agree with the program: commands, settings, links, the columns of tables."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import vidcli
from scripts import reference
from vidcli.config.listing import iter_settings
from vidcli.config.recipes import builtin_recipes
from vidcli.predict.prediction import CSV_COLUMNS
from vidcli.predict.segments import SEGMENT_COLUMNS

ROOT = Path(vidcli.__file__).parent.parent
DOCS = ROOT / "docs"
WRITTEN = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
GENERATED = reference.render_pages()
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in WRITTEN} | {
    f"docs/{path}": text for path, text in GENERATED.items()
}
MAX_README_BYTES = 10 * 1024

"""Commands that the pages show and the program does not know yet. A test keeps this list exact."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`(vidcli [^`]+)`(?!`)")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def commands_in_blocks(text: str) -> Iterator[str]:
    """Yield what follows `vidcli` on each line that runs it: shell blocks, and `$ ` in shown sessions."""
    for language, block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if language in ("sh", "powershell") or line.startswith("$ "):
                match = re.search(r"(?:^|\s)vidcli (.+)", line)
                if match and not line.startswith("docker build"):
                    yield match[1].partition(" #")[0].strip()


def commands_in_prose(text: str) -> Iterator[str]:
    """Yield what follows `vidcli` in inline code."""
    yield from (match.removeprefix("vidcli ") for match in _INLINE.findall(_FENCE.sub("", text)))


@functools.cache
def command_line() -> Any:
    """Return the command line, which takes a tenth of a second to build."""
    return reference.load_command()


def fault_of(line: str, is_prose: bool = False) -> str | None:
    """Return why the program does not take these arguments, or None. Prose may leave arguments out."""
    words = shlex.split(line.replace("\n", " "), comments=True)
    command, name = command_line(), "vidcli"
    while words and words[0] in getattr(command, "commands", {}):
        name, command = words[0], command.commands[words.pop(0)]
    if name == "vidcli" and not words[0].startswith("-"):
        return None if words[0] in ("COMMAND", "KIND") else f"no command {words[0]}"
    if getattr(command, "no_args_is_help", False) and not words:
        return None  # a group of commands by itself: prints its help
    for parameter in command.params:
        parameter.callback = (
            None  # nothing is to be done: --install-completion would write to the home folder
        )
    try:
        command.make_context(name, [word for word in words if word not in ("--help", "-h")])
    except Exception as error:  # typer has no public name for its usage errors
        is_missing = type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
        return None if is_prose and is_missing else f"{type(error).__name__}: {error}"
    return None


def slug_of(heading: str) -> str:
    """Return the anchor that MkDocs and common hosts give a heading."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def test_every_command_and_option_is_in_the_reference() -> None:
    page = GENERATED["reference/commands.md"]
    commands = list(reference.iter_commands(reference.load_command()))
    assert len(commands) > 10
    for name, command in commands:
        section = page.split(f"## `{name}`\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if parameter.opts[0].startswith("-") and not parameter.hidden:
                assert parameter.opts[0] in section


def test_every_setting_is_in_the_reference() -> None:
    page = GENERATED["reference/settings.md"]
    for setting in iter_settings():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{setting.name}` |"))
        assert setting.description.split("|")[0] in row.replace("&lt;", "<")


def test_every_recipe_is_in_the_reference() -> None:
    for path in builtin_recipes():
        assert path.read_text(encoding="utf-8").rstrip() in GENERATED["reference/recipes.md"]


def test_hidden_commands_are_not_in_the_reference() -> None:
    app = typer.Typer()
    app.command("shown")(lambda: None)
    app.command("older", hidden=True)(lambda: None)
    assert [name for name, _ in reference.iter_commands(typer.main.get_command(app))] == ["vidcli shown"]


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in WRITTEN])
def test_files_that_a_page_names_are_there(page: str) -> None:
    if page == "CHANGELOG.md":  # it also names what is gone
        return
    named = re.findall(r"`((?:vidcli|tests|scripts|configs|docs)/[\w./-]+)`", PAGES[page])
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= MAX_README_BYTES


def test_every_shown_command_is_one() -> None:
    faults = {line: fault_of(line) for text in PAGES.values() for line in commands_in_blocks(text)}
    faults |= {line: fault_of(line, True) for text in PAGES.values() for line in commands_in_prose(text)}
    assert len(faults) > 50
    assert {line: fault for line, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("line", ["trian x", "train x --epoch-count 3", "check", "predict a --top-k many"])
def test_the_check_of_commands_can_fail(line: str) -> None:
    assert fault_of(line)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in _LINK.findall(_FENCE.sub("", PAGES[page])):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        name = target.relative_to(ROOT).as_posix()
        assert name in PAGES or target.is_file(), link
        if anchor:
            assert anchor in {slug_of(heading) for heading in _HEADING.findall(PAGES[name])}, link


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f" {page.removeprefix('docs/')}\n" in navigation for page in PAGES if page.startswith("docs/"))


def test_the_pages_show_the_columns_of_the_csv() -> None:
    text = PAGES["docs/guides/predicting.md"]
    header = next(line for line in text.splitlines() if line.startswith("video,rank,"))
    assert tuple(header.split(",")) == CSV_COLUMNS
    row = text[text.index(header) :].splitlines()[1]
    assert len(row.split(",")) == len(CSV_COLUMNS)
    formats = PAGES["docs/reference/formats.md"].replace("\n", " ")
    assert ", ".join(f"`{name}`" for name in CSV_COLUMNS[:-1]) + " and `track`" in formats
    assert ", ".join(f"`{name}`" for name in SEGMENT_COLUMNS[:-1]) + " and `track`" in formats


def test_the_check_of_commands_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fault_of("--install-completion", is_prose=True) is None
    assert list(tmp_path.iterdir()) == []
