"""More clips and crops a video: which they are, that they are averaged, and what they cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.errors import ConfigError
from vidcli.predict import Predictor
from vidcli.predict.predictor import with_views
from vidcli.video import decode_frames

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """The logits of a clip are its mean brightness and zero."""

    def forward(self, views_VTCHW):
        brightness_V = views_VTCHW.mean((1, 2, 3, 4))
        return torch.stack([brightness_V, torch.zeros_like(brightness_V)], dim=1)


@pytest.fixture
def seen_by(small_config):
    """Predict a video and return its prediction and the clips that the model was shown."""

    def call(video, views, crops, **settings):
        predictor = Predictor(Brightness(), small_config(clip__length=4, **settings), ("a", "b"), CPU)
        shown = []
        predictor = with_views(predictor, views, crops)
        (prediction,) = predictor.predict_many([video], lambda item, clips: shown.append(clips))
        assert prediction.error is None
        return prediction, torch.from_numpy(shown[0])

    return call


@pytest.mark.parametrize(("height", "width"), [(32, 96), (96, 32), (32, 32)])
def test_crops_lie_along_the_longer_side(seen_by, write_video, tmp_path, height, width):
    video = write_video(tmp_path / "v.mp4", height=height, width=width)
    _, one = seen_by(video, None, None)
    _, three = seen_by(video, None, 3)
    frames = torch.from_numpy(decode_frames(video, lambda duration: np.arange(4) * 0.25 + 0.125).frames)
    assert three.shape == (3, 4, 3, 32, 32)
    assert torch.equal(three[1], one[0])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for crop, clip in enumerate(three):
        start = crop * (max(height, width) - 32) // 2
        window = frames.narrow(1 if height > width else 2, start, 32)
        expected = ((window.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        torch.testing.assert_close(clip, expected, atol=1e-5, rtol=1e-5)


def test_all_clips_are_averaged(seen_by, write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4", width=96)
    prediction, clips = seen_by(video, 2, 3)
    assert clips.shape[0] == prediction.logits_VK.shape[0] == 6
    odds = np.exp(-clips.double().mean((1, 2, 3, 4)).numpy())
    assert prediction.probabilities[0] == pytest.approx(np.mean(1 / (1 + odds)), rel=1e-5)
    assert torch.equal(clips[:3], seen_by(video, 2, 3)[1][:3])
    assert not torch.equal(clips[:3], clips[3:])  # the second view has other moments


def test_whole_frames_have_no_crops(seen_by, write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4")
    with pytest.raises(ConfigError, match="--crops: this model reads whole frames"):
        seen_by(video, 1, 3, clip__fit="stretch")
    assert seen_by(video, 2, 1, clip__fit="stretch")[1].shape[0] == 2


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


def predict(run, *args):
    command = ["predict", *map(str, args), "--model", str(run), "--device", "cpu"]
    return CliRunner().invoke(app, command, env={"COLUMNS": "100"})


def test_the_command_tells_the_cost_and_saves_what_was_seen(run, write_video, tmp_path):
    video, folder = write_video(tmp_path / "v.mp4", width=96), tmp_path / "frames"
    given = video, "--views", 2, "--crops", 3, "--format", "json"
    result = predict(run, *given, "--save-frames", folder)
    assert result.exit_code == 0, result.stderr
    assert "2 views x 3 crops: 6 clips a video, 6 times the model's work; " in result.stderr
    assert (
        json.loads(result.stdout)["predictions"]
        != json.loads(predict(run, video, "--format", "json").stdout)["predictions"]
    )
    names = sorted(path.name for path in (folder / "0001_v").iterdir())
    assert len(names) == 2 * 3 * 4
    assert names[:2] == ["view1_crop1_frame01.png", "view1_crop1_frame02.png"]
    # Segment v + 1/2 of 2, of four segments of 1/4 s: the last frame of view 2 starts at 0.875 s.
    frames = decode_frames(video).frames
    seen = imread(folder / "0001_v" / "view2_crop3_frame04.png")
    np.testing.assert_array_equal((seen * 255).round(), frames[7][:, 64:])
    again = predict(run, *given, "--save-frames", folder)
    assert again.exit_code == 1
    assert "is not empty; choose another folder" in again.stderr


def test_a_file_of_other_views_is_not_continued(run, write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4", width=96)
    assert predict(run, video, "--output", tmp_path / "o.csv").exit_code == 0
    result = predict(run, video, "--output", tmp_path / "o.csv", "--views", 3)
    assert result.exit_code == 1
    assert "views=1 crops=1; now top-k=5 views=3 crops=1" in result.stderr
