"""Tables that several commands show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from vidcli.console.terminal import Terminal
from vidcli.console.text import plain, plain_lines


def print_pairs(out: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and what belongs to them, in two columns without lines."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    for name, text in pairs:
        grid.add_row(plain(name), plain_lines(text))
    out.print(grid)


def print_rows(terminal: Terminal, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of plain strings."""
    table = Table(title=title, title_justify="left")
    cells = [tuple(row) for row in rows]
    for name, column in zip(columns, zip(*cells, strict=True), strict=True):
        are_numbers = all(cell[:1].isdigit() for cell in column)
        # What a user types or reads as a number is never cut.
        whole = are_numbers or name == columns[0]
        table.add_column(name, justify="right" if are_numbers else "left", no_wrap=whole)
    for row in cells:
        table.add_row(*(plain(cell) for cell in row))
    terminal.out.print(table)
