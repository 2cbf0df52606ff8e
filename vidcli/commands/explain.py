"""What `vidcli explain` does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidcli import checkpoint as files
from vidcli.console import Terminal, print_json
from vidcli.console.explanation import print_explanation
from vidcli.devices import choose_device
from vidcli.errors import ConfigError, VidcliError
from vidcli.explain import Explanation, MapMethod, explain_video
from vidcli.exported import load_network
from vidcli.report.explanation import draw_contact_sheet, iter_overlay_video
from vidcli.runtime.files import write_text, write_whole
from vidcli.video import encode_video

_OVERLAY_FPS = 4.0


def explain(
    terminal: Terminal,
    video: Path,
    model: Path | None,
    class_name: str | None,
    maps: MapMethod,
    form: str,
    out: Path | None,
    device: str,
) -> None:
    """Run `vidcli explain`."""
    chosen = choose_device(device)
    network, about = load_network(files.find_model(model))
    folder = out or Path(f"explain-{video.stem}")
    with _folder_to_fill(folder):
        explanation = explain_video(network.to(chosen), about, chosen, video, class_name, maps)
        _write(explanation, folder)
    if form == "json":
        print_json(explanation.to_dict())
    else:
        print_explanation(terminal, explanation)
    terminal.say(f"wrote sheet.png, overlay.mp4 and explanation.json to {folder}")


@contextmanager
def _folder_to_fill(folder: Path) -> Iterator[None]:
    """Make a folder before the work that it is for, and take it away again if nothing comes of that."""
    is_new = not folder.exists()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder}: is a file, where a folder was expected")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VidcliError(f"--out {folder}: cannot be written ({error.strerror})") from error
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # holds what was written before it failed
                folder.rmdir()
        raise


def _write(explanation: Explanation, folder: Path) -> None:
    text = json.dumps(explanation.to_dict(), indent=1) + "\n"
    write_text(folder / "explanation.json", text)
    write_whole(folder / "sheet.png", lambda path: draw_contact_sheet(explanation, path))

    def write_overlay(path: Path) -> None:
        named = path.with_name(f"{path.name}.mp4")  # the suffix names the container
        try:
            encode_video(named, iter_overlay_video(explanation), _OVERLAY_FPS)
            named.replace(path)
        finally:
            named.unlink(missing_ok=True)

    write_whole(folder / "overlay.mp4", write_overlay)
