"""The application: shared options anywhere, and one place that prints errors."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import vidcli
from vidcli.errors import VidcliError

if TYPE_CHECKING:
    from vidcli.console import Terminal

_ANYWHERE = {"--quiet", "-q", "--verbose", "-v", "--traceback"}
"""Options of vidcli itself that people also write after the command's name."""


class _Commands(TyperGroup):
    """All commands under one roof: shared options anywhere, and one place that prints errors."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        shared = [arg for arg in args[:end] if arg in _ANYWHERE]
        rest = [arg for arg in args[:end] if arg not in _ANYWHERE]
        return super().parse_args(ctx, [*shared, *rest, *args[end:]])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Whoever read the results has seen enough. What Python would still flush at its end
            # goes nowhere, for there is nobody to tell; the code is that of a killed `cat`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except VidcliError as error:
            if ctx.params.get("traceback"):
                raise
            from vidcli.console import print_error

            print_error(str(error))
            raise typer.Exit(error.exit_code) from None


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

    from vidcli.devices import available_devices, describe_device
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


def open_terminal(ctx: typer.Context) -> Terminal:
    """Return the terminal of a command, as loud as the shared options say."""
    from vidcli.console import Terminal, Verbosity

    quiet, verbose = ctx.obj
    level = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
    return Terminal.open(level)
