"""What `vidcli cache` does."""

from __future__ import annotations

from collections.abc import Sequence

from vidcli.console import Terminal, print_json
from vidcli.console.tables import print_rows
from vidcli.console.text import count_noun, format_bytes
from vidcli.data.caches import cache_folder, list_caches


def cache(terminal: Terminal, kinds: Sequence[str], clear: bool, as_json: bool) -> None:
    """Run `vidcli cache`.

    Args:
        terminal: terminal to print on.
        kinds: kinds to show or to clear, of `CACHE_KINDS`; empty means all.
        clear: delete the files that are shown.
        as_json: print one JSON object a folder instead of a table.

    Raises:
        WriteError: a file cannot be deleted.
    """
    rows = []
    for folder in list_caches():
        if not kinds or folder.kind in kinds:
            sizes = [status.st_size for _, status in folder.files()]
            rows.append((folder, len(sizes), sum(sizes)))
    freed = sum(folder.clear() for folder, _, _ in rows) if clear else 0
    if as_json:
        for folder, num_files, num_bytes in rows:
            row = {"kind": folder.kind, "path": str(folder.path), "num_files": num_files, "bytes": num_bytes}
            print_json({**row, "cleared": clear})
    elif rows:
        print_rows(
            terminal,
            f"{cache_folder()} (VIDCLI_CACHE names another folder)",
            ("kind", "files", "size", "folder"),
            [
                (folder.kind, str(num_files), format_bytes(num_bytes), folder.path.name)
                for folder, num_files, num_bytes in rows
            ],
        )
    else:
        terminal.say(f"{cache_folder()} holds nothing that vidcli keeps (VIDCLI_CACHE names another folder)")
    if clear:
        terminal.say(f"deleted {count_noun(sum(row[1] for row in rows), 'file')}, {format_bytes(freed)}")
