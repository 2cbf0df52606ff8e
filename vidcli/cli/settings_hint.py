"""An option that is no option but a setting: `--epochs 5` is answered with `--set train.epochs=VALUE`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

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


class CommandWithSettings(TyperCommand):
    """A command with `--set`: an unknown option that has the name of a setting is answered with it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, as every command does."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter:
            raise
        except Exception as error:
            # Of an option that there is none of, for which typer has no public name.
            option = getattr(error, "option_name", None) if hasattr(error, "possibilities") else None
            sentence = None if option is None else name_setting(option)
            if sentence is None:
                raise
            raise _NoOption(sentence, ctx=ctx) from None


class _NoOption(typer.BadParameter):
    """A message that is shown as it is."""

    def format_message(self) -> str:
        """Return the message."""
        return str(self.message)


def name_setting(option: str) -> str | None:
    """Return what to type in place of an option that there is none of; None where no setting is near.

    Args:
        option: such as `--batch-size`.
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
    return f"no option {option}; {what} " + " or ".join(f"--set {name}=VALUE" for name in found)


def _called(given: str, names: Sequence[str]) -> list[str]:
    """Return the settings of a name, or of a last part of one."""
    return [name for name in names if given in (name, name.replace(".", "_"), name.partition(".")[2])]
