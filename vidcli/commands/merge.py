"""`vidcli merge`: the results of the parts of a list, as one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.options import OverwriteOption, path


@app.command(
    "merge",
    rich_help_panel=USE,
    epilog=examples("vidcli merge results.jsonl", "vidcli merge out/results.parquet --overwrite"),
)
def merge(
    ctx: typer.Context,
    output: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What `predict --shard` was told to write; its parts lie beside it.",
            show_default=False,
            parser=path,
        ),
    ],
    overwrite: OverwriteOption = False,
) -> None:
    """Join the results of all parts of a list (predict --shard) into one file."""
    from vidcli.data.outputs_afar import open_output
    from vidcli.predict.parts import find_parts, folder_of_parts, join_parts

    terminal = open_terminal(ctx)
    parts = find_parts(output, folder_of_parts(output))
    open_output("FILE", output, inputs=parts, overwrite=overwrite).write(partial(join_parts, parts))
    terminal.say(f"wrote {output}: {len(parts)} parts")
