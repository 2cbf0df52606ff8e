"""Random changes of a clip: the same for all its frames, within their range, and none unasked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from vidcli.config import AugmentConfig, ClipConfig
from vidcli.transforms import MEAN, STD, ClipTransform
from vidcli.transforms.augment import change_colour
from vidcli.transforms.randaugment import _OPERATIONS, draw_operations, rand_augment

EVERYTHING = AugmentConfig(
    crop_scale=0.4, crop_aspect=1.5, brightness=0.4, contrast=0.4, saturation=0.5, hue=0.2,
    randaugment=2, erase=0.5,
)  # fmt: skip
SIZE = (24, 32)


def random_frames(num_frames: int, size: tuple[int, int] = SIZE, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, *size, 3), dtype=np.uint8)


def random_clip(seed: int = 0, num_frames: int = 3) -> torch.Tensor:
    return torch.rand(num_frames, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def transform(augment: AugmentConfig, flip: bool = False) -> ClipTransform:
    return ClipTransform(ClipConfig(size=SIZE), augment, flip)


def values(clip_TCHW: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation."""
    return clip_TCHW * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


# --- all together ---------------------------------------------------------------------------------


def test_a_static_clip_stays_static_whatever_is_drawn() -> None:
    frames = np.repeat(random_frames(1, (40, 40)), 5, axis=0)
    for seed in range(60):
        clip = transform(EVERYTHING, flip=True)(frames, np.random.default_rng(seed))
        torch.testing.assert_close(clip, clip[:1].expand_as(clip), rtol=0, atol=2e-6)


def test_values_stay_those_of_pixels() -> None:
    frames = random_frames(2, (40, 40))
    for seed in range(40):
        clip = values(transform(EVERYTHING, flip=True)(frames, np.random.default_rng(seed)))
        assert clip.shape == (2, 3, *SIZE)
        assert clip.min() >= -1e-5
        assert clip.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_aspect": 1.0},
        {"saturation": 0.0, "hue": 0.0},
        {"randaugment": 0, "randaugment_magnitude": 30},
        {"erase": 0.0},
    ],
)
def test_settings_that_change_nothing_draw_nothing(changes: dict[str, Any]) -> None:
    frames = random_frames(2, (40, 40))
    before = {"crop_scale": 0.4, "brightness": 0.4}
    plain, same = np.random.default_rng(3), np.random.default_rng(3)
    assert torch.equal(
        transform(AugmentConfig(**before))(frames, plain),
        transform(AugmentConfig(**before, **changes))(frames, same),
    )
    assert plain.random() == same.random()


# --- window ---------------------------------------------------------------------------------------


def test_random_proportions_stay_in_their_range_and_reach_its_ends() -> None:
    # Ramps down and to the right: the spans that are left tell height and width of the window.
    down, right = np.meshgrid(np.arange(120), np.arange(160), indexing="ij")
    frames = np.stack([down, right, right], axis=-1).astype(np.uint8)[None]
    change = ClipTransform(ClipConfig(size=(30, 40)), AugmentConfig(crop_scale=0.2, crop_aspect=2))
    aspects, shares = [], []
    for seed in range(300):
        clip = values(change(frames, np.random.default_rng(seed)))[0] * 255
        height, width = (float(clip[c].max() - clip[c].min()) for c in (0, 1))
        aspects.append((width / 160) / (height / 120))
        shares.append(width * height / (160 * 120))
    assert 0.45 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.2
    assert 0.15 < min(shares) < 0.25
    assert max(shares) > 0.75


# --- batches ---------------------------------------------------------------------------------------


ALONE = {
    "light": {"brightness": 0.4},
    "contrast": {"brightness": 0.2, "contrast": 0.4},
    "colour": {"saturation": 0.5, "hue": 0.2},
    "operations": {"randaugment": 3, "randaugment_magnitude": 20},
    "erase": {"erase": 0.5},
    "everything": EVERYTHING.model_dump(),
}


def drawn_and_cut(change: ClipTransform, count: int) -> tuple[torch.Tensor, list[Any], list[torch.Tensor]]:
    """Return a batch of pixels, the changes of each clip, and each clip as it is made by itself."""
    frames = [random_frames(3, (40, 44), seed) for seed in range(count)]
    pixels, changes = zip(
        *(change.cut(of_clip, np.random.default_rng([7, seed])) for seed, of_clip in enumerate(frames)),
        strict=True,
    )
    alone = [change(of_clip, np.random.default_rng([7, seed])) for seed, of_clip in enumerate(frames)]
    return torch.stack(pixels), list(changes), alone


