"""`vidcli pack`: small copies of labelled videos in tar files, which train faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import PREPARE, app, examples, open_terminal
from vidcli.commands.options import ConfigOption, OverwriteOption, SetOption, path

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.data.packing import Packed


@app.command(
    rich_help_panel=PREPARE,
    epilog=examples(
        "vidcli pack videos/ -o shards/",
        "vidcli pack videos.csv -o shards/ --short-side 320",
    ),
)
def pack(
    ctx: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder or manifest, as for train.", parser=path)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the shards; a stopped call goes on."),
    ],
    short_side: Annotated[
        int,
        typer.Option(min=32, max=4096, help="Pixels of the shorter side; smaller videos keep their size."),
    ] = 256,
    keyframe_every: Annotated[
        int, typer.Option(min=1, max=1000, help="Frames from one keyframe to the next.")
    ] = 12,
    quality: Annotated[
        int, typer.Option(min=0, max=51, help="x264's constant rate factor: less is better and larger.")
    ] = 20,
    videos_per_shard: Annotated[int, typer.Option(min=1, help="Videos of one tar file.")] = 1000,
    config: ConfigOption = None,
    assignments: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Pack labelled videos into shards: small copies with many keyframes, in WebDataset's tar files.

    Labels, groups and splits stay as they are; where there are no splits, those are drawn that train draws.
    """
    from vidcli.config import load_config
    from vidcli.data.manifest import read_data
    from vidcli.data.packing import Packer
    from vidcli.data.splits import assign_splits
    from vidcli.errors import DataError
    from vidcli.runtime.outputs import OutputFolder
    from vidcli.video.write.compact import CompactCoding

    terminal = open_terminal(ctx)
    settings = load_config(config, assignments or [])
    listing = read_data(data, missing_ok=True, settings=settings.data)
    for note in listing.notes:
        terminal.warn(note)
    items = assign_splits(listing.items, settings.data)
    coding = CompactCoding(short_side, keyframe_every, quality)
    packer = Packer(items, settings, coding, videos_per_shard)
    output = OutputFolder(
        out, "pack", packer.names, subject=packer.subject, inputs=[data], overwrite=overwrite
    )
    try:
        with output, terminal.counting("packing", past="packed") as show:
            packed = packer.run(output, show, lambda error: terminal.fail(str(error)))
    except KeyboardInterrupt:
        terminal.warn("stopped; the same command goes on")
        raise
    if not packed.num_videos:
        raise DataError(f"{data}: not one of its videos can be decoded, so that nothing was packed")
    _print_packed(terminal, packed, out, settings.clip.length)
    raise typer.Exit(1 if packed.failures else 0)


def _print_packed(terminal: Terminal, packed: Packed, out: Path, clip_length: int) -> None:
    from vidcli.console.text import count_noun, format_bytes

    terminal.say(
        f"wrote {out}: {count_noun(packed.num_videos, 'video')} in {count_noun(packed.num_shards, 'shard')}, "
        f"{format_bytes(packed.packed_bytes)} in place of {format_bytes(packed.source_bytes)}"
    )
    if packed.speedup is not None:
        terminal.say(
            f"clips of {clip_length} frames are read {packed.speedup:.1f} times as fast as from the "
            f"sources, in one thread. Next: vidcli train {out}"
        )
