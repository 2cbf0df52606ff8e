"""Explanations of a model that has learnt motion, held against the generator's own masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import load_network
from vidcli.config import load_config
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.explain import Explanation, explain_video
from vidcli.explain.frame_weights import delete_frames, log_probability, occlude_frames
from vidcli.synthetic import MOTION_CLASSES, MotionClip, MotionVideoOptions, render_motion
from vidcli.train import start_run
from vidcli.transforms import ClipTransform
from vidcli.video import encode_video

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
OPTIONS = MotionVideoOptions()
NUM_CLIPS = 6


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Checkpoint]:
    folder = tmp_path_factory.mktemp("demo")
    data = make_motion_data(folder / "data", MotionDataOptions())
    run, _ = start_run(load_config("demo"), data, folder / "run", CPU, lambda event: None)
    return load_network(run / "model.safetensors")


@pytest.fixture(scope="module")
def explained(
    demo: tuple[nn.Module, Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[MotionClip, Explanation]]:
    """Clips that the model has never seen, and why it says what it says of them."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"

    def explain() -> Iterator[tuple[MotionClip, Explanation]]:
        for class_name in MOTION_CLASSES:
            for seed in range(NUM_CLIPS):
                clip = render_motion(class_name, np.random.default_rng([99, seed]), OPTIONS)
                encode_video(path, list(clip.frames), OPTIONS.fps)
                yield clip, explain_video(*demo, CPU, path)

    return list(explain())


def test_maps_point_at_what_moves(explained: list[tuple[MotionClip, Explanation]]) -> None:
    """The pointing game (Zhang et al. 2016, arXiv:1608.00507), frame by frame."""
    hits, areas = [], []
    for clip, explanation in explained:
        numbers = (explanation.seconds_T * OPTIONS.fps + 1e-3).astype(int)
        for map_HW, mask in zip(explanation.maps_THW, clip.masks[numbers], strict=True):
            row, column = np.unravel_index(map_HW.argmax(), map_HW.shape)
            scale = mask.shape[0] / map_HW.shape[0]
            hits.append(mask[int((row + 0.5) * scale), int((column + 0.5) * scale)])
            areas.append(mask.mean())
    print(f"pointing game {np.mean(hits):.3f}, chance {np.mean(areas):.3f}")
    assert np.mean(areas) < 0.2
    assert np.mean(hits) >= 0.8


def test_the_frames_that_weigh_most_are_missed_most(demo: tuple[nn.Module, Checkpoint]) -> None:
    network, about = demo
    transform = ClipTransform(about.config.clip)
    rng = np.random.default_rng(0)
    heaviest, random = [], []
    side = about.config.clip.size[0]
    options = MotionVideoOptions(size=(side, side), num_frames=about.config.clip.length)
    for class_name in MOTION_CLASSES:
        for seed in range(NUM_CLIPS):
            frames = render_motion(class_name, np.random.default_rng([77, seed]), options).frames
            clip = transform(frames)
            label = list(about.class_names).index(class_name)
            weights = occlude_frames(network, clip, label)
            top = np.argsort(-weights)[: len(weights) // 2]
            others = [rng.permutation(len(weights))[: len(top)] for _ in range(8)]
            clips = [delete_frames(clip, set(chosen.tolist())) for chosen in (top, *others)]
            left = log_probability(network, clips, label)
            heaviest.append(left[0])
            random.append(left[1:].mean())
    print(f"log probability: heaviest half gone {np.mean(heaviest):.3f}, any half {np.mean(random):.3f}")
    assert np.mean(heaviest) < np.mean(random)
