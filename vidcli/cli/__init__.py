"""The command line: signatures and help. What a command does lives in the module of its name.

Nothing heavy is imported before a command runs, so that `vidcli --help` answers at once.
"""

from __future__ import annotations

import platform
from enum import Enum
from pathlib import Path
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


class OutputFormat(str, Enum):
    """How predictions are written."""

    table = "table"
    json = "json"
    csv = "csv"


class ReportFormat(str, Enum):
    """How a report is written."""

    table = "table"
    json = "json"


_Config = Annotated[
    str | None,
    typer.Option("--config", metavar="RECIPE", help="Recipe: a YAML file, or the name of a built-in one."),
]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, as in train.lr=3e-4; `vidcli settings` lists them.",
    ),
]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
_Model = Annotated[
    Path | None,
    typer.Option(
        help="Run directory or model file; without it VIDCLI_MODEL, then the newest run.",
    ),
]
_Out = Annotated[Path | None, typer.Option(help="Run directory to make; without it, one under runs/.")]


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


def _terminal(ctx: typer.Context) -> Terminal:
    from vidcli.console import Terminal, Verbosity

    quiet, verbose = ctx.obj
    level = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
    return Terminal.open(level)


@app.command()
def train(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with one folder a class (also under train/ val/ test/), or a CSV or TSV manifest. "
            "Without it, the built-in motion videos. With --resume: the run to go on with.",
            show_default=False,
        ),
    ] = None,
    config: _Config = None,
    assignments: _Set = None,
    out: _Out = None,
    device: _Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run; without DATA, the newest.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show splits, settings and size; do nothing.")
    ] = False,
) -> None:
    """Train a classifier on a folder or manifest of videos."""
    from vidcli.cli import commands

    terminal = _terminal(ctx)
    if resume:
        if config or assignments or out or dry_run:
            raise typer.BadParameter(
                "--resume takes settings and place from the run: no --config, --set, --out, --dry-run"
            )
        commands.resume(terminal, data, device)
    else:
        commands.train(terminal, data, config, assignments or [], out, device, dry_run)


@app.command("eval")
def evaluate(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder or manifest; without it, the data of the run.", show_default=False),
    ] = None,
    model: _Model = None,
    split: Annotated[str, typer.Option(help="train, val, test, or all.")] = "test",
    device: _Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for predictions, scores and confusion matrix; without it, eval-SPLIT in the run."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on labelled videos."""
    from vidcli.cli import commands

    raise typer.Exit(commands.evaluate(_terminal(ctx), data, model, split, device, out, as_json))


@app.command()
def predict(
    ctx: typer.Context,
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Video files and folders of them.")
    ],
    model: _Model = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes shown a video.")] = 5,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to write.")] = OutputFormat.table,
    output: Annotated[Path | None, typer.Option(help="File to write instead of stdout.")] = None,
    device: _Device = "auto",
) -> None:
    """Classify videos."""
    from vidcli.cli import commands

    raise typer.Exit(commands.predict(_terminal(ctx), videos, model, top_k, form.value, output, device))


@app.command()
def demo(
    ctx: typer.Context,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Leave the videos in this folder.")] = None,
    out: _Out = None,
    device: _Device = "auto",
    assignments: _Set = None,
    count: Annotated[int, typer.Option(min=1, help="Training videos a class.")] = 240,
    size: Annotated[int, typer.Option(min=32, max=512, help="Height and width of the videos, even.")] = 64,
    length: Annotated[int, typer.Option(min=2, max=1000, help="Frames a video.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the videos.")] = 0,
) -> None:
    """Make motion videos, train on them, evaluate and predict: the main job in minutes."""
    from vidcli.cli import commands

    commands.demo(_terminal(ctx), keep, out, device, assignments or [], count, size, length, seed)


@app.command()
def check(
    ctx: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder or manifest, as for train.")],
    config: _Config = None,
    assignments: _Set = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to write.")] = ReportFormat.table,
    quarantine: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Manifest to write, without the videos that have errors."),
    ] = None,
) -> None:
    """Decode every video of a data set and tell what is wrong with it."""
    from vidcli.cli import doctor

    terminal = _terminal(ctx)
    raise typer.Exit(doctor.check(terminal, data, config, assignments or [], form.value, quarantine))


@app.command()
def models(ctx: typer.Context) -> None:
    """List every backbone and head with its size and cost."""
    from vidcli.cli import commands

    commands.list_models(_terminal(ctx))


@app.command()
def settings(ctx: typer.Context) -> None:
    """List every setting with its default, range and meaning, and the built-in recipes."""
    from vidcli.cli import commands

    commands.list_settings(_terminal(ctx))


_bench = typer.Typer(no_args_is_help=True, help="Measure how fast the parts are, beside the best of others.")
app.add_typer(_bench, name="bench")


@_bench.command("decode")
def bench_decode(
    ctx: typer.Context,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Video files and folders of them; without any, videos made for this, half a gigabyte.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each decoder; medians count.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object a row, the summary last.")] = False,
) -> None:
    """Compare decoding with torchcodec, decord and OpenCV, and check every frame bit for bit."""
    from vidcli.cli import benchmarks

    raise typer.Exit(benchmarks.decode(_terminal(ctx), videos or [], rounds, as_json))
