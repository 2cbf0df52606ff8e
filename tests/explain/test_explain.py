"""Explanations say what they claim: of the right shape for every network, and not of any network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.commands.app import app
from vidcli.config import ClipConfig, Config, ModelConfig, load_config
from vidcli.console import Terminal
from vidcli.console.model_tables import print_explanation
from vidcli.console.terminal import Verbosity
from vidcli.errors import ConfigError
from vidcli.explain import Explanation, MapMethod, explain_video
from vidcli.explain.explainer import _on_whole_frames
from vidcli.explain.frame_weights import delete_frames, log_probability, occlude_frames, weigh_frames
from vidcli.explain.maps import grad_cam, integrated_gradients, map_frames
from vidcli.models import backbone_names, build_model, head_names
from vidcli.models.timm_networks import TimmBackbone
from vidcli.report.heatmaps import overlay_frames
from vidcli.transforms import ClipTransform, to_pixels

CPU = torch.device("cpu")


def build(backbone: str, head: str, seed: int = 0, *settings: str) -> nn.Module:
    torch.manual_seed(seed)
    config = load_config(None, [f"model.backbone={backbone}", f"model.head={head}", *settings])
    return build_model(config.model, 4).eval()


def random_clip(num_frames: int = 5, side: int = 32) -> Tensor:
    return torch.randn(num_frames, 3, side, side, generator=torch.Generator().manual_seed(1))


class Watcher(nn.Module):
    """Says class 1 by how bright one place of one frame is."""

    def __init__(self, frame: int, rows: slice, columns: slice) -> None:
        super().__init__()
        self.frame, self.rows, self.columns = frame, rows, columns

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        seen_B = clip_BTCHW[:, self.frame, :, self.rows, self.columns].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(seen_B), seen_B], dim=1)


@pytest.mark.parametrize("head", head_names())
def test_every_head_has_weights_and_maps(head: str) -> None:
    network = build("compact_cnn", head, 0, "model.grid=1")
    clip = random_clip()
    method, weights = weigh_frames(network, clip, 2)
    assert method == ("attention" if hasattr(network.head, "frame_weights") else "occlusion")
    assert weights.shape == (5,)
    assert np.isfinite(weights).all()
    if method == "attention":
        assert weights.sum() == pytest.approx(1)
    for maps in (map_frames(network, clip, 2, "gradients"), map_frames(network, clip, 2, "grad-cam")):
        assert maps.shape == (5, 32, 32)
        assert maps.min() >= 0
        assert maps.max() == pytest.approx(1)


@pytest.mark.parametrize("backbone", ["simple_cnn", "resnet18", "mobilenet_v3_small"])
def test_backbones_of_all_kinds(backbone: str) -> None:
    network = build(backbone, "gru")
    clip = random_clip(3, 64)
    assert weigh_frames(network, clip, 0)[1].shape == (3,)
    assert map_frames(network, clip, 0, "gradients").shape == (3, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", backbone_names())
def test_every_backbone(backbone: str) -> None:
    network = build(backbone, "gru")
    clip = random_clip(3, 64)
    assert weigh_frames(network, clip, 0)[1].shape == (3,)
    assert map_frames(network, clip, 0, "gradients").shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("backbone", "num_frames", "side"),
    [
        ("mc3_18", 4, 32),
        *(
            pytest.param(name, *shape, marks=pytest.mark.slow)
            for name, shape in {
                "r3d_18": (4, 32), "r2plus1d_18": (4, 32), "s3d": (14, 224), "swin3d_t": (4, 32),
                "mvit_v1_b": (16, 224), "mvit_v2_s": (16, 224),
            }.items()
        ),
    ],
)  # fmt: skip
def test_whole_video_networks(backbone: str, num_frames: int, side: int) -> None:
    network = build(backbone, "gru")
    clip = random_clip(num_frames, side)
    method, weights = weigh_frames(network, clip, 2)
    assert (method, weights.shape) == ("occlusion", (num_frames,))
    maps = map_frames(network, clip, 2, "gradients")
    assert maps.shape == (num_frames, side, side)
    assert maps.max() == pytest.approx(1)
    with pytest.raises(ConfigError, match="needs one last map of each frame"):
        map_frames(network, clip, 2, "grad-cam")


def test_occlusion_finds_the_frame_and_the_place() -> None:
    clip = torch.zeros(6, 3, 56, 56)
    clip[3, :, 8:16, 40:48] = 4.0
    network = Watcher(3, slice(8, 16), slice(40, 48))
    weights = occlude_frames(network, clip, 1)
    assert weights.argmax() == 3
    np.testing.assert_allclose(np.delete(weights, 3), 0, atol=1e-6)
    shares = integrated_gradients(network, clip, 1)
    inside = shares[3, :, 8:16, 40:48].sum()
    # Of the clip standing still the place is a sixth as bright.
    assert float(inside) == pytest.approx(4.0 * 5 / 6, abs=1e-5)
    assert float(shares.abs().sum()) == pytest.approx(float(inside), abs=1e-5)
    frame, row, column = np.unravel_index(map_frames(network, clip, 1, "gradients").argmax(), (6, 56, 56))
    assert (frame, 8 <= row < 16, 40 <= column < 48) == (3, True, True)
    with pytest.raises(ConfigError, match="use gradients"):
        map_frames(network, clip, 1, "grad-cam")


def test_integrated_gradients_share_out_the_whole_difference() -> None:
    network = build("compact_cnn", "gru")
    clip = random_clip()
    shares = integrated_gradients(network, clip, 2, num_steps=200)
    still = clip.mean(dim=0, keepdim=True).expand_as(clip)
    with torch.inference_mode():
        logits = network(torch.stack([clip, still]))[:, 2]
    assert float(shares.sum()) == pytest.approx(float(logits[0] - logits[1]), rel=0.02, abs=1e-3)


def test_occlusion_is_the_fall_of_log_probability() -> None:
    network = build("compact_cnn", "gru")
    clip = random_clip()
    weights = occlude_frames(network, clip, 1)
    without = clip[[0, 1, 1, 3, 4]]
    with torch.inference_mode():
        logits = network(torch.stack([clip, without])).double().numpy()
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    logs = np.log(odds / odds.sum(axis=1, keepdims=True))[:, 1]
    assert weights[2] == pytest.approx(logs[0] - logs[1], abs=1e-5)
    # Of a multi-label model, what becomes of the other classes is no part of it.
    alone = -np.log1p(np.exp(-logits[:, 1]))
    assert occlude_frames(network, clip, 1, True)[2] == pytest.approx(alone[0] - alone[1], abs=1e-5)


def test_deleted_frames_are_held_over_by_their_nearest() -> None:
    clip = torch.arange(5.0).view(5, 1, 1, 1)
    assert delete_frames(clip, [0, 3]).flatten().tolist() == [1, 1, 2, 2, 4]
    assert delete_frames(clip[:1], [0]).flatten().tolist() == [0]
    with pytest.raises(ValueError, match="at least one"):
        delete_frames(clip, range(5))


def test_grad_cam_is_gradient_times_activation() -> None:
    """Against NumPy in float64: a linear head on the mean of the grid makes the map its own logit."""
    network = build("simple_cnn", "mean", 0, "model.grid=1")
    network.projection = nn.Identity()
    torch.manual_seed(3)
    network.head.output = nn.Linear(64, 4)
    clip = random_clip(2, 16)
    with torch.inference_mode():
        doubled = torch.cat([clip, torch.cat([torch.zeros_like(clip[:1]), clip[1:] - clip[:1]])], dim=1)
        map_NDhw = network.backbone(doubled).double().numpy()
    weight_D = network.head.output.weight[1].detach().double().numpy()
    num_cells = map_NDhw.shape[0] * map_NDhw.shape[2] * map_NDhw.shape[3]
    expected = np.einsum("ndhw,d->nhw", map_NDhw, weight_D).clip(min=0) / num_cells
    np.testing.assert_allclose(grad_cam(network, clip, 1).numpy(), expected, atol=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("method", ["gradients", "grad-cam"])
def test_other_weights_give_other_maps(method: MapMethod) -> None:
    """The model-randomisation check of Adebayo et al. 2018 (arXiv:1810.03292)."""
    clip = random_clip(4, 64)
    maps = [map_frames(build("compact_cnn", "gru", seed), clip, 0, method) for seed in (0, 0, 1)]
    first, same, other = (map_THW.flatten() for map_THW in maps)
    np.testing.assert_array_equal(first, same)
    assert np.corrcoef(first, other)[0, 1] < 0.5


@pytest.fixture(scope="module")
def model(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    torch.manual_seed(0)
    config = small_config()
    names = sorted(path.name for path in (motion_data / "train").iterdir())
    path = tmp_path_factory.mktemp("explain") / "model.safetensors"
    save_checkpoint(
        path, Checkpoint(build_model(config.model, len(names)).state_dict(), config, tuple(names))
    )
    return path


def run(*args: object) -> object:
    return CliRunner().invoke(app, ["explain", *(str(arg) for arg in args)], env={"COLUMNS": "120"})


def test_the_command_writes_pictures_and_numbers(model: Path, motion_data: Path, tmp_path: Path) -> None:
    video = next((motion_data / "test" / "left").iterdir())
    out = tmp_path / "why"
    result = run(video, "--model", model, "--out", out, "--label", "right", "--format", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told == json.loads((out / "explanation.json").read_text())
    assert told["label"] == "right"
    assert len(told["frames"]) == 4
    seconds = [frame["seconds"] for frame in told["frames"]]
    assert seconds == sorted(seconds)
    assert (out / "sheet.png").read_bytes().startswith(b"\x89PNG")
    record = ".vidcli-explain.json"
    names = sorted(path.name for path in out.iterdir())
    assert names == [record, "explanation.json", "overlay.mp4", "sheet.png"]
    from vidcli.video import decode_frames

    assert len(decode_frames(out / "overlay.mp4", None).frames) == 4
    table = run(video, "--model", model, "--out", out)
    assert table.exit_code == 0, table.output
    assert "frames by occlusion" in table.stdout


@pytest.mark.parametrize("size", [(90, 161), (161, 90), (64, 64)])
def test_the_overlay_has_the_size_of_the_video(
    size: tuple[int, int], model: Path, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    from vidcli.video import decode_frames

    even = tuple(side & ~1 for side in size)
    video = write_video(tmp_path / "v.mp4", 8, *even)
    result = run(video, "--model", model, "--out", tmp_path / "why")
    assert result.exit_code == 0, result.output
    frames = decode_frames(tmp_path / "why" / "overlay.mp4", None).frames
    assert frames.shape == (4, *even, 3)
    original = decode_frames(video, None).frames.astype(int)
    # The upper edge has no legend: it is the video, though cut off there and so darker, or heated.
    for frame, same in zip(frames, original[[1, 3, 5, 7]], strict=True):
        assert np.corrcoef(frame[:8].ravel(), same[:8].ravel())[0, 1] > 0.5


def test_a_still_clip_has_a_flat_map_and_is_said_to(
    model: Path, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    from vidcli.video import decode_frames, encode_video

    still = decode_frames(write_video(tmp_path / "v.mp4", 1, 64, 64), None).frames[0]
    encode_video(tmp_path / "still.mp4", [still] * 8, 8)
    result = run(tmp_path / "still.mp4", "--model", model, "--out", tmp_path / "why")
    assert result.exit_code == 0, result.output
    assert "the map of places is flat" in result.output
    told = json.loads((tmp_path / "why" / "explanation.json").read_text())
    assert told["map_is_flat"] is True
    assert [frame["focus"] for frame in told["frames"]] == [None] * 4


@pytest.mark.parametrize("focus", [1.0, 0.5])
def test_the_window_is_what_the_network_saw(focus: float) -> None:
    config = load_config(None, ["clip.size=32", f"clip.focus={focus}", "clip.crop_ratio=0.8"]).clip
    transform = ClipTransform(config)
    frames = np.random.default_rng(0).integers(
        0, 256, (4, *transform.decode_size(60, 100), 3), dtype=np.uint8
    )
    frames[:, :, : frames.shape[2] // 2] = 0  # what moves is on the right
    top, left, height, width = transform.seen_windows(frames)[0][0]
    seen = frames[:, top : top + height, left : left + width]
    shown = to_pixels(transform.array(frames), config)
    if (height, width) == (32, 32):
        np.testing.assert_array_equal(seen, shown)
    else:
        small = seen.mean(axis=(1, 2))
        np.testing.assert_allclose(shown.mean(axis=(1, 2)), small, atol=6)
    assert left > 0


def test_small_weights_and_those_against_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    shape = (3, 8, 8)
    explanation = Explanation(
        "a.mp4", "up", "up", 0.99, np.zeros((*shape, 3), np.uint8), np.arange(3.0),
        np.array([0.00042, -0.00021, 0.0]), np.zeros(shape, np.float32), "occlusion", "gradients",
    )  # fmt: skip
    print_explanation(Terminal.open(Verbosity.NORMAL), explanation)
    told = capsys.readouterr().out
    for row in (f"+0.00042 │ {'█' * 30}", f"-0.00021 │ {'▒' * 15} ", "+0.00000 │  "):
        assert row in told
    assert "▒ against it" in told


def test_bad_input(model: Path, motion_data: Path, tmp_path: Path) -> None:
    video = next((motion_data / "test" / "left").iterdir())
    unknown = run(video, "--model", model, "--label", "rihgt")
    assert unknown.exit_code == 2
    assert "Did you mean 'right'?" in unknown.stderr
    missing = run(tmp_path / "none.mp4", "--model", model, "--out", tmp_path / "why")
    assert missing.exit_code == 1
    assert "none.mp4" in missing.stderr
    assert not (tmp_path / "why").exists()
    (tmp_path / "file").write_text("")
    taken = run(video, "--model", model, "--out", tmp_path / "file")
    assert taken.exit_code == 2
    assert "is no folder" in taken.stderr


def test_overlays_are_clear_where_nothing_matters(model: Path, motion_data: Path) -> None:
    from dataclasses import replace

    from vidcli.artifacts.exported import load_network

    network, about = load_network(model)
    video = next((motion_data / "test" / "up").iterdir())
    explanation = explain_video(network, about, CPU, video)
    nothing = replace(explanation, maps_THW=np.zeros_like(explanation.maps_THW))
    np.testing.assert_array_equal(overlay_frames(nothing), explanation.frames_THWC)
    assert (overlay_frames(replace(explanation, maps_THW=np.ones_like(explanation.maps_THW))) > 0).any()
    # What is shown is what the network saw: the small frames of the file, within rounding.
    assert explanation.frames_THWC.shape == (4, 32, 32, 3)
    assert log_probability(network, [torch.zeros(4, 3, 32, 32)], 0).shape == (1,)


@pytest.fixture
def twins(motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two videos of one base name; the working directory is a folder of its own."""
    for folder, video in zip(("one", "two"), sorted((motion_data / "test").rglob("*.mp4")), strict=False):
        (tmp_path / folder).mkdir()
        shutil.copy(video, tmp_path / folder / "v.mp4")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "one/v.mp4", tmp_path / "two/v.mp4"


