from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError
from vidcli.models import MultiStreamClassifier, build_model, descriptor_sizes
from vidcli.models.action_stream import shrink_planes
from vidcli.models.stream_descriptors import describe_action, describe_motion, part_weights, span_weights

SMALL = "timm:test_resnet"


def build(streams: str, panels: int = 1) -> MultiStreamClassifier:
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=SMALL, streams=streams, panels=panels), 3).eval()
    assert isinstance(model, MultiStreamClassifier)
    return model


def scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return signed square roots at unit length."""
    roots = np.sign(values) * np.abs(values) / np.sqrt(np.abs(values) + 1e-4)
    return np.asarray(roots / np.sqrt((roots**2).sum() + 1e-4))


def plain_motion(cells_TF: npt.NDArray[np.float64], parts: int) -> npt.NDArray[np.float64]:
    """Return the motion descriptors of one clip, a part and a feature at a time, in float64."""
    length = len(cells_TF)
    change = cells_TF - cells_TF.mean(axis=0)
    bounds = [part * length // parts for part in range(parts + 1)]
    in_parts = [change[a : max(b, a + 1)].mean(axis=0) for a, b in itertools.pairwise(bounds)]

    return np.concatenate([scaled(np.concatenate(in_parts)), scaled(np.abs(change).mean(axis=0))])


@pytest.mark.parametrize("length", [4, 5, 8, 11, 16])
def test_motion_equals_the_plain_equations(length: int) -> None:
    cells_TF = np.random.default_rng(length).normal(size=(length, 7))
    found = describe_motion(torch.from_numpy(cells_TF)[None].float())[0].numpy()
    np.testing.assert_allclose(found, plain_motion(cells_TF, 4), atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 16])
def test_parts_average_frames(length: int) -> None:
    weights_ST = part_weights(length)
    np.testing.assert_allclose(weights_ST.sum(dim=1), 1, atol=1e-6)
    if length >= len(weights_ST):
        assert ((weights_ST > 0).sum(dim=0) == 1).all()  # every frame is in one part


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.0, 0.85), (0.15, 1.0)])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8])
def test_parts_of_a_span_average_what_they_overlap(length: int, span: tuple[float, float]) -> None:
    """Counted in steps so small that each lies in one part and in one moment."""
    weights_St = span_weights(length, span)
    steps = (np.arange(84_000) + 0.5) / 84_000
    part = np.floor((steps - span[0]) / (span[1] - span[0]) * len(weights_St)).astype(int)
    counted = np.zeros(weights_St.shape)
    inside = (part >= 0) & (part < len(weights_St))
    np.add.at(counted, (part[inside], (steps[inside] * length).astype(int)), 1)
    np.testing.assert_allclose(weights_St, counted / counted.sum(axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("length", [4, 8, 12])
def test_action_equals_the_plain_equations(length: int) -> None:
    cells = np.random.default_rng(length).normal(size=(length, 5, 9))
    quarters = [quarter.mean(axis=0) for quarter in np.split(cells, 4)]
    mean = np.mean(quarters, axis=0)
    course = np.stack([(quarter - mean).mean(axis=1) for quarter in quarters])
    found = describe_action(torch.from_numpy(cells).flatten(1)[None].float(), (0.0, 1.0))[0].numpy()
    np.testing.assert_allclose(
        found, np.concatenate([scaled(mean.ravel()), scaled(course.ravel())]), atol=1e-5
    )


def test_a_clip_cut_short_leaves_its_end_out_of_the_action() -> None:
    cells_BtF = torch.rand(1, 8, 18)
    early, late = (describe_action(cells_BtF, span) for span in ((0.0, 0.5), (0.5, 1.0)))
    torch.testing.assert_close(early, describe_action(cells_BtF[:, :4], (0.0, 1.0)))
    torch.testing.assert_close(late, describe_action(cells_BtF[:, 4:], (0.0, 1.0)))


def test_a_still_clip_has_no_motion() -> None:
    still = torch.rand(1, 1, 3, 64, 64).expand(1, 8, 3, 64, 64)
    assert build("motion").encode(still).abs().max() < 1e-2
    assert build("appearance").encode(still).abs().max() > 1e-2


def test_motion_does_not_see_what_stays_the_same() -> None:
    cells_BTF = torch.rand(1, 8, 5)
    torch.testing.assert_close(describe_motion(cells_BTF + 7), describe_motion(cells_BTF), atol=1e-3, rtol=0)


def test_panels_are_described_one_by_one() -> None:
    upper, lower = torch.rand(2, 1, 4, 3, 64, 64)
    model, single = build("both", panels=2), build("both")
    together = model.encode(torch.cat([upper, lower], dim=3))
    apart = torch.cat([single.encode(upper), single.encode(lower)], dim=1)
    torch.testing.assert_close(together, apart)
    assert together.shape[1] == sum(descriptor_sizes(model.backbone, model.config).values())


def test_descriptors_stand_in_the_order_of_their_sizes() -> None:
    clip = torch.rand(1, 4, 3, 64, 64)
    every = build("action+motion+appearance")
    sizes = descriptor_sizes(every.backbone, every.config)
    assert [stream for _, stream in sizes] == ["appearance", "motion", "action"]
    parts = torch.split(every.encode(clip), list(sizes.values()), dim=1)
    for (_, stream), part in zip(sizes, parts, strict=True):
        single = build(stream)
        single.load_state_dict({**every.state_dict(), **single.head.state_dict(prefix="head.")}, strict=False)
        torch.testing.assert_close(part, single.encode(clip))


@pytest.mark.parametrize("streams", ["action", "appearance,action", "action,motion+action"])
def test_clips_answer_the_same_alone_and_folded(streams: str) -> None:
    model = build(streams, panels=2)
    torch.nn.init.normal_(model.head.weight, std=0.01)
    clips = torch.rand(3, 6, 3, 128, 64)
    with torch.inference_mode():
        faster = model.folded()
        together = faster.encode(clips)
        alone = torch.cat([faster.encode(clip[None]) for clip in clips])
        torch.testing.assert_close(together, model.encode(clips), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    if streams == "action":
        assert torch.equal(alone, together)


def test_only_models_of_actions_hold_the_network_over_time() -> None:
    assert build("motion").action is None
    assert build("motion,action", panels=2).action is not None


def test_the_whole_clip_is_the_first_pace() -> None:
    clip = torch.rand(2, 8, 3, 64, 64)
    model = build("both")
    whole, early, late = model.encode_paces(clip, 3)
    torch.testing.assert_close(whole, model.encode(clip))
    assert not torch.equal(early, late)


def test_gradients_are_finite_where_nothing_moves() -> None:
    model = build("both")
    torch.nn.init.ones_(model.head.weight)
    still = torch.rand(1, 1, 3, 64, 64).repeat(1, 4, 1, 1, 1).requires_grad_()
    model(still).sum().backward()
    assert still.grad is not None
    assert torch.isfinite(still.grad).all()


@pytest.mark.parametrize("backbone", ["compact_cnn", "resnet18"])
def test_a_backbone_without_stages_is_refused(backbone: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.streams=appearance\+motion: needs maps of three stages"):
        build_model(ModelConfig(backbone=backbone, streams="both"), 3)


@pytest.mark.parametrize("shape", [(4, 3, 64, 64), (1, 4, 1, 64, 64), (1, 0, 3, 64, 64)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a clip"):
        build("both").encode(torch.zeros(shape))


def test_each_panel_has_streams_of_its_own() -> None:
    clip = torch.rand(2, 6, 3, 64, 32)
    mixed, both = build("motion,both", panels=2), build("both", panels=2)
    mixed.backbone.load_state_dict(both.backbone.state_dict())
    sizes = descriptor_sizes(both.backbone, both.config)
    columns = dict(zip(sizes, torch.split(both.encode(clip), list(sizes.values()), dim=1), strict=True))
    expected = torch.cat([columns[0, "motion"], columns[1, "appearance"], columns[1, "motion"]], dim=1)
    torch.testing.assert_close(mixed.encode(clip), expected)
    assert list(descriptor_sizes(mixed.backbone, mixed.config).values()) == [
        sizes[0, "motion"],
        sizes[1, "appearance"],
        sizes[1, "motion"],
    ]


@pytest.mark.parametrize("streams", ["", "sound", "off,motion", "motion,,both"])
def test_streams_have_names(streams: str) -> None:
    with pytest.raises(ValueError, match="expected off, or some of appearance, motion, action"):
        ModelConfig.model_validate({"streams": streams})


def test_streams_are_as_many_as_panels() -> None:
    with pytest.raises(ValueError, match=r"streams=motion,appearance\+motion names 2 streams for panels=3"):
        ModelConfig.model_validate({"streams": "motion,both", "panels": 3})


def test_smaller_frames_have_the_same_bits_with_any_number_of_threads() -> None:
    """With more threads `interpolate` gave other last bits, and `predict` of one video others than `eval`."""
    frames = torch.randn(8, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(shrink_planes(frames, (160, 160)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    expected = torch.nn.functional.interpolate(frames, (160, 160), mode="bilinear")
    torch.testing.assert_close(found[0], expected, atol=2e-6, rtol=0)
