"""`vidcli cache`: the files kept for later runs."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal

if TYPE_CHECKING:
    from vidcli.console import Terminal


class CacheKind(str, Enum):
    """What a cache folder holds; see `vidcli.data.caches.CACHE_KINDS`."""

    frames = "frames"
    features = "features"
    bench = "bench"
    fetched = "fetched"
    outputs = "outputs"
    motion = "motion"


KindsArgument = Annotated[
    list[CacheKind] | None,
    typer.Argument(
        metavar="[KIND]...",
        help="Only these: frames (decoded videos), features (outputs of frozen backbones), bench (videos "
        "and models of vidcli bench), fetched (models and manifests from afar), outputs (files not yet sent "
        "to their address), motion (built-in videos).",
        show_default=False,
    ),
]


@app.command(
    rich_help_panel=LOOK_INSIDE,
    epilog=examples("vidcli cache", "vidcli cache --clear", "vidcli cache frames features --clear"),
)
def cache(
    ctx: typer.Context,
    kinds: KindsArgument = None,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Delete these files, but outputs only where KIND names them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a folder.")] = False,
) -> None:
    """Show the files that vidcli keeps for later runs: where they are and how large, or delete them."""
    named = {kind.value for kind in kinds or CacheKind}
    if clear and not kinds:
        named.discard("outputs")  # results that somebody waits for
    show_caches(open_terminal(ctx), named, clear, as_json)


def show_caches(terminal: Terminal, kinds: Collection[str], clear: bool, as_json: bool) -> None:
    """Print the folders that hold files for later runs, and delete these files if asked to.

    Args:
        terminal: to print on.
        kinds: kinds to show or to clear, of `CACHE_KINDS`.
        clear: delete the files that are shown.
        as_json: print one JSON object a folder instead of a table.

    Raises:
        WriteError: a file cannot be deleted.
    """
    from vidcli.console import print_json
    from vidcli.console.tables import print_rows
    from vidcli.console.text import count_noun, format_bytes
    from vidcli.data.caches import cache_folder, list_caches

    rows = []
    for folder in list_caches():
        if folder.kind in kinds:
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
    if clear and rows:
        terminal.say(f"deleted {count_noun(sum(row[1] for row in rows), 'file')}, {format_bytes(freed)}")