def video_in(folder: str) -> str:
    return str(json.loads(Path(folder, "explanation.json").read_text(encoding="utf-8"))["video"])


def test_videos_of_one_name_get_a_folder_each(model: Path, twins: tuple[Path, Path]) -> None:
    Path("explain-v").mkdir()
    Path("explain-v/mine.txt").write_text("mine")
    for video, folder in ((twins[0], "explain-v-2"), (twins[1], "explain-v-3")) * 2:
        result = run(video, "--model", model)
        assert result.exit_code == 0, result.output
        assert f"to {folder}" in result.stderr
    assert [video_in(f"explain-v-{number}") for number in (2, 3)] == list(map(str, twins))
    assert sorted(path.name for path in Path().iterdir()) == ["explain-v", "explain-v-2", "explain-v-3"]
    assert [path.name for path in Path("explain-v").iterdir()] == ["mine.txt"]


def test_a_folder_of_another_video_or_of_the_user_is_refused(model: Path, twins: tuple[Path, Path]) -> None:
    assert run(twins[0], "--model", model, "--out", "why").exit_code == 0
    other = run(twins[1], "--model", model, "--out", "why")
    assert other.exit_code == 2
    assert f"holds what `vidcli explain` wrote about {twins[0]}" in other.stderr.replace("\n", "")
    assert video_in("why") == str(twins[0])
    assert run(twins[1], "--model", model, "--out", "why", "--overwrite").exit_code == 0
    assert video_in("why") == str(twins[1])
    Path("mine").mkdir()
    Path("mine/sheet.png").write_text("mine")
    assert run(twins[0], "--model", model, "--out", "mine").exit_code == 2
    assert Path("mine/sheet.png").read_text() == "mine"
    assert run(twins[0], "--model", model, "--out", "mine", "--overwrite").exit_code == 0
    beside = run(twins[0], "--model", model, "--out", twins[0])
    assert beside.exit_code == 2


