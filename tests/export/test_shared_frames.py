"""Windows of a recording, and pictures of a camera, share features of frames in an export as in its model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.predict.segmenting import build_timeline
from vidcli.artifacts.engines import Run
from vidcli.artifacts.exported import ExportedNetwork, open_network
from vidcli.artifacts.graph_parts import WHOLE, Part
from vidcli.config import Config
from vidcli.export.conversion import network_files, to_onnx, to_openvino, trace
from vidcli.models import build_model
from vidcli.predict import Predictor
from vidcli.predict.live import FeatureSession, open_session
from vidcli.predict.window_plan import plan_windows
from vidcli.video import LiveFrame

NAMES = ("a", "b", "c")
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def both(
    request: pytest.FixtureRequest,
    small_config: Callable[..., Config],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Predictor, Predictor]:
    """A model and its export, whose whole network is never computed."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    config = small_config(clip__length=8, clip__stride_seconds=0.125, model__frame_differences=True)
    model = build_model(config.model, len(NAMES)).eval()
    network = to_onnx(trace(model, 8, *config.clip.size, any_length=True, with_features=True))
    if request.param == "openvino":
        network = to_openvino(network)
    files = network_files(network, request.param, folder)

    def open_part(num_callers: int, part: Part) -> Run:
        if part == WHOLE:
            return lambda clip_BTCHW: pytest.fail("the whole network was computed")
        return open_network(folder, request.param, files, num_callers, part)

    exported = ExportedNetwork(
        folder, open_part, len(NAMES), request.param, "float32", "0" * 64, sees_neighbours=False
    )
    # It computes on the CPU also where a GPU is asked for.
    gpu = torch.device("cuda")
    return Predictor(model, config, NAMES, CPU), Predictor(exported, config, NAMES, gpu)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_windows(
    both: tuple[Predictor, Predictor],
    write_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_threads: int,
) -> None:
    monkeypatch.setattr("vidcli.predict.feature_windows._AT_ONCE", 5)
    video = write_video(tmp_path / "v.mp4", num_frames=40)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        expected, found = (
            build_timeline(predictor, video, plan_windows(8, 1.0), 0).probabilities_NK for predictor in both
        )
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(np.unique(expected.round(6), axis=0)) > 5


def test_pictures_of_a_camera(both: tuple[Predictor, Predictor]) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(256, size=(12, 48, 64, 3), dtype=np.uint8)
    answers = []
    for predictor in both:
        session = open_session(predictor, False, 0.125)
        assert isinstance(session, FeatureSession)
        for number, picture in enumerate(pictures):
            session.push([LiveFrame(picture, number / 8, number, due=0.0, arrival=0.0)])
            if session.is_full:
                answers.append(session.answer())
    expected, found = np.split(np.array(answers), 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(np.unique(expected.round(6), axis=0)) == len(expected) == 5
