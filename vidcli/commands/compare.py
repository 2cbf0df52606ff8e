"""What `vidcli train --compare` does."""

from __future__ import annotations

from pathlib import Path

from vidcli import config as settings
from vidcli.commands.motion import prepare_motion_videos
from vidcli.console import Terminal, print_json
from vidcli.console.training_view import CompareView, print_comparison
from vidcli.demo import DEMO_RECIPE
from vidcli.errors import ConfigError
from vidcli.runtime.devices import choose_device
from vidcli.train import compare_heads, refuse_taken

SPLITS_TO_SCORE = ("auto", "test")


def compare(
    terminal: Terminal,
    data: Path | None,
    recipe: str | None,
    assignments: list[str],
    out: Path | None,
    device: str,
    split: str,
    as_json: bool,
) -> None:
    """Run `vidcli train --compare`."""
    if split not in SPLITS_TO_SCORE:
        raise ConfigError(f"--split {split}: expected {' or '.join(SPLITS_TO_SCORE)}")
    chosen = choose_device(device)
    if data is None:
        recipe = recipe or DEMO_RECIPE
    config = settings.load_config(recipe, assignments)
    if data is None:
        if out is not None:
            refuse_taken(out)
        terminal.say("no DATA given: comparing on the built-in motion videos")
        data = prepare_motion_videos(terminal)
    with CompareView(terminal) as view:
        comparison = compare_heads(config, data, split, out, chosen, view)
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(terminal, comparison)
    if out is not None:
        terminal.say(
            f"{comparison.best} on {comparison.backbone}, trained on all but the test videos, is in {out}. "
            f"Next: vidcli eval --model {out}"
        )