def test_an_output_that_is_an_input_is_refused_before_any_work(model: Path, twins: tuple[Path, Path]) -> None:
    video = twins[0].rename(twins[0].with_name("overlay.mp4"))
    content = video.read_bytes()
    result = run(video, "--model", model, "--out", video.parent, "--overwrite")
    assert result.exit_code == 2
    assert "is an input of this command" in result.stderr.replace("\n", " ")
    assert video.read_bytes() == content
    assert [path.name for path in video.parent.iterdir()] == ["overlay.mp4"]


@pytest.mark.parametrize("letter", ["x", "ü", "行"])
def test_the_longest_name_has_a_folder(letter: str, model: Path, twins: tuple[Path, Path]) -> None:
    stem = letter * (250 // len(letter.encode()))
    for folder in ("one", "two"):
        video = twins[0].parents[1] / folder / "v.mp4"
        result = run(video.rename(video.with_name(f"{stem}.mp4")), "--model", model)
        assert result.exit_code == 0, result.output
    names = sorted(path.name for path in Path().iterdir())
    assert len(names) == 2
    assert names[1] == f"{names[0]}-2"
    assert names[0].startswith(f"explain-{letter * 50}")


def test_panels_are_folded_into_the_whole_frame() -> None:
    maps = np.zeros((2, 30, 10), dtype=np.float32)
    maps[:, 10:20] = 0.5  # the window speaks for the class, the whole frame does not
    maps[1, 20:] = 0.25
    still = (0.5, 0.2, 0.3, 0.4)
    folded = _on_whole_frames(
        maps, [[(0, 0, 1, 1)] * 2, [still] * 2, [(0.5, 0.2, 0.1, 0.1), (0.9, 0.9, 0.1, 0.1)]]
    )
    expected = np.zeros((2, 10, 10))
    expected[:, 5:8, 2:6] = 0.5
    expected[1, 9, 9] = 0.25
    np.testing.assert_allclose(folded, expected)


def test_streams_are_explained_a_few_frames_at_a_time(
    motion_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All frames of several clips at once took 7 GB."""
    config = Config(
        clip=ClipConfig(size=(32, 32), length=16, panels=("whole",)),
        model=ModelConfig(backbone="timm:test_resnet", streams="both", pretrained=False),
    )
    network = build_model(config.model, 2).eval()
    counts: list[int] = []
    see = TimmBackbone.stages

    def counted(self: TimmBackbone, frames_NCHW: torch.Tensor) -> Any:
        counts.append(len(frames_NCHW))
        return see(self, frames_NCHW)

    monkeypatch.setattr(TimmBackbone, "stages", counted)
    about = Checkpoint(dict(network.state_dict()), config, ("a", "b"), {}, "")
    explained = explain_video(network, about, CPU, next((motion_data / "test" / "up").iterdir()))
    assert explained.frame_method == "occlusion"
    assert len(explained.weights_T) == 16
    assert sum(counts) >= 16 * 17
    assert max(counts) <= 4
