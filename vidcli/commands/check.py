"""What `vidcli check` does: hand the data to the doctor, and what it found to the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

from vidcli import config as settings
from vidcli.commands.pairs import PICTURE_NAMES, draw_pairs
from vidcli.console import Terminal, print_json
from vidcli.console.check_tables import finding_to_dict, print_findings
from vidcli.data.manifest import load_items
from vidcli.data.rows import manifest_text
from vidcli.doctor import DataReport, check_data
from vidcli.errors import DataError
from vidcli.runtime.outputs import OutputFile, OutputFolder


def check(
    terminal: Terminal,
    data: Path,
    recipe: str | None,
    assignments: list[str],
    form: str,
    quarantine: Path | None,
    overwrite: bool = False,
    pictures: Path | None = None,
) -> int:
    """Run `vidcli check`; return the exit code: 1 if there are errors."""
    config = settings.load_config(recipe, assignments)
    inputs = [] if quarantine is None and pictures is None else list(_inputs(data))
    output = None if quarantine is None else OutputFile("--quarantine", quarantine, inputs, overwrite)
    folder = None if pictures is None else _open_folder(pictures, data, inputs, overwrite)
    with folder or nullcontext():
        with terminal.counting("decoding", past="decoded") as show:
            report = check_data(data, config, show)
        if folder is not None:
            report = draw_pairs(terminal, folder, report)
    try:  # written before it is printed: who reads the print may leave, or be none
        if output is not None:
            _write_quarantine(terminal, output, report)
    finally:
        if form == "json":
            for finding in report.findings:
                print_json(finding_to_dict(finding))
            print_json({"summary": report.summary.to_dict()})
        else:
            print_findings(terminal, report)
    return 1 if report.summary.num_found["error"] else 0


def _open_folder(pictures: Path, data: Path, inputs: list[Path], overwrite: bool) -> OutputFolder:
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
    yield data
    with suppress(DataError):  # the check itself tells what is wrong with it
        yield from (item.path for item in load_items(data, missing_ok=True))


def _write_quarantine(terminal: Terminal, output: OutputFile, report: DataReport) -> None:
    usable = report.usable
    if not usable:
        raise DataError(f"--quarantine {output.path}: no video is without errors; nothing written")
    output.write_text(manifest_text(usable))
    terminal.say(
        f"wrote {output.path}: {len(usable)} of {len(report.items)} videos, without those that have errors; "
        f"no video was touched. Next: vidcli train {output.path}"
    )
