"""`vidcli predict` advises an export where it would pay, once, and only there."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.predict import export_advice as advice


@pytest.fixture
def run(tmp_path):
    """A run directory with a space in its name."""
    folder = tmp_path / "my run"
    folder.mkdir()
    for name in ("model.safetensors", "splits.csv"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("milliseconds", "share", "num_left", "pays"),
    [
        (440, 0.95, 1000, True),  # ResNet-18 at 16 x 224 x 224
        (440, 0.95, 100, False),  # done before the export were
        (440, 0.30, 1000, False),  # decoding is what takes the time
        (3, 0.60, 1000, False),  # the demo's model
        (440, 0.95, 0, False),
    ],
)
def test_it_pays_where_the_model_takes_long_and_much_is_left(run, milliseconds, share, num_left, pays):
    sentence = advice.advise(run / "model.safetensors", milliseconds / 1000, share, num_left)
    assert bool(sentence) == pays


def commands_in(sentence):
    """Return the words after each `--model` and the whole command of a sentence."""
    words = shlex.split(sentence.replace(",", " , "))
    return [words[place + 1] for place, word in enumerate(words) if word == "--model"]


def test_the_command_is_complete(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    sentence = advice.advise(run / "model.safetensors", 1, 0.9, 1000)
    assert sentence.startswith("90% of the time goes into the model, 1000 ms a video")
    assert f"vidcli export --model '{run}' --int8, then" in sentence
    assert commands_in(sentence) == [str(run), f"{run}/export-openvino-int8"]
    (run / "splits.csv").unlink()
    assert "--int8 --data FOLDER" in advice.advise(run / "model.safetensors", 1, 0.9, 1000)


def test_what_the_export_needs_is_named(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else object())
    assert "pip install 'vidcli[export]' && vidcli export" in advice.advise(
        run / "model.safetensors", 1, 0.9, 1000
    )


def test_an_export_that_is_there_is_named_unless_it_is_older(run):
    export = run / "export-openvino-int8"
    export.mkdir()
    (export / "vidcli.json").touch()
    # Starting again costs little, so that less work is enough.
    sentence = advice.advise(run / "model.safetensors", 1, 0.9, 30)
    assert commands_in(sentence) == [str(export)]
    later = time.time() + 60
    os.utime(run / "model.safetensors", (later, later))
    assert advice.advise(run / "model.safetensors", 1, 0.9, 30) == ""
    assert "vidcli export" in advice.advise(run / "model.safetensors", 1, 0.9, 1000)


def watched(monkeypatch, model_file, device="cpu", seconds=1.0, num_videos=1000):
    """Predict with a model of so many seconds a video; return what was told, and after which video."""
    now, told = [0.0], []
    monkeypatch.setattr(advice.time, "perf_counter", lambda: now[0])
    predictor = SimpleNamespace(is_on_cpu=device == "cpu", model_seconds=0.0)

    def predict():
        for number in range(num_videos):
            spent = 30.0 if number == 0 else seconds  # the first is no measure
            now[0] += spent + 0.1
            predictor.model_seconds += spent
            yield number

    predictions = advice.watch_for_export(predict(), predictor, model_file, num_videos, told.append)
    after = [(number, len(told)) for number in predictions]
    assert [number for number, _ in after] == list(range(num_videos))
    return told, next((number for number, count in after if count), None)


def test_it_is_said_once_after_the_first_seconds(run, monkeypatch):
    told, after = watched(monkeypatch, run / "model.safetensors")
    assert len(told) == 1
    assert "91% of the time goes into the model, 1000 ms a video" in told[0]
    assert after == 3


def test_nothing_is_said_of_small_work_of_gpus_and_of_exports(run, monkeypatch):
    assert watched(monkeypatch, run / "model.safetensors", seconds=0.01) == ([], None)
    assert watched(monkeypatch, run / "model.safetensors", num_videos=50) == ([], None)
    assert watched(monkeypatch, run / "model.safetensors", device="cuda") == ([], None)
    assert watched(monkeypatch, run) == ([], None)


@pytest.fixture(scope="module")
def trained(quick_run):
    return quick_run


def test_the_command_says_it_on_stderr(trained, motion_data, tmp_path, monkeypatch):
    for name in ("_MIN_SECONDS", "_EXPORT_SECONDS", "_MIN_SHARE"):
        monkeypatch.setattr(advice, name, 0.0)

    def predict(*args):
        command = ["predict", str(motion_data / "test"), "--model", str(trained), "--device", "cpu", *args]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr.count("an int8 export for this CPU would pay")

    assert predict()[1] == 1
    assert predict("--quiet")[1] == 0
    assert predict("--output", str(tmp_path / "a.jsonl"))[1] == 1
    # A script that reads JSON and throws stderr away, or mixes it in, has no use for it.
    stdout, times = predict("--format", "json")
    assert times == 0
    assert len([json.loads(line) for line in stdout.splitlines()]) == 16
