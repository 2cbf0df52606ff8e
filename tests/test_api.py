"""`vidcli.load` from Python gives what the commands give."""

from __future__ import annotations

import inspect
import json
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import vidcli
from vidcli.commands.app import app
from vidcli.data.items import VideoItem
from vidcli.errors import CheckpointError, DeviceError
from vidcli.predict import Prediction, Predictor
from vidcli.train import start_run


@pytest.fixture(scope="module")
def run(motion_data, small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "runs" / "one"
    folder.parent.mkdir()
    start_run(small_config(), motion_data, folder, torch.device("cpu"), lambda event: None)
    return folder


@pytest.fixture(scope="module")
def videos(motion_data):
    return sorted((motion_data / "test").rglob("*.mp4"))[:4]


def test_the_same_probabilities_as_the_command(run, videos):
    command = ["predict", *map(str, videos), "--model", str(run), "--format", "json", "--device", "cpu"]
    lines = CliRunner().invoke(app, [*command, "--top-k", "8"]).stdout.splitlines()
    model = vidcli.load(run, device="cpu")
    for video, line in zip(videos, lines, strict=True):
        prediction = model.predict(str(video))
        told = [{"label": label, "probability": p} for label, p in prediction.top(8)]
        assert told == json.loads(line)["predictions"]
        assert (prediction.label, prediction.probability) == prediction.top(1)[0]
    many = list(model.predict_many(videos))
    np.testing.assert_array_equal(many[2].probabilities, model.predict(videos[2]).probabilities)


def test_one_path_is_one_video_and_no_string_of_letters(run, videos):
    model = vidcli.load(run, device="cpu")
    for one in (str(videos[0]), videos[0], VideoItem(videos[0], "")):
        (prediction,) = model.predict_many(one)
        np.testing.assert_array_equal(prediction.probabilities, model.predict(videos[0]).probabilities)


def test_a_run_a_file_and_the_newest_run_are_one_model(run, videos, monkeypatch):
    expected = vidcli.load(str(run)).predict(videos[0]).probabilities
    np.testing.assert_array_equal(
        vidcli.load(run / "model.safetensors").predict(videos[0]).probabilities, expected
    )
    monkeypatch.chdir(run.parent.parent)
    np.testing.assert_array_equal(vidcli.load().predict(videos[0]).probabilities, expected)


def test_a_video_that_fails_is_a_prediction_with_its_error(run, tmp_path):
    prediction = vidcli.load(run).predict(tmp_path / "gone.mp4")
    assert isinstance(prediction, Prediction)
    assert (prediction.error, prediction.label, prediction.probability) == ("no such file", None, None)


def test_bad_models_and_devices_are_named(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: no such run directory or model file"):
        vidcli.load(tmp_path / "nowhere")
    with pytest.raises(DeviceError, match="--device tpu"):
        vidcli.load(run, device="tpu")


def test_it_is_typed_and_documented():
    assert Path(vidcli.__file__).with_name("py.typed").exists()
    assert inspect.signature(vidcli.load).return_annotation == "Predictor"
    hints = typing.get_type_hints(Predictor.predict)
    assert hints["return"] is Prediction
    assert "Raises" in vidcli.load.__doc__
