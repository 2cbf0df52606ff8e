"""What `vidcli check` does: hand the data to the doctor, and what it found to the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vidcli import config as settings
from vidcli.console import Terminal, print_json
from vidcli.console.findings import finding_to_dict, print_findings
from vidcli.data.manifest import load_items, manifest_text
from vidcli.doctor import DataReport, check_data
from vidcli.errors import DataError
from vidcli.runtime.files import OutputFile


def check(
    terminal: Terminal,
    data: Path,
    recipe: str | None,
    assignments: list[str],
    form: str,
    quarantine: Path | None,
    overwrite: bool = False,
) -> int:
    """Run `vidcli check`; return the exit code: 1 if there are errors."""
    config = settings.load_config(recipe, assignments)
    output = None if quarantine is None else OutputFile("--quarantine", quarantine, _inputs(data), overwrite)
    with terminal.counting("decoding", past="decoded") as show:
        report = check_data(data, config, show)
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
