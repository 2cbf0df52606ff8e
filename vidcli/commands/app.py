"""The application: shared options anywhere, and one place that prints errors."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import vidcli
from vidcli.commands.completion import mend_bash_words
from vidcli.errors import StreamError, VidcliError
from vidcli.runtime.signals import ended_by_exception, exit_code_of
from vidcli.runtime.streams import StandardStreams

if TYPE_CHECKING:
    from vidcli.console import Terminal

PREPARE, TRAIN, USE, LOOK_INSIDE = "Prepare", "Train", "Use", "Look inside"
"""The groups of commands in the help."""

_ANYWHERE = {"--quiet", "-q", "--verbose", "-v", "--traceback"}
"""Options of vidcli itself that people also write after the command's name."""

_SIGNALLED = 128
"""An exit code above this one names a signal."""


class _Commands(TyperGroup):
    """All commands under one roof: shared options anywhere, and one place that prints errors."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        shared = [arg for arg in args[:end] if arg in _ANYWHERE]
        rest = [arg for arg in args[:end] if arg not in _ANYWHERE]
        with _one_message(ctx):  # --help and --version print while arguments are read
            return super().parse_args(ctx, [*shared, *rest, *args[end:]])

    def invoke(self, ctx: Any) -> Any:
        with _one_message(ctx):
            return super().invoke(ctx)


@contextmanager
def _one_message(ctx: Any) -> Iterator[None]:
    """Print one message for an error that the user can fix, and end with its exit code."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(exit_code_of(interrupt)) from None
    except BrokenPipeError:  # the reader of an output pipe left; a `cat` that this kills ends with 141
        raise typer.Exit(141) from None
    except StreamError as error:
        raise typer.Exit(error.exit_code) from None  # `run` prints it, with what is lost at the very end
    except VidcliError as error:
        if ctx.params.get("traceback"):
            raise
        from vidcli.console import print_error

        print_error(str(error))
        raise typer.Exit(error.exit_code) from None


def run() -> int:
    """Run the command line in a process of its own, and return the exit code.

    A signal that ends a process acts as Ctrl-C does: half-written files are removed first.
    """
    mend_bash_words(os.environ)
    _keep_named(sys.argv[1:])
    streams = StandardStreams()
    with ended_by_exception():
        code = _exit_code(lambda: app(prog_name="vidcli"))
        lost = streams.finish()
    if lost is None or code > _SIGNALLED:
        return code
    if lost.exit_code < _SIGNALLED:
        from vidcli.console import print_error

        print_error(str(lost))
    return lost.exit_code


def _keep_named(words: Sequence[str]) -> None:
    """Leave out all commands but the one that is named, whose options take long to build.

    Args:
        words: of the command line, after the program.
    """
    name = next((word for word in words if word not in _ANYWHERE), None)
    named = [one for one in app.registered_commands if name == (one.name or _name_of(one.callback))]
    if named:
        app.registered_commands, app.registered_groups = named, []


def _name_of(command: Callable[..., object] | None) -> str:
    return "" if command is None else command.__name__.replace("_", "-")


def _exit_code(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt as interrupt:  # before or after the command itself
        return exit_code_of(interrupt)
    return 0


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate and use a video classifier: from folders of videos to numbers you can trust.",
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    import torch

    from vidcli.runtime.devices import available_devices, describe_device
    from vidcli.video import library_versions

    typer.echo(f"vidcli {vidcli.__version__}")
    versions = {"Python": platform.python_version(), "torch": torch.__version__, **library_versions()}
    for name, version in versions.items():
        typer.echo(f"{name} {version}")
    typer.echo("devices: " + ", ".join(describe_device(name) for name in available_devices()))
    raise typer.Exit


@app.callback()
def _shared(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show versions and devices."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what happens.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error arose.")] = False,
) -> None:
    ctx.obj = (quiet, verbose)


def examples(*commands: str) -> str:
    """Return the last lines of a command's help.

    Args:
        commands: whole command lines, each at most 56 characters long: they fit a terminal of 60 columns.
    """
    return "\n".join(("Examples:", *commands))


def open_terminal(ctx: typer.Context) -> Terminal:
    """Return the terminal that a command prints on, as quiet or verbose as the shared options say.

    Args:
        ctx: what typer hands to the command.
    """
    from vidcli.console import Terminal, Verbosity

    quiet, verbose = ctx.obj
    level = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
    terminal = Terminal.open(level)
    ctx.call_on_close(lambda: _tell_traffic(terminal))
    return terminal


def _tell_traffic(terminal: Terminal) -> None:
    """Say what was fetched over connections, if anything was."""
    from vidcli.console.text import format_bytes
    from vidcli.storage.blocks import traffic

    if traffic.num_requests:
        size, count = format_bytes(traffic.num_bytes), f"{traffic.num_requests:,}"
        terminal.say(f"fetched {size} in {count} request{'s' if traffic.num_requests > 1 else ''}")
