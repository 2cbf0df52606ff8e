"""Options that several commands have."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vidcli.cli.completion import (
    complete_device,
    complete_model,
    complete_recipe,
    complete_setting,
    complete_split,
)


class OutputFormat(str, Enum):
    """How predictions are written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"
    srt = "srt"
    vtt = "vtt"


class ReportFormat(str, Enum):
    """How a report is written."""

    table = "table"
    json = "json"


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
    ),
]


SplitOption = Annotated[str, typer.Option(help="train, val, test, or all.", autocompletion=complete_split)]


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