@pytest.mark.parametrize("settings", ALONE.values(), ids=ALONE)
@pytest.mark.parametrize("layout", ["rows of channels", "rows of pixels"])
def test_clips_of_a_batch_become_what_each_becomes_alone(settings: dict[str, Any], layout: str) -> None:
    change = transform(AugmentConfig(**settings), flip=True)
    pixels, changes, alone = drawn_and_cut(change, 24)
    assert pixels.dtype == torch.uint8
    assert len(set(changes)) > 9  # clips differ in what was drawn
    if layout == "rows of pixels":
        pixels = pixels.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    together = change.finish(pixels, changes)
    assert together.permute(0, 1, 3, 4, 2).is_contiguous()
    for clip, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(values(clip), values(expected), rtol=0, atol=1e-6)


def test_views_of_a_batch_are_those_of_each_alone() -> None:
    change = ClipTransform(ClipConfig(size=SIZE))
    frames = [random_frames(3, (40, 44), seed) for seed in range(4)]
    together = change.finish(torch.stack([change.cut(of_clip)[0] for of_clip in frames]))
    assert torch.equal(together, torch.stack([change(of_clip) for of_clip in frames]))


@pytest.mark.cuda
@pytest.mark.parametrize("settings", ALONE.values(), ids=ALONE)
def test_a_gpu_makes_the_same_clips(settings: dict[str, Any]) -> None:
    change = transform(AugmentConfig(**settings), flip=True)
    pixels, changes, alone = drawn_and_cut(change, 24)
    on_device = change.finish(pixels.to("cuda"), changes)
    assert on_device.is_cuda
    differences = (values(on_device.cpu()) - values(torch.stack(alone))).abs()
    # An operation with a threshold may put a value that lies on it to the other side.
    assert float((differences > 1 / 255).float().mean()) < (1e-3 if "randaugment" in settings else 1e-9)


# --- colour ---------------------------------------------------------------------------------------


def recoloured(clip_TCHW: torch.Tensor, saturation: float, turn: float) -> torch.Tensor:
    return change_colour(clip_TCHW[None], [(saturation, turn)])[0]


@pytest.mark.parametrize(("saturation", "turn"), [(0.3, 0.0), (1.0, 0.25), (1.7, -0.4), (0.0, 0.1)])
def test_colour_changes_keep_luma_and_grey(saturation: float, turn: float) -> None:
    luma_11C = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    clip = random_clip()
    changed = recoloured(clip, saturation, turn)
    torch.testing.assert_close((changed * luma_11C).sum(1), (clip * luma_11C).sum(1), rtol=0, atol=1e-4)
    grey = clip[:, :1].expand_as(clip)
    torch.testing.assert_close(recoloured(grey, saturation, turn), grey, rtol=0, atol=1e-4)


def test_saturation_is_torchvisions() -> None:
    clip = random_clip() * 0.4 + 0.3  # nothing is cut
    for factor in (0.0, 0.6, 1.4):
        torch.testing.assert_close(
            recoloured(clip, factor, 0), TF.adjust_saturation(clip, factor), rtol=0, atol=1e-3
        )


def test_turns_of_hue_add_up_to_a_whole_one() -> None:
    clip = random_clip()
    torch.testing.assert_close(recoloured(clip, 1, 0), clip)
    thrice = clip
    for _ in range(3):
        thrice = recoloured(thrice, 1, 1 / 3)
    torch.testing.assert_close(thrice, clip, rtol=0, atol=1e-5)
    # A third of a turn takes red on to green, as in HSV.
    red = torch.tensor([0.6, 0.3, 0.3]).view(1, 3, 1, 1)
    turned = [recoloured(red, 1, turn).flatten() for turn in (1 / 3, -1 / 3)]
    assert {int(colour.argmax()) for colour in turned} == {1, 2}


# --- RandAugment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(_OPERATIONS)))
def test_operations_treat_all_frames_alike(number: int) -> None:
    clip = random_clip(num_frames=1).expand(4, 3, *SIZE).contiguous()
    before = clip.clone()
    changed = _OPERATIONS[number](clip, 0.5, MEAN)
    assert changed.shape == clip.shape
    assert torch.equal(clip, before)
    torch.testing.assert_close(changed, changed[:1].expand_as(changed), rtol=0, atol=1e-6)
    assert torch.equal(changed, clip) == (number == 0)


@pytest.mark.parametrize("number", [8, 12, 13])  # contrast, autocontrast, equalize
def test_operations_on_the_distribution_look_at_the_whole_clip(number: int) -> None:
    # A pixel of one value becomes the same in a dark frame and in a bright one.
    clip = random_clip() * torch.tensor([0.3, 0.6, 0.9]).view(3, 1, 1, 1)
    clip[:, :, 0, 0] = 0.25
    changed = _OPERATIONS[number](clip, 0.5, MEAN)
    torch.testing.assert_close(changed[:, :, 0, 0], changed[:1, :, 0, 0].expand(3, 3))
    assert not torch.allclose(changed[0, :, 0, 0], clip[0, :, 0, 0], atol=1e-3)


