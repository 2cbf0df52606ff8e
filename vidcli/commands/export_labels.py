"""`vidcli export-labels`: segments of timelines as annotation files, to be corrected in other programs."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.import_labels import FpsOption, read_files
from vidcli.commands.options import OverwriteOption, path
from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.data.annotations.rendering import LabelledVideo


class LabelFormat(str, Enum):
    """A format that another program opens."""

    boris = "boris"
    boris_events = "boris-events"
    elan = "elan"
    label_studio = "label-studio"
    cvat = "cvat"
    via = "via"
    csv = "csv"


@app.command(
    "export-labels",
    rich_help_panel=USE,
    epilog=examples(
        "vidcli export-labels day.json --format boris -o day.boris",
        "vidcli export-labels day.csv --format elan -o eaf/",
        "vidcli export-labels m.csv --format via -o via.json",
    ),
)
def export_labels(
    ctx: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS",
            help="JSON or CSV of `vidcli timeline`, a manifest, or any file that `vidcli import` reads.",
            show_default=False,
        ),
    ],
    form: Annotated[LabelFormat, typer.Option("--format", help="Which program is to open it.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write; a folder for several videos in elan or cvat.",
            parser=path,
        ),
    ],
    media: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the videos; without it, where the results name them."),
    ] = None,
    fps: FpsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write segments of timelines as annotation files, to be corrected in other programs."""
    from vidcli.data.annotations.media import MediaFolder
    from vidcli.data.annotations.rendering import ONE_VIDEO_A_FILE, gather_videos, render_labels
    from vidcli.data.outputs_afar import open_output

    terminal = open_terminal(ctx)
    files = read_files(results)
    folder = None if media is None else MediaFolder(media)
    videos = gather_videos(files.values(), folder, fps)
    for file, content in files.items():
        for note in content.notes:
            terminal.warn(f"{file.name}: {note}")
    if absent := [video.recording.media for video in videos if video.info is None]:
        terminal.warn(
            f"{len(absent)} videos are not there, such as {absent[0]}; --media DIR names their folder"
        )
    inputs: list[Path | str] = [*results, *(video.recording.media for video in videos)]
    is_folder = output.is_dir() or len(videos) > 1
    if form.value in ONE_VIDEO_A_FILE and is_folder:
        _write_folder(terminal, form.value, videos, output, inputs, overwrite)
        return
    target = open_output("--output", output, inputs, overwrite)
    target.write_text(render_labels(form.value, videos))
    num_spans = sum(len(video.recording.spans) for video in videos)
    terminal.say(f"wrote {output}: {num_spans} spans of {len(videos)} videos")


def _write_folder(
    terminal: Terminal,
    form: str,
    videos: list[LabelledVideo],
    output: Path,
    inputs: list[Path | str],
    overwrite: bool,
) -> None:
    """Write a file for each video.

    Raises:
        ConfigError: two videos have one name.
    """
    from vidcli.data.annotations.rendering import file_name, render_labels
    from vidcli.runtime.outputs import OutputFolder

    names = [file_name(video, form) for video in videos]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"--output {output}: {count} videos would write {name}; export them one by one")
    texts = [render_labels(form, [video]) for video in videos]
    with OutputFolder(
        output, "export-labels", names, option="--output", inputs=inputs, overwrite=overwrite
    ) as made:
        for name, text in zip(names, texts, strict=True):
            made.write_text(name, text)
        made.remove_earlier()
    terminal.say(f"wrote {len(names)} files to {output}")
