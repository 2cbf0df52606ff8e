"""What `vidcli check` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.tables import print_pairs
from vidcli.console.terminal import Terminal
from vidcli.console.text import count_noun, format_seconds, list_most_common, plain, plain_lines
from vidcli.data.items import SPLITS
from vidcli.doctor import DataReport, Finding, Summary

_MAX_ROWS_A_KIND = 20


_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """Return what `check --format json` prints for one problem."""
    return {
        "severity": finding.severity,
        "kind": finding.kind,
        "video": finding.video,
        "subject": finding.subject,
        "detail": finding.detail,
        "others": list(finding.others),
        "picture": finding.picture,
    }


def print_findings(terminal: Terminal, report: DataReport) -> None:
    """Show the problems of a data set, a table a severity, then its numbers and what to do."""
    for severity, style in _SEVERITY_STYLES.items():
        found = [finding for finding in report.findings if finding.severity == severity]
        if found:
            title = count_noun(len(found), severity)
            table = Table("problem", "where", "what was found", title=title, title_justify="left")
            table.title_style = style
            table.columns[0].no_wrap = True
            table.columns[1].overflow = "fold"
            shown: dict[str, int] = {}
            for finding in found:
                shown[finding.kind] = shown.get(finding.kind, 0) + 1
                if shown[finding.kind] <= _MAX_ROWS_A_KIND:
                    seen = "" if finding.picture is None else f"; see {Path(finding.picture).name}"
                    table.add_row(
                        Text(finding.kind, style=style),
                        plain(finding.subject),
                        plain_lines(finding.detail + seen),
                    )
            for kind, count in shown.items():
                if count > _MAX_ROWS_A_KIND:
                    more = f"… and {count - _MAX_ROWS_A_KIND} more; --format json tells all"
                    table.add_row(Text(kind, style=style), "", more)
            terminal.out.print(table)
    _print_data_summary(terminal.out, report.summary)
    if report.summary.advice:
        terminal.out.print("\nwhat to do")
        print_pairs(terminal.out, report.summary.advice.items())


def _print_data_summary(out: Console, summary: Summary) -> None:
    splits = [split for split in (*SPLITS, "all") if split in summary.splits]
    table = Table("class", *splits)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, counts in summary.classes.items():
        table.add_row(plain(name), *(str(counts.get(split, 0)) for split in splits))
    if len(summary.classes) > 1:
        table.add_section()
        table.add_row("all", *(str(summary.splits[split]) for split in splits))
    out.print(table)
    if summary.splits_drawn:
        out.print("splits as `vidcli train` would draw them")
    rows = [
        ("videos", f"{summary.num_videos} in {count_noun(summary.num_files, 'file')}"),
        ("problems", ", ".join(count_noun(count, name) for name, count in summary.num_found.items())),
        ("unusable", f"{count_noun(summary.num_unusable, 'video')} with errors"),
        ("sizes", list_most_common(summary.sizes)),
        ("frames a second", list_most_common(summary.rates)),
        ("codecs", list_most_common(summary.codecs)),
    ]
    if summary.seconds is not None:
        spread = summary.seconds
        lengths = f"{spread.min:.2f} to {spread.max:.2f} s, median {spread.median:.2f} s"
        rows.append(("lengths", f"{lengths}, {format_seconds(summary.total_seconds)} in all"))
    epoch = (
        f"{summary.epoch_seconds:.1f} s"
        if summary.epoch_seconds < 60
        else format_seconds(summary.epoch_seconds)
    )
    rows.append(
        ("decoding", f"{epoch} an epoch with {count_noun(summary.workers, 'thread')}, where not cached")
    )
    print_pairs(out, rows)
