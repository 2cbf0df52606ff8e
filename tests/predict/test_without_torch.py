"""An exported model predicts where torch cannot be imported, and answers to the last bit as beside torch.

The commands run in processes of their own, in which importing torch is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.config import Config, load_config
from vidcli.data.items import VideoItem
from vidcli.errors import DeviceError
from vidcli.export import ExportOptions, export_model
from vidcli.models import build_model
from vidcli.models.temporal_network import TemporalNetwork
from vidcli.models.temporal_weights import pack_network
from vidcli.models.timeline_rules import TimelineRules
from vidcli.predict import Predictor
from vidcli.predict.results import Source, _parts_of
from vidcli.predict.timeline import TimelineWork
from vidcli.predict.view_loader import ViewLoader
from vidcli.predict.window_plan import learnt_plan
from vidcli.runtime.threads import num_computing_threads
from vidcli.transforms import MEAN, STD, ClipTransform

FORMS = ("onnx", "openvino")
_REFUSE_TORCH = """
import sys
class Refused:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            raise RuntimeError("torch is imported")
sys.meta_path.insert(0, Refused)
"""


def run_without_torch(statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements in a process in which nothing can import torch."""
    command = [sys.executable, "-c", _REFUSE_TORCH + statements]
    root = Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)


def vidcli_without_torch(*arguments: object) -> list[dict[str, Any]]:
    """Return the JSON lines that a command prints in such a process."""
    words = ["vidcli", *map(str, arguments), "--format", "json"]
    done = run_without_torch(f"sys.argv = {words}\nfrom vidcli.__main__ import main\nmain()")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def predict_without_torch(*arguments: object) -> list[dict[str, Any]]:
    """Return what `vidcli predict` says of videos in such a process."""
    return vidcli_without_torch("predict", *arguments, "--top-k", "8")


@pytest.fixture(scope="module")
def videos(motion_data: Path) -> list[Path]:
    """Three test videos."""
    return sorted((motion_data / "test").rglob("*.mp4"))[::3][:3]


