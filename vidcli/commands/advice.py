"""What `vidcli predict` advises after a look at its own work: the export that would pay."""

from __future__ import annotations

import importlib.util
import shlex
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from vidcli.artifacts.run_folder import EXPORT_FILE, MODEL_FILE, SPLITS_FILE
from vidcli.predict import Prediction, Predictor

_MIN_SECONDS = 3.0
"""How long to look before judging."""

_MIN_SHARE = 0.5
_SAVED_SHARE = 0.5
"""Of the model's time, what the export saves at least. Measured with AVX-512 VNNI: 0.61, the demo's
model on one core, to 0.85, a ResNet-50 on two."""

_EXPORT_SECONDS = 120.0
"""What the export is reckoned to take: of a ResNet-18 at 8x64x64, calibrated on 200 videos and
validated on 400, it was about 200 s of processor time."""

_SWITCH_SECONDS = 10.0
"""What it takes to start again with an export that is there."""

_EXPORT_NEEDS = ("onnx", "onnxscript", "openvino", "nncf")


def watch_for_export(
    predictions: Generator[Prediction, None, None],
    predictor: Predictor,
    model_file: Path,
    num_videos: int,
    tell: Callable[[str], None],
) -> Generator[Prediction, None, None]:
    """Yield predictions as they come, and say once that an export would pay, if it would.

    It does where most of the time goes into a torch model on the CPU, and the videos to come need so
    much of it that a faster copy saves more time than it costs.

    Args:
        predictions: of the predictor.
        predictor: whose time is looked at.
        model_file: as `find_model` gives it.
        num_videos: how many predictions will come.
        tell: shows a sentence.
    """
    started = spent = 0.0
    is_settled = predictor.device.type != "cpu" or model_file.is_dir()
    with closing(predictions):
        for number, prediction in enumerate(predictions):
            if number == 0:  # it also pays for what torch sets up
                started, spent = time.perf_counter(), predictor.model_seconds
            elif not is_settled and (elapsed := time.perf_counter() - started) >= _MIN_SECONDS:
                is_settled = True
                in_model = predictor.model_seconds - spent
                num_left = num_videos - number - 1
                if sentence := advise(model_file, in_model / number, in_model / elapsed, num_left):
                    tell(sentence)
            yield prediction


def advise(model_file: Path, seconds_a_video: float, share: float, num_left: int) -> str:
    """Return the export that would pay, as a sentence with its command; empty where none would.

    Args:
        model_file: of torch.
        seconds_a_video: that the model takes.
        share: of the time that goes into the model.
        num_left: videos to come.
    """
    export = model_file.with_name("export-openvino-int8")
    is_there = _is_newer(export / EXPORT_FILE, model_file)
    cost = _SWITCH_SECONDS if is_there else _EXPORT_SECONDS
    if share < _MIN_SHARE or seconds_a_video * num_left * _SAVED_SHARE < cost:
        return ""
    found = f"{share:.0%} of the time goes into the model, {seconds_a_video * 1000:.0f} ms a video"
    if is_there:
        return f"{found}; its int8 export is faster: --model {shlex.quote(str(export))}"
    model = model_file.parent if model_file.name == MODEL_FILE else model_file
    command = f"vidcli export --model {shlex.quote(str(model))} --int8"
    if not (model_file.parent / SPLITS_FILE).is_file():
        command += " --data FOLDER"  # of labelled videos; `export --help` tells
    if not all(importlib.util.find_spec(name) for name in _EXPORT_NEEDS):
        command = f"pip install 'vidcli[export]' && {command}"
    return (
        f"{found}; an int8 export for this CPU would pay: {command}, then predict with "
        f"--model {shlex.quote(str(export))}"
    )


def _is_newer(file: Path, than: Path) -> bool:
    try:
        return file.stat().st_mtime >= than.stat().st_mtime
    except OSError:
        return False
