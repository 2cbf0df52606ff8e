"""The examples at the end of each command's help are real commands, a line each in any terminal."""

from __future__ import annotations

import shlex

import pytest
import typer.main
from typer.testing import CliRunner

from vidcli.commands.app import app

ROOT = typer.main.get_command(app)


def commands_below(command, path=()):
    """Yield each command with the words that call it, groups included."""
    if path:
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_below(inner, (*path, name))


COMMANDS = dict(commands_below(ROOT))


def examples_of(command):
    title, *lines = (command.epilog or "").split("\n")
    assert title == "Examples:"
    return lines


def parse(line):
    """Read a command line as vidcli would; return the words that name its command."""
    words = shlex.split(line.split("| ")[-1])
    assert words.pop(0) == "vidcli"
    command, path = ROOT, ()
    while words and words[0] in getattr(command, "commands", {}):
        path = (*path, words.pop(0))
        command = command.commands[path[-1]]
    command.make_context(" ".join(path), words)
    return path


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_has_two_or_three_and_they_parse(path):
    lines = examples_of(COMMANDS[path])
    assert 2 <= len(lines) <= 3
    for line in lines:
        assert parse(line)[: len(path)] == path


def test_an_option_that_does_not_exist_is_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse("vidcli eval --no-such-option")
    with pytest.raises(Exception, match="integer"):
        parse("vidcli predict a.mp4 --top-k many")


@pytest.mark.parametrize("columns", ["60", "100"])
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_stands_on_a_line_of_its_own(path, columns):
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": columns})
    shown = [line.strip() for line in result.stdout.splitlines()]
    assert [line for line in examples_of(COMMANDS[path]) if line not in shown] == []
    assert max(len(line) for line in result.stdout.splitlines()) <= int(columns)