@pytest.fixture(scope="module")
def exports(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Export a model in a format."""
    torch.manual_seed(0)
    config = small_config(
        clip__views=2, clip__sampling="dense", clip__stride_seconds=0.125, data__clips_per_span=4
    )
    names = sorted(path.name for path in (motion_data / "train").iterdir())
    rules = TimelineRules(0.125, temporal=pack_network(TemporalNetwork(8, 4, uses_motion=False)))
    model = build_model(config.model, 8)
    checkpoint = Checkpoint(model.state_dict(), config, tuple(names), rules=rules)
    video = next((motion_data / "val").rglob("*.mp4"))
    items = [VideoItem(video, video.parent.name, "val")]
    made: dict[str, Path] = {}

    def export(form: str) -> Path:
        if form not in made:
            made[form] = tmp_path_factory.mktemp("exports") / form
            export_model(checkpoint, items, made[form], ExportOptions(form), lambda text: None)
        return made[form]

    return export


def test_the_process_without_torch_can_fail() -> None:
    done = run_without_torch("import vidcli.models.registry")
    assert done.returncode == 1
    assert "torch is imported" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_an_export_predicts_the_same_bits_without_torch(
    form: str, exports: Callable[[str], Path], videos: Sequence[Path]
) -> None:
    pytest.importorskip("onnxruntime" if form == "onnx" else form)
    expected = Predictor.load(exports(form), torch.device("cpu")).predict_many(videos)
    answers = predict_without_torch(*videos, "--model", exports(form))
    for answer, prediction in zip(answers, expected, strict=True):
        assert [(row["label"], row["probability"]) for row in answer["predictions"]] == prediction.top(8)


@pytest.mark.parametrize("form", FORMS)
def test_the_timeline_of_an_export_is_that_of_its_model_without_torch(
    form: str, exports: Callable[[str], Path], write_video: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime" if form == "onnx" else form)
    video = write_video(tmp_path / "long.mp4", num_frames=60)
    predictor = Predictor.load(exports(form), "cpu")
    plan = learnt_plan(predictor.config, predictor.rules)
    work = TimelineWork(predictor, video, plan, 0.0, predictor.rules)
    work.run()
    (answer,) = vidcli_without_torch("timeline", video, "--model", exports(form))
    expected = [(one.start_seconds, one.label, one.confidence) for one in work.finish().segments]
    assert [(one["start"], one["label"], one["confidence"]) for one in answer["segments"]] == expected


@pytest.mark.parametrize("changes", [{"focus": 0.5}, {"panels": "whole,window", "focus": 0.5}])
def test_windows_around_motion_need_no_torch(changes: dict[str, object], videos: Sequence[Path]) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom vidcli.config import load_config\n"
        "from vidcli.data.items import VideoItem\nfrom vidcli.predict.view_loader import ViewLoader\n"
        f"config = load_config(None, {[f'clip.{name}={value}' for name, value in changes.items()]})\n"
        f"views = ViewLoader(config).load(VideoItem(Path({str(videos[0])!r}), ''))\n"
        "import hashlib\nprint(hashlib.sha256(views.tobytes()).hexdigest())"
    )
    config = load_config(None, [f"clip.{name}={value}" for name, value in changes.items()])
    views = ViewLoader(config).load(VideoItem(videos[0], ""))
    done = run_without_torch(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(views.tobytes()).hexdigest()


def test_answers_go_to_a_file_without_torch(
    exports: Callable[[str], Path], videos: Sequence[Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    output = tmp_path / "answers.jsonl"
    predict_without_torch(*videos, "--model", exports("onnx"), "--output", output)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    predictor = Predictor.load(exports("onnx"), "cpu")
    assert {row["model"] for row in rows} == {Source.of(predictor, 8).model}
    assert isinstance(predictor.network, ExportedNetwork)
    # What tells the model from others is what versions wrote that kept the digest as a tensor.
    told = torch.frombuffer(bytearray(predictor.network.digest.encode()), dtype=torch.uint8)
    expected = [repr(("digest", told.dtype, tuple(told.shape))).encode(), told.numpy().tobytes()]
    assert list(_parts_of(predictor.network)) == expected


def test_a_device_that_is_not_there_is_refused_for_an_export_too(exports: Callable[[str], Path]) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(DeviceError, match="fpga: not found"):
        Predictor.load(exports("onnx"), "fpga")


def test_clips_are_those_that_torch_would_make() -> None:
    clip = load_config(None, ["clip.size=48", "clip.length=4"]).clip
    frames_THWC = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    expected = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).float().div_(255)
    mean_C11, std_C11 = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = expected.sub_(mean_C11).div_(std_C11)
    found = torch.from_numpy(ClipTransform(clip).array(frames_THWC))
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()  # torch chooses how to compute by that


@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_views_lie_in_memory_as_torch_would_stack_them(
    shuffle_seed: int | None,
    small_config: Callable[..., Config],
    write_video: Callable[..., Path],
    tmp_path: Path,
) -> None:
    config = small_config(clip__views=2, clip__length=4)
    item = VideoItem(write_video(tmp_path / "v.mp4"), "")
    views = torch.from_numpy(ViewLoader(config, shuffle_seed=shuffle_seed).load(item))
    frames_THWC = np.zeros((4, 32, 32, 3), np.uint8)
    clip_TCHW = ClipTransform(config.clip)(frames_THWC)
    assert views.stride() == torch.stack([clip_TCHW, clip_TCHW]).stride()


@pytest.mark.parametrize("told", [{}, {"OMP_NUM_THREADS": "1"}, {"MKL_NUM_THREADS": "1"}])
def test_as_many_threads_compute_without_torch_as_with_it(told: dict[str, str]) -> None:
    script = (
        "from vidcli.runtime.threads import num_computing_threads\n"
        "alone = num_computing_threads()\nimport torch\nprint(alone, torch.get_num_threads())"
    )
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**kept, **told}
    )
    alone, with_torch = done.stdout.split()
    assert alone == with_torch
    assert num_computing_threads() == torch.get_num_threads()


@pytest.mark.parametrize(("settings", "brings_torch"), [({"focus": 0.5}, True), ({}, False)])
def test_torch_comes_where_it_saves_more_than_its_import_takes(
    settings: dict[str, object], brings_torch: bool
) -> None:
    script = (
        "from vidcli.config import ClipConfig\nfrom vidcli.transforms import ClipTransform\n"
        f"transform = ClipTransform(ClipConfig.model_validate({settings}))\n"
        "transform.expect(49)\nprint('none yet')\ntransform.expect(1)"
    )
    done = run_without_torch(script)
    assert done.stdout.strip() == "none yet"
    assert (done.returncode == 1, "torch is imported" in done.stderr) == (brings_torch, brings_torch)
