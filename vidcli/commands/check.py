"""`vidcli check`: hand the data to the doctor, and what it found to the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import PREPARE, app, examples, open_terminal
from vidcli.commands.options import (
    CommandWithSettings,
    ConfigOption,
    OverwriteOption,
    ReportFormat,
    ReportFormatOption,
    SetOption,
    path,
)
from vidcli.errors import DataError

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.doctor import DataReport
    from vidcli.runtime.outputs import OutputFile, OutputFolder


@app.command(
    cls=CommandWithSettings,
    rich_help_panel=PREPARE,
    epilog=examples(
        "vidcli check videos/",
        "vidcli check videos.csv --pictures copies/",
        "vidcli check videos/ --quarantine usable.csv",
    ),
)
def check(
    ctx: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder, manifest or shards, as for train.", parser=path)],
    config: ConfigOption = None,
    assignments: SetOption = None,
    form: ReportFormatOption = ReportFormat.table,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Manifest to write, without the videos that have errors.", parser=path
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw videos that may be copies side by side, a PNG a pair."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Decode every video of a data set and tell what is wrong with it."""
    from vidcli.config import load_config
    from vidcli.console import print_json
    from vidcli.console.check_tables import finding_to_dict, print_findings
    from vidcli.data.outputs_afar import open_output
    from vidcli.doctor import check_data
    from vidcli.doctor.pictures import draw_pairs

    terminal = open_terminal(ctx)
    settings = load_config(config, assignments or [])
    inputs = [] if quarantine is None and pictures is None else list(_inputs(data))
    output = None if quarantine is None else open_output("--quarantine", quarantine, inputs, overwrite)
    folder = None if pictures is None else _open_folder(pictures, data, inputs, overwrite)
    with folder or nullcontext():
        with terminal.counting("decoding", past="decoded") as show:
            report = check_data(data, settings, show)
        if folder is not None:
            report = draw_pairs(folder, report, terminal.say, terminal.warn)
    try:  # written before it is printed: nobody may be left to read the print
        if output is not None:
            _write_quarantine(terminal, output, report)
    finally:
        if form is ReportFormat.json:
            for finding in report.findings:
                print_json(finding_to_dict(finding))
            print_json({"summary": report.summary.to_dict()})
        else:
            print_findings(terminal, report)
    raise typer.Exit(1 if report.summary.num_found["error"] else 0)


def _open_folder(pictures: Path, data: Path, inputs: list[Path], overwrite: bool) -> OutputFolder:
    """Return the folder for pictures of copies, after a look at what is in it."""
    from vidcli.doctor.pictures import PICTURE_NAMES
    from vidcli.runtime.outputs import OutputFolder

    return OutputFolder(
        pictures,
        "check",
        PICTURE_NAMES,
        option="--pictures",
        subject=str(data.absolute()),
        inputs=inputs,
        overwrite=overwrite,
    )


def _inputs(data: Path) -> Iterator[Path]:
    """Yield the data and all videos that it names."""
    from vidcli.data.manifest import load_items

    yield data
    with suppress(DataError):  # the check itself tells what is wrong with it
        yield from (item.path for item in load_items(data, missing_ok=True))


def _write_quarantine(terminal: Terminal, output: OutputFile, report: DataReport) -> None:
    from vidcli.data.manifest import manifest_text

    usable = report.usable
    if not usable:
        raise DataError(f"--quarantine {output.named}: no video is without errors; nothing written")
    output.write_text(manifest_text(usable))
    terminal.say(
        f"wrote {output.named}: {len(usable)} of {len(report.items)} videos, without those that have errors; "
        f"no video was touched. Next: vidcli train {output.named}"
    )
