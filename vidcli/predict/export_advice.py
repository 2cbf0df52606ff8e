"""Advice to export the model, where that would save more time than it costs."""

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
"""How long the work is measured before it is judged."""

_MIN_SHARE = 0.5
_SAVED_SHARE = 0.5
"""The share of the model's time that an export saves at least. Measured with AVX-512 VNNI: 0.61 with the
demo's model on one core, to 0.85 with a ResNet-50 on two."""

_EXPORT_SECONDS = 120.0
"""How long an export is assumed to take. That of a ResNet-18 at 8x64x64, calibrated on 200 videos and
validated on 400, took about 200 s of processor time."""

_SWITCH_SECONDS = 10.0
"""How long it takes to start again with an export that exists already."""

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
        predictions: the answers, as the predictor gives them.
        predictor: the model; it counts the seconds that it takes.
        model_file: as `find_model` returns it.
        num_videos: number of predictions that will come.
        tell: takes the sentence to show.
    """
    started = spent = 0.0
    is_settled = not predictor.is_on_cpu or model_file.is_dir()
    with closing(predictions):
        for number, prediction in enumerate(predictions):
            if number == 0:  # with the first video torch also sets itself up
                started, spent = time.perf_counter(), predictor.model_seconds
            elif not is_settled and (elapsed := time.perf_counter() - started) >= _MIN_SECONDS:
                is_settled = True
                in_model = predictor.model_seconds - spent
                num_left = num_videos - number - 1
                if sentence := advise(model_file, in_model / number, in_model / elapsed, num_left):
                    tell(sentence)
            yield prediction


def advise(model_file: Path, seconds_a_video: float, share: float, num_left: int) -> str:
    """Return a sentence with the command of an export that would pay; empty where none would.

    Args:
        model_file: a model file, not an exported model.
        seconds_a_video: seconds that the model takes for a video.
        share: share of all time that goes into the model, 0 to 1.
        num_left: number of videos to come.
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
