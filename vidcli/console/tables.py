"""Tables that several commands show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.terminal import Terminal
from vidcli.console.text import plain, plain_lines


def number_table(first: str, *others: str, title: str | None = None) -> Table:
    """Return an empty table whose first column is text and whose others are numbers, right-aligned.

    Args:
        first: the heading of the first column.
        others: the headings of the other columns.
        title: what stands above the table.
    """
    table = Table(first, title=title, title_justify="left")
    for name in others:
        table.add_column(name, justify="right")
    return table


def print_pairs(out: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and their texts in two columns without lines."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    for name, text in pairs:
        grid.add_row(plain(name), plain_lines(text))
    out.print(grid)


def print_rows(terminal: Terminal, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of plain strings.

    Args:
        terminal: to print on.
        title: what stands above the table.
        columns: the headings.
        rows: the cells of each row, one a column; a column of numbers is right-aligned.
    """
    table = Table(title=title, title_justify="left")
    cells = [tuple(row) for row in rows]
    for name, column in zip(columns, zip(*cells, strict=True), strict=True):
        are_numbers = all(cell[:1].isdigit() for cell in column)
        # Numbers and the first column, which users copy into commands, are never cut.
        whole = are_numbers or name == columns[0]
        table.add_column(name, justify="right" if are_numbers else "left", no_wrap=whole)
    for row in cells:
        table.add_row(*(plain(cell) for cell in row))
    terminal.out.print(table)


class GrowingTable:
    """A table that prints each row when it is added, so its column widths must be fixed beforehand."""

    def __init__(self, console: Console, make_empty: Callable[[], Table]) -> None:
        """Print nothing before the first row.

        Args:
            console: to print on.
            make_empty: makes the table without rows.
        """
        self._console, self._make_empty = console, make_empty
        self._num_rows = 0

    def add_row(self, *cells: Text) -> None:
        """Print a row, and before the first one the heading."""
        table = self._make_empty()
        num_head = len(self._lines_of(table)) - 1
        table.add_row(*cells)
        self._print(self._lines_of(table)[num_head if self._num_rows else 0 : -1])
        self._num_rows += 1

    def close(self) -> None:
        """Print the bottom of the frame, if any row was printed."""
        if self._num_rows:
            self._print(self._lines_of(self._make_empty())[-1:])

    def _print(self, lines: Iterable[Text]) -> None:
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def _lines_of(self, table: Table) -> list[Text]:
        lines = self._console.render_lines(table, pad=False)
        return [Text.assemble(*((s.text, s.style or "") for s in line)) for line in lines]
