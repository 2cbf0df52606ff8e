"""What `vidcli predict` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vidcli import checkpoint as files
from vidcli.console import Terminal
from vidcli.console.predictions import PredictionWriter
from vidcli.devices import choose_device
from vidcli.errors import VidcliError
from vidcli.predict import Predictor, collect_videos


def predict(
    terminal: Terminal,
    videos: list[Path],
    model: Path | None,
    top_k: int,
    form: str,
    output: Path | None,
    device: str,
) -> int:
    """Run `vidcli predict`; return the exit code: 1 if a video failed."""
    chosen = choose_device(device)
    model_file = files.find_model(model)
    predictor = Predictor.load(model_file, chosen)
    paths = collect_videos(videos)
    terminal.detail(f"model: {model_file}")
    num_failed = 0
    with _opened(output) as stream:
        writer = PredictionWriter(terminal, form, top_k, stream)
        with terminal.counting("predicting", len(paths)) as show:
            for done, prediction in enumerate(predictor.predict_many(paths), start=1):
                writer.write(prediction)
                if prediction.error is not None:
                    num_failed += 1
                    terminal.fail(f"{prediction.video}: {prediction.error}")
                show(done, len(paths))
        writer.close()
    return 1 if num_failed else 0


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO | None]:
    if output is None:
        yield None
        return
    try:
        with open(output, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
    except OSError as error:
        raise VidcliError(f"--output {output}: cannot be written ({error.strerror})") from error
