from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidcli.config import AugmentConfig, ClipConfig, Config
from vidcli.transforms import MEAN, STD, ClipTransform, build_sampler, sided_class_names

STRONG = AugmentConfig(crop_scale=0.3, brightness=0.6, contrast=0.6)


def random_frames(num_frames: int, size: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, *size, 3), dtype=np.uint8)


def frames_for(transform: ClipTransform, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return frames as the decoder would scale a video of this size."""
    return random_frames(3, transform.decode_size(height, width))


def normalised(frames_THWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Scale to 0..1, subtract the mean, divide by the deviation: float64 (T, C, H, W)."""
    scaled = frames_THWC.astype(np.float64) / 255
    return ((scaled - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)


def pixels(clip_TCHW: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation: values in 0..1."""
    return clip_TCHW * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "video", "expected"),
    [
        ({"size": (32, 32)}, (240, 320), (32, 43)),
        ({"size": (32, 32)}, (320, 240), (43, 32)),
        ({"size": (32, 32)}, (16, 16), (32, 32)),
        ({"size": (32, 64)}, (240, 320), (48, 64)),
        ({"size": (224, 224), "crop_ratio": 0.875}, (480, 640), (256, 341)),
        ({"size": (32, 64), "fit": "stretch"}, (240, 320), (32, 64)),
        ({"size": (32, 32), "fit": "stretch", "crop_ratio": 0.5}, (240, 320), (64, 64)),
    ],
)
def test_decode_size(settings: dict[str, Any], video: tuple[int, int], expected: tuple[int, int]) -> None:
    assert ClipTransform(ClipConfig(**settings)).decode_size(*video) == expected


@given(
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    st.tuples(st.integers(16, 300), st.integers(16, 300)),
    st.sampled_from(["crop", "stretch"]),
    st.floats(0.5, 1),
)
def test_decoded_frames_cover_the_clip(
    video: tuple[int, int], size: tuple[int, int], fit: Any, crop_ratio: float
) -> None:
    height, width = ClipTransform(ClipConfig(size=size, fit=fit, crop_ratio=crop_ratio)).decode_size(*video)
    assert height >= size[0]
    assert width >= size[1]
    # No more than needed: one side is the clip's, but for what eval crops away.
    assert height <= size[0] / crop_ratio + 1 or width <= size[1] / crop_ratio + 1


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("crop_ratio", [1.0, 0.7])
@pytest.mark.parametrize("video", [(48, 80), (80, 48), (10, 10)])
@pytest.mark.parametrize("seed", [None, 1])
def test_clips_have_the_size_of_the_settings(
    fit: Any, crop_ratio: float, video: tuple[int, int], seed: int | None
) -> None:
    transform = ClipTransform(ClipConfig(size=(32, 24), fit=fit, crop_ratio=crop_ratio), STRONG, flip=True)
    rng = None if seed is None else np.random.default_rng(seed)
    clip = transform(frames_for(transform, *video), rng)
    assert clip.shape == (3, 3, 32, 24)
    assert clip.dtype == torch.float32
    assert clip.is_contiguous(memory_format=torch.channels_last)


# --- evaluation -----------------------------------------------------------------------------------


def test_evaluation_is_the_normalised_centre_window() -> None:
    transform = ClipTransform(ClipConfig(size=(16, 24)), STRONG, flip=True)
    frames = random_frames(5, (20, 31))
    expected = normalised(frames[:, 2:18, 3:27])
    np.testing.assert_allclose(transform(frames).numpy(), expected, rtol=0, atol=1e-6)


def test_evaluation_is_the_same_every_time_and_leaves_the_frames_alone() -> None:
    transform = ClipTransform(ClipConfig(size=(16, 16)), STRONG, flip=True)
    frames = random_frames(4, (16, 20))
    before = frames.copy()
    assert torch.equal(transform(frames), transform(frames))
    np.testing.assert_array_equal(frames, before)


# --- augmentation ---------------------------------------------------------------------------------


def test_a_static_clip_stays_static() -> None:
    transform = ClipTransform(ClipConfig(size=(16, 16)), STRONG, flip=True)
    frames = np.repeat(random_frames(1, (24, 24)), 6, axis=0)
    for seed in range(20):
        clip = transform(frames, np.random.default_rng(seed))
        assert torch.equal(clip, clip[:1].expand_as(clip))


def test_training_changes_with_the_generator_alone() -> None:
    transform = ClipTransform(ClipConfig(size=(16, 16)), STRONG, flip=True)
    frames = random_frames(2, (24, 24))
    first, again, other = (transform(frames, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_without_augmentation_training_equals_evaluation() -> None:
    transform = ClipTransform(ClipConfig(size=(16, 16)), AugmentConfig())
    frames = random_frames(2, (16, 16))
    assert torch.equal(transform(frames, np.random.default_rng(0)), transform(frames))


@pytest.mark.parametrize("flip", [True, False])
def test_flipping_mirrors_about_half_of_the_clips(flip: bool) -> None:
    transform = ClipTransform(ClipConfig(size=(16, 16)), AugmentConfig(), flip=flip)
    frames = random_frames(2, (16, 16))
    plain = transform(frames)
    clips = [transform(frames, np.random.default_rng(seed)) for seed in range(60)]
    mirrored = sum(torch.equal(clip, plain.flip(-1)) for clip in clips)
    assert mirrored + sum(torch.equal(clip, plain) for clip in clips) == 60
    assert 15 < mirrored < 45 if flip else mirrored == 0


def test_crops_keep_at_least_the_share_of_the_area() -> None:
    # A ramp from left to right: the span of values that is left tells the width of the window.
    ramp = np.linspace(0, 255, 100).astype(np.uint8)
    frames = np.ascontiguousarray(np.broadcast_to(ramp[None, None, :, None], (1, 100, 100, 3)))
    transform = ClipTransform(ClipConfig(size=(32, 32)), AugmentConfig(crop_scale=0.25))
    spans = []
    for seed in range(100):
        clip = pixels(transform(frames, np.random.default_rng(seed)))
        spans.append(float(clip.max() - clip.min()))
    assert min(spans) > 0.5 - 0.05
    assert min(spans) < 0.6
    assert max(spans) > 0.9


@pytest.mark.parametrize("augment", [AugmentConfig(brightness=1.0), AugmentConfig(contrast=1.0)])
def test_values_stay_those_of_pixels(augment: AugmentConfig) -> None:
    transform = ClipTransform(ClipConfig(size=(16, 16)), augment)
    frames = random_frames(2, (16, 16))
    frames[:, :4], frames[:, -4:] = 0, 255
    clips = [pixels(transform(frames, np.random.default_rng(seed))) for seed in range(20)]
    for clip in clips:
        assert clip.min() >= -1e-6
        assert clip.max() <= 1 + 1e-6
    # Some draw would have gone beyond white, and some stayed below it.
    assert any((clip[:, :, -4:] == clip.max()).all() and clip.max() > 1 - 1e-6 for clip in clips)
    assert any(clip.max() < 0.95 for clip in clips)


def test_brightness_scales_and_contrast_keeps_the_mean() -> None:
    frames = random_frames(4, (16, 16)) // 3 + 80  # far from black and white
    plain = pixels(ClipTransform(ClipConfig(size=(16, 16)))(frames))

    def changed(augment: AugmentConfig) -> torch.Tensor:
        transform = ClipTransform(ClipConfig(size=(16, 16)), augment)
        return pixels(transform(frames, np.random.default_rng(5)))

    gains = changed(AugmentConfig(brightness=0.3)) / plain
    torch.testing.assert_close(gains, gains.mean().expand_as(gains))
    assert abs(float(gains.mean()) - 1) > 0.05
    contrasted = changed(AugmentConfig(contrast=0.3))
    torch.testing.assert_close(contrasted.mean(), plain.mean())
    assert abs(float(contrasted.std() / plain.std()) - 1) > 0.05


def test_contrast_makes_no_flicker() -> None:
    # A dark and a bright frame: each pixel's change depends on its value, whichever frame it is in.
    frames = random_frames(2, (16, 16)) // 4 + np.array([60, 120], np.uint8)[:, None, None, None]
    transform = ClipTransform(ClipConfig(size=(16, 16)), AugmentConfig(contrast=0.3))
    before = pixels(ClipTransform(ClipConfig(size=(16, 16)))(frames))
    after = pixels(transform(frames, np.random.default_rng(5)))
    gain, offset = np.polyfit(before.flatten().numpy(), after.flatten().numpy(), 1)
    assert abs(gain - 1) > 0.05
    torch.testing.assert_close(after, before * float(gain) + float(offset), rtol=0, atol=1e-4)


# --- sampler and sides ----------------------------------------------------------------------------


def test_the_sampler_follows_the_settings(small_config: Callable[..., Config]) -> None:
    clip = small_config(clip__length=3, clip__sampling="dense", clip__stride_seconds=2, clip__views=2).clip
    np.testing.assert_allclose(build_sampler(clip)(10.0), [[1, 3, 5], [5, 7, 9]])


@pytest.mark.parametrize(
    "name",
    [
        "left", "RIGHT", "turn_left", "TurnRight", "turn left", "left-handed", "to the right", "Rightwards",
        "clockwise", "counter-clockwise", "counterclockwise", "anticlockwise", "west", "eastward",
        "northwest", "left2",
    ],
)  # fmt: skip
def test_classes_with_a_side(name: str) -> None:
    assert sided_class_names(["wave", name]) == [name]


@pytest.mark.parametrize(
    "name", ["Bright", "fright", "upright", "copyright", "cleft", "leftover", "up", "feast", "western", ""]
)
def test_classes_without_a_side(name: str) -> None:
    assert sided_class_names([name]) == []


# --- the whole frame above the window -------------------------------------------------------------

PANELS = ClipConfig(size=(64, 32), focus=0.25, panels=("whole", "window"))


def moving_square(transform: ClipTransform) -> npt.NDArray[np.uint8]:
    """Return grey frames in which a small bright square moves in the lower right corner."""
    height, width = transform.decode_size(240, 320)
    frames = np.full((6, height, width, 3), 90, dtype=np.uint8)
    for time, frame in enumerate(frames):
        frame[height - 20 : height - 12, width - 30 + 2 * time : width - 22 + 2 * time] = 250
    return frames


def test_the_whole_frame_stands_above_the_window() -> None:
    transform = ClipTransform(PANELS)
    frames = moving_square(transform)
    clip = pixels(transform(frames))
    assert clip.shape == (6, 3, 64, 32)
    bright = (clip > 0.7).sum(dim=(0, 1, 3))
    assert bright[:32].sum() < bright[32:].sum() / 4  # the window shows the square larger
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255, (32, 32), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(clip[:, :, :32], whole, atol=0.01, rtol=0)


def test_the_window_is_the_same_without_the_whole_frame() -> None:
    alone = ClipConfig(size=(32, 32), focus=0.25)
    frames = moving_square(ClipTransform(PANELS))
    assert ClipTransform(alone).decode_size(240, 320) == ClipTransform(PANELS).decode_size(240, 320)
    torch.testing.assert_close(
        ClipTransform(alone)(frames), ClipTransform(PANELS)(frames)[:, :, 32:], atol=0.1, rtol=0
    )


def test_the_window_that_follows_stands_below() -> None:
    clip = ClipConfig(size=(96, 32), focus=0.25, panels=("whole", "window", "follow"))
    transform, seen = ClipTransform(clip), moving_square(ClipTransform(PANELS))
    with_neighbours = np.stack([seen[[i - 1, i, i + 1]] for i in range(1, 5)])
    torch.testing.assert_close(
        transform(with_neighbours)[:, :, :64], ClipTransform(PANELS)(seen[1:5]), atol=0, rtol=0
    )
    bright = [(part > 0.7).float().mean() for part in pixels(transform(with_neighbours)).chunk(3, dim=2)]
    assert bright[2] > 1.4 * bright[1] > 4 * bright[0] > 0


@pytest.mark.parametrize(
    "change",
    [{"size": (33, 32)}, {"crops": 3}, {"panels": "follow", "crops": 2}, {"panels": "whole,follow,window"}],
)
def test_settings_that_do_not_go_with_panels(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="goes with a height of size that"):
        ClipConfig.model_validate(PANELS.model_dump() | change)


@pytest.mark.parametrize("panels", ["", "whole,whole", "whole,zoom", [], 3])
def test_panels_have_names(panels: object) -> None:
    with pytest.raises(ValueError, match="expected some of whole, window, follow"):
        ClipConfig.model_validate({"panels": panels})


def test_panels_are_in_one_order_however_they_are_named() -> None:
    assert ClipConfig.model_validate({"panels": "window, whole"}).panels == ("whole", "window")
