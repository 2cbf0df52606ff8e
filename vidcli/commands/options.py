"""Options that several commands have, and the answer to an option that is no option but a setting."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand

from vidcli.commands.completion import (
    complete_device,
    complete_model,
    complete_recipe,
    complete_setting,
    complete_split,
)
from vidcli.storage.addresses import path_of


class ReportFormat(str, Enum):
    """How a report is written."""

    table = "table"
    json = "json"


def path(text: str) -> Path:
    """Return what a command line names: a file or folder, an address, or a member of a tar file."""
    return path_of(text)


ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="RECIPE",
        help="Recipe: a YAML file, or the name of a built-in one.",
        autocompletion=complete_recipe,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, as in train.lr=3e-4; `vidcli settings` lists them.",
        autocompletion=complete_setting,
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", autocompletion=complete_device)
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="Run directory or model file; without it VIDCLI_MODEL, then the newest run.",
        autocompletion=complete_model,
        parser=path,
    ),
]
SplitOption = Annotated[str, typer.Option(help="train, val, test, or all.", autocompletion=complete_split)]
NamedSplitOption = Annotated[
    str | None,
    typer.Option(
        help="train, val, test, or all; without it test.", show_default=False, autocompletion=complete_split
    ),
]
ReportFormatOption = Annotated[ReportFormat, typer.Option("--format", help="How to write.")]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace files that this command did not write; never its inputs, its model or its data.",
    ),
]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Where the run's own videos are now, if they moved; noted in the run.",
        show_default=False,
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Run directory to make; without it, one under runs/.")]

# Of `predict`, `timeline` and `live`.
VideosArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="VIDEO...",
        help="Video files, folders of them, quoted patterns such as 'day*/*.mp4', manifests (.csv), shards "
        "(.tar), and addresses of these such as s3://bucket/a.mp4.",
        show_default=False,
        parser=path,
    ),
]
FromListOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="File with more of these, one a line; - reads standard input."),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, metavar="P", help="Call a video unknown if no class is at least this probable."
    ),
]
AnnotateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="VIDEO", help="Write the video with labels and bars of confidence drawn in.", parser=path
    ),
]
BoxesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Boxes or points of subjects in each frame, from MOT, COCO, DeepLabCut, SLEAP or a table; each "
        "subject has a window of its own.",
        show_default=False,
    ),
]
TrackOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="With --boxes, take this subject only.", show_default=False)
]
WindowOption = Annotated[
    float | None,
    typer.Option(min=0.01, help="Seconds of a window; without it, those of the training clips."),
]


class VideoOptions(NamedTuple):
    """What the command lines of `vidcli predict` and `vidcli timeline` both say.

    Attributes:
        videos: files, folders, patterns and manifests.
        from_list: file that names more of them, `-` for standard input.
        model: run directory, model file or exported model; None is the usual one.
        threshold: the probability, 0 to 1, below which an answer is unknown; None always answers.
        form: such as json; None goes by the name of `output`.
        output: file to write; None is standard output.
        shard: the part of the videos to take, such as 1/4; None goes by torchrun's environment.
        device: as --device says.
        annotate: video to write, with labels and bars drawn into it.
        overwrite: replace files that are in the way of outputs.
        boxes: file or folder with boxes of subjects; None sees whole pictures.
        track: the only subject to look at; None looks at all.
    """

    videos: Sequence[Path]
    from_list: str | None
    model: Path | None
    threshold: float | None
    form: str | None
    output: Path | None
    shard: str | None
    device: str
    annotate: Path | None
    overwrite: bool
    boxes: Path | None = None
    track: str | None = None


def refuse_pipe(videos: Sequence[Path]) -> None:
    """Refuse `-` among the videos, which could mean two things.

    Raises:
        typer.BadParameter: says how to give a piped video, and piped names.
    """
    if Path("-") in videos:
        raise typer.BadParameter("-: a piped video is `vidcli live -`, piped names are --from-list -")


def require_videos(options: VideoOptions) -> None:
    """Refuse a command line that names no video.

    Raises:
        typer.BadParameter: says how to name some.
    """
    if not options.videos and options.from_list is None:
        raise typer.BadParameter("name videos, folders or manifests, or give --from-list FILE")


WHOLE_PICTURES = "this model learnt from windows around subjects, and sees whole pictures now"

_OTHER_NAMES = {
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "batch": "batch_size",
    "bs": "batch_size",
    "network": "backbone",
    "frames": "length",
    "num_frames": "length",
    "image_size": "size",
    "wd": "weight_decay",
}
"""What other programs call a setting of ours."""

_NEAR = 0.8
"""How alike two names are, from 0 to 1, before one is taken for a misspelling of the other."""


class CommandWithSettings(TyperCommand):
    """A command with `--set`: an unknown option that has the name of a setting is answered with it.

    Attributes:
        flags: the option of the command that sets a setting, by the name of the setting.
    """

    flags: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, as every command does."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter:
            raise
        except Exception as error:
            # Typer has no public name for the error that an unknown option raises.
            option = getattr(error, "option_name", None) if hasattr(error, "possibilities") else None
            sentence = None if option is None else name_setting(option, self.flags)
            if sentence is None:
                raise
            raise _NoOption(sentence, ctx=ctx) from None


class _NoOption(typer.BadParameter):
    """A message that is shown as it is."""

    def format_message(self) -> str:
        """Return the message."""
        return str(self.message)


def name_setting(option: str, flags: Mapping[str, str]) -> str | None:
    """Return what to type in place of an option that does not exist; None where no setting is near.

    Args:
        option: such as `--clip-length`.
        flags: the option of the command that sets a setting, by the name of the setting.
    """
    from vidcli.config import iter_settings

    names = [setting.name for setting in iter_settings()]
    given = option.lstrip("-").partition("=")[0].replace("-", "_").lower()
    last_parts = [name.partition(".")[2] for name in names]
    found = _called(given, names) or _called(_OTHER_NAMES.get(given, given), names)
    if found:
        what = "the setting is"
    else:
        near = difflib.get_close_matches(given, [*last_parts, *names], n=1, cutoff=_NEAR)
        found = _called(near[0], names) if near else []
        what = "the nearest setting is"
    if not found:
        return None
    spellings = [f"{flags[name]} VALUE" if name in flags else f"--set {name}=VALUE" for name in found]
    return f"no option {option}; {what} {' or '.join(spellings)}"


def _called(given: str, names: Sequence[str]) -> list[str]:
    """Return the settings that have a name, whole or after their section."""
    return [name for name in names if given in (name, name.replace(".", "_"), name.partition(".")[2])]