def by_torchvision(number: int, clip: torch.Tensor, strength: float) -> torch.Tensor:
    """Do what torchvision does, to frames one below the other where values are looked at."""
    if number > 10:
        image = clip.transpose(0, 1).flatten(1, 2)
        changed = (TF.autocontrast if number == 12 else TF.equalize)(image)
        return torch.unflatten(changed, 1, (-1, clip.shape[-2])).transpose(0, 1)
    slope, offset = math.degrees(math.atan(0.3 * strength)), 150 / 331 * strength
    angle, translate, shear = {
        1: (0, [0, 0], [slope, 0]),
        2: (0, [0, 0], [0, slope]),
        3: (0, [round(offset * clip.shape[-1]), 0], [0, 0]),
        4: (0, [0, round(offset * clip.shape[-2])], [0, 0]),
        5: (30 * strength, [0, 0], [0, 0]),
    }[number]
    fill = torch.tensor(MEAN).view(3, 1, 1)
    # Its own filling darkens the border, where it weighs a pixel twice; around zero nothing is filled.
    moved: torch.Tensor = TF.affine(
        clip - fill, angle, translate, 1.0, shear, interpolation=TF.InterpolationMode.BILINEAR
    )
    return moved + fill


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 12, 13])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_faster_than_torchvision_does_the_same(number: int, layout: torch.memory_format) -> None:
    clip = torch.rand(3, 3, 25, 18, generator=torch.Generator().manual_seed(0)).square() * 0.8 + 0.1
    for strength in (-0.7, 0.2, 1.0):
        changed = _OPERATIONS[number](clip.contiguous(memory_format=layout), strength, MEAN)
        torch.testing.assert_close(changed, by_torchvision(number, clip, strength), rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [12, 13])
def test_a_channel_of_one_value_stays(number: int) -> None:
    clip = random_clip()
    clip[:, 1] = 0.4
    changed = _OPERATIONS[number](clip, 0.5, MEAN)
    torch.testing.assert_close(changed[:, 1], clip[:, 1], rtol=0, atol=1e-6)
    assert not torch.allclose(changed[:, 0], clip[:, 0])


def test_no_magnitude_moves_and_recolours_nothing() -> None:
    clip = random_clip()
    for operation in (*_OPERATIONS[:10], _OPERATIONS[11]):
        torch.testing.assert_close(operation(clip, 0.0, MEAN), clip, rtol=0, atol=1e-6)


def test_every_operation_is_drawn_and_the_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def recorder(number: int) -> Any:
        def operation(clip: torch.Tensor, strength: float, fill: Any) -> torch.Tensor:
            assert abs(strength) == 0.5
            calls.append(number)
            return clip

        return operation

    monkeypatch.setattr(
        "vidcli.transforms.randaugment._OPERATIONS", [recorder(number) for number in range(14)]
    )
    for seed in range(100):
        rand_augment(random_clip(), draw_operations(3, 15, np.random.default_rng(seed)), MEAN)
    assert len(calls) == 300
    assert set(calls) == set(range(14))


# --- erasing --------------------------------------------------------------------------------------


def test_erased_boxes_lie_at_one_place_in_all_frames_and_hold_the_mean() -> None:
    frames = random_frames(3) // 8  # darker than the mean colour
    plain = transform(AugmentConfig())(frames)
    change = transform(AugmentConfig(erase=1))
    shares = []
    for seed in range(200):
        clip = change(frames, np.random.default_rng(seed))
        erased_THW = (clip.abs() < 1e-5).all(1)
        assert torch.equal(erased_THW, erased_THW[:1].expand_as(erased_THW))
        rows, columns = erased_THW[0].any(1), erased_THW[0].any(0)
        assert torch.equal(erased_THW[0], rows[:, None] & columns[None])  # a box
        assert torch.equal(
            clip[~erased_THW[:, None].expand_as(clip)], plain[~erased_THW[:, None].expand_as(clip)]
        )
        shares.append(float(erased_THW[0].float().mean()))
    assert 0.005 < min(shares) < 0.05
    assert 0.25 < max(shares) < 0.4


def test_erasing_hits_the_share_of_clips_that_it_should() -> None:
    frames = random_frames(2)
    change = transform(AugmentConfig(erase=0.3))
    plain = change(frames)
    hits = sum(not torch.equal(change(frames, np.random.default_rng(seed)), plain) for seed in range(200))
    assert 40 < hits < 80
