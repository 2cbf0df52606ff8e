"""`vidcli explain`: which frames of a video, and what in them, an answer rests on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.options import (
    WHOLE_PICTURES,
    BoxesOption,
    DeviceOption,
    ModelOption,
    ReportFormat,
    ReportFormatOption,
    TrackOption,
    path,
)
from vidcli.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from vidcli.arrays import Frames
    from vidcli.artifacts.description import Checkpoint
    from vidcli.data.items import VideoItem
    from vidcli.explain import Explanation
    from vidcli.runtime.outputs import OutputFolder

_OVERLAY_FPS = 4.0
_FILES = ("sheet.png", "overlay.mp4", "explanation.json")
_MAX_NAME_BYTES = 240
_MAX_FOLDERS = 1000
_MOST_NAMED = 8


class MapChoice(str, Enum):
    """How places in a frame are weighed."""

    gradients = "gradients"
    grad_cam = "grad-cam"


@app.command(
    rich_help_panel=LOOK_INSIDE,
    epilog=examples(
        "vidcli explain clip.mp4",
        "vidcli explain clip.mp4 --label wave --out why/",
        "vidcli explain clip.mp4 --boxes tracks/ --track a",
    ),
)
def explain(
    ctx: typer.Context,
    video: Annotated[Path, typer.Argument(help="Video file.", parser=path)],
    model: ModelOption = None,
    label: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class to explain; without it, the predicted one.")
    ] = None,
    maps: Annotated[
        MapChoice, typer.Option(help="Integrated gradients, or Grad-CAM of a frame backbone.")
    ] = MapChoice.gradients,
    boxes: BoxesOption = None,
    track: TrackOption = None,
    form: ReportFormatOption = ReportFormat.table,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the pictures; without it, explain-VIDEO here, or explain-VIDEO-2 and so on."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies in the folder under the same names.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Show which frames of a video, and what in them, an answer rests on."""
    from vidcli.artifacts.exported import load_network
    from vidcli.artifacts.run_folder import CONFIG_FILE, find_model
    from vidcli.console import print_json
    from vidcli.console.model_tables import print_explanation
    from vidcli.explain import explain_video
    from vidcli.fonts import picture_names
    from vidcli.predict.predictor import with_boxes_of
    from vidcli.runtime.devices import choose_device

    if track is not None and boxes is None:
        raise typer.BadParameter("--track: is a subject of --boxes; give them too")
    terminal = open_terminal(ctx)
    chosen = choose_device(device)
    model_file = find_model(model)
    run = [model_file.parent] if (model_file.parent / CONFIG_FILE).is_file() else []
    inputs = [video, model_file, *run, *([] if boxes is None else [boxes])]
    item = _find_subject(video, boxes, track)
    with _open_folder(item, out, overwrite, inputs) as folder:
        network, about = load_network(model_file)
        if boxes is None and about.config.subject.boxes is not None:
            terminal.warn(f"{WHOLE_PICTURES}; --boxes names boxes")
        about = replace(about, config=with_boxes_of(about.config, boxes))
        explanation = explain_video(network, about, chosen, item, label, maps.value)
        _write(explanation, about, folder)
    if (note := picture_names([explanation.class_name]).note) is not None:
        terminal.warn(note)
    if form is ReportFormat.json:
        print_json(explanation.to_dict())
    else:
        print_explanation(terminal, explanation)
    terminal.say(f"wrote {', '.join(_FILES)} to {folder.folder}")


def _find_subject(video: Path, boxes: Path | None, track: str | None) -> VideoItem:
    """Return the video, or the subject of it that is explained.

    Raises:
        ConfigError: it has several.
        DataError: there are no boxes of it.
    """
    from vidcli.predict.view_loader import item_of

    whole = item_of(video)
    if boxes is None:
        return whole
    from vidcli.config import SubjectConfig
    from vidcli.data.subjects import expand_subjects

    found = expand_subjects([whole], SubjectConfig(boxes=os.path.abspath(boxes)), track)
    if len(found) > 1:
        names = ", ".join(str(item.track) for item in found[:_MOST_NAMED])
        raise ConfigError(f"{video}: has boxes of {len(found)} subjects ({names}); --track NAME explains one")
    return found[0]


def _open_folder(item: VideoItem, out: Path | None, overwrite: bool, inputs: Sequence[Path]) -> OutputFolder:
    """Return the folder to fill; without `out` it is explain-VIDEO, or the next number that is free.

    Args:
        item: the video, or a subject of it.
        out: as --out says.
        overwrite: replace files of another video.
        inputs: what is read.

    Raises:
        OutputError: the folder holds something else.
        WriteError: it cannot be made.
    """

    from vidcli.runtime.outputs import OutputFolder

    subject = replace(item, path=Path(os.path.abspath(item.path))).name

    def open_one(folder: Path) -> OutputFolder:
        return OutputFolder(folder, "explain", _FILES, subject=subject, inputs=inputs, overwrite=overwrite)

    if out is not None:
        return open_one(out)
    name = _shorten(f"explain-{item.path.stem}")
    for number in range(1, _MAX_FOLDERS):
        with suppress(OutputError):  # it holds another video of that name, or somebody else's files
            return open_one(Path(name if number == 1 else f"{name}-{number}"))
    return open_one(Path(f"{name}-{_MAX_FOLDERS}"))


def _shorten(name: str) -> str:
    """Return as much of a name as leaves room for a number in the name of a folder."""
    while len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = name[:-1]
    return name.rstrip()


def _write(explanation: Explanation, about: Checkpoint, folder: OutputFolder) -> None:
    """Write the numbers, the video with the weights drawn over it, and a sheet of its frames."""
    from vidcli.explain import iter_pictures
    from vidcli.report.heatmaps import Overlay, draw_contact_sheet, shrink_to_cell
    from vidcli.video import encode_video

    folder.write_text("explanation.json", json.dumps(explanation.to_dict(), indent=1) + "\n")
    overlay = Overlay(explanation)
    cells = []

    def pictures() -> Iterator[Frames]:
        for frame, picture in enumerate(iter_pictures(explanation, about)):
            heated = overlay.heat(picture, frame)
            cells.append(shrink_to_cell(heated))
            yield overlay.finish(heated, frame)

    folder.write("overlay.mp4", lambda path: encode_video(path, pictures(), _OVERLAY_FPS))
    folder.write("sheet.png", lambda path: draw_contact_sheet(explanation, cells, path))
