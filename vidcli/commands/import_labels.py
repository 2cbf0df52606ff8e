"""`vidcli import`: a manifest from annotation files of other programs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import PREPARE, app, examples, open_terminal
from vidcli.commands.options import OverwriteOption, path
from vidcli.errors import DataError

if TYPE_CHECKING:
    from vidcli.data.annotations import Annotations

FpsOption = Annotated[
    float | None,
    typer.Option("--fps", min=0.001, help="Frames a second, where spans are counted in frames."),
]
FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="ANNOTATIONS",
        help="Files of BORIS, ELAN, Label Studio, CVAT, VIA, FERAL, DeepEthogram, SimBA; tables.",
        show_default=False,
    ),
]


class GroupKind(str, Enum):
    """What must not part between splits."""

    recording = "recording"
    folder = "folder"
    subject = "subject"


@app.command(
    "import",
    rich_help_panel=PREPARE,
    epilog=examples(
        "vidcli import day.boris --media videos/ -o day.csv",
        "vidcli import *.eaf --media videos/ -o all.csv",
        "vidcli import a.csv --media videos/ --fps 25 -o m.csv",
    ),
)
def import_labels(
    ctx: typer.Context,
    annotations: FilesArgument,
    media: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the videos, or one video.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Manifest to write.", parser=path)
    ],
    fps: FpsOption = None,
    point_seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="Make a span of this length of each moment; without it, left out."),
    ] = None,
    background: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Label what no span covers; without it, left out.")
    ] = None,
    subject: Annotated[str | None, typer.Option(metavar="NAME", help="Take what is about this one.")] = None,
    tracks: Annotated[
        bool,
        typer.Option("--tracks", help="Give each subject rows of its own, for the boxes of `train --boxes`."),
    ] = False,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Cut spans that overlap into rows with several labels.")
    ] = False,
    group: Annotated[
        GroupKind, typer.Option(help="What must not part between splits.")
    ] = GroupKind.recording,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a manifest from annotation files of other programs; their format is found by their content."""
    from vidcli.data.annotations.assembly import AssemblyOptions, assemble
    from vidcli.data.annotations.media import MediaFolder
    from vidcli.data.annotations.spans import name_counts
    from vidcli.data.items import name_few
    from vidcli.data.manifest import manifest_text
    from vidcli.data.outputs_afar import open_output

    terminal = open_terminal(ctx)
    folder = MediaFolder(media)
    target = open_output("--output", output, [*annotations, *folder.videos], overwrite)
    files = read_files(annotations)
    options = AssemblyOptions(fps, point_seconds, background, subject, multi_label, group.value, tracks)
    made = assemble(files, folder, options)
    for form in dict.fromkeys(content.form for content in files.values()):
        terminal.say(f"{name_few([path for path, one in files.items() if one.form == form])}: {form}")
    for note in [*made.notes, *made.missing]:
        terminal.warn(note)
    target.write_text(manifest_text(made.items))
    labels = [item.label for item in made.items]
    num_videos = len({item.path for item in made.items})
    terminal.say(
        f"wrote {output}: {len(labels)} spans of {len(set(labels))} classes in {num_videos} videos "
        f"({name_counts(labels)}). Next: vidcli check {output}"
    )
    raise typer.Exit(1 if made.missing else 0)


def read_files(paths: list[Path]) -> dict[Path, Annotations]:
    """Return the content of annotation files.

    Raises:
        DataError: some cannot be read; names all of them.
    """
    from vidcli.data.annotations import read_annotations

    files: dict[Path, Annotations] = {}
    faults: list[str] = []
    for file in dict.fromkeys(paths):
        try:
            files[file] = read_annotations(file)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return files
