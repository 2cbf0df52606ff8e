"""What `vidcli check` does: hand the data to the doctor, and what it found to the console."""

from __future__ import annotations

from pathlib import Path

from vidcli import config as settings
from vidcli.console import Terminal, print_json
from vidcli.console.findings import finding_to_dict, print_findings
from vidcli.data.manifest import manifest_text
from vidcli.doctor import DataReport, check_data
from vidcli.errors import ConfigError, DataError, VidcliError
from vidcli.runtime.files import write_text


def check(
    terminal: Terminal,
    data: Path,
    recipe: str | None,
    assignments: list[str],
    form: str,
    quarantine: Path | None,
) -> int:
    """Run `vidcli check`; return the exit code: 1 if there are errors."""
    config = settings.load_config(recipe, assignments)
    if quarantine is not None and quarantine.exists() and (quarantine.is_dir() or quarantine.samefile(data)):
        raise ConfigError(f"--quarantine {quarantine}: expected a file to write that is not DATA itself")
    with terminal.counting("decoding") as show:
        report = check_data(data, config, show)
    try:  # written before it is printed: who reads the print may leave, or be none
        if quarantine is not None:
            _write_quarantine(terminal, quarantine, report)
    finally:
        if form == "json":
            for finding in report.findings:
                print_json(finding_to_dict(finding))
            print_json({"summary": report.summary.to_dict()})
        else:
            print_findings(terminal, report)
    return 1 if report.summary.num_found["error"] else 0


def _write_quarantine(terminal: Terminal, file: Path, report: DataReport) -> None:
    usable = report.usable
    if not usable:
        raise DataError(f"--quarantine {file}: no video is without errors; nothing written")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, manifest_text(usable))
    except OSError as error:
        raise VidcliError(f"--quarantine {file}: cannot be written ({error.strerror})") from error
    terminal.say(
        f"wrote {file}: {len(usable)} of {len(report.items)} videos, without those that have errors; "
        f"no video was touched. Next: vidcli train {file}"
    )
