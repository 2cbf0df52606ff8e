"""Mixed clips and their targets, against the pixels."""

from __future__ import annotations

import pytest
import torch

from vidcli.config import AugmentConfig
from vidcli.models import build_model
from vidcli.train.mixing import ClipMixer
from vidcli.train.update import Updater

LABELS = torch.arange(6)


def one_valued_clips():
    """Return clips (6, 2, 3, 20, 30), each of the value of its label throughout."""
    return LABELS.float().view(6, 1, 1, 1, 1).expand(6, 2, 3, 20, 30).contiguous()


def mixed(position, seed=0, **settings):
    return ClipMixer(AugmentConfig(**settings), 6, seed)(one_valued_clips(), LABELS, position)


@pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_match_the_share_of_the_pixels(settings):
    shares = []
    for position in range(40):
        clips, targets = mixed(position, **settings)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        assert targets.min() >= 0
        # The mean pixel is then the mean label.
        torch.testing.assert_close(clips.mean((1, 2, 3, 4)), targets @ LABELS.float(), rtol=0, atol=1e-4)
        shares.append(float(targets.diagonal().min()))
    assert min(shares) < 0.4  # boxes that reach over the border are cut
    assert max(shares) > 0.8


def test_mixup_blends_and_cutmix_pastes_a_box_in_all_frames():
    for position in range(10):
        clips, _ = mixed(position, mixup=1.0)
        assert torch.equal(clips, clips[..., :1, :1].expand_as(clips))
        clips, _ = mixed(position, cutmix=1.0)
        assert torch.equal(clips, clips[:, :1, :1].expand_as(clips))
        assert set(clips.flatten().tolist()) <= {float(label) for label in LABELS}
        for number, clip_HW in enumerate(clips[:, 0, 0]):
            foreign_HW = clip_HW != number
            rows, columns = foreign_HW.any(1), foreign_HW.any(0)
            assert torch.equal(foreign_HW, rows[:, None] & columns[None])


def test_both_have_about_half_of_the_batches():
    blended = sum(
        bool((clips % 1 != 0).any()) for clips, _ in (mixed(p, mixup=1, cutmix=1) for p in range(100))
    )
    assert 30 < blended < 70


def test_draws_follow_seed_and_position_alone():
    first, again = mixed(7, mixup=1.0), mixed(7, mixup=1.0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], mixed(8, mixup=1.0)[0])
    assert not torch.equal(first[0], mixed(7, seed=1, mixup=1.0)[0])


def test_without_settings_nothing_is_touched():
    clips = one_valued_clips()
    same, labels = ClipMixer(AugmentConfig(), 6, 0)(clips, LABELS, 0)
    assert same is clips
    assert labels is LABELS


def test_a_clip_alone_stays_as_it_is():
    for settings in ({"mixup": 1.0}, {"cutmix": 1.0}):
        clips, targets = ClipMixer(AugmentConfig(**settings), 6, 0)(one_valued_clips()[3:4], LABELS[3:4], 1)
        torch.testing.assert_close(clips, one_valued_clips()[3:4])
        torch.testing.assert_close(targets, torch.eye(6)[3:4])


def test_parts_of_a_mixed_batch_do_what_the_whole_does(small_config):
    results = []
    for parts in (1, 3):
        config = small_config(
            train__accumulate=parts, model__backbone="simple_cnn", model__dropout=0, augment__mixup=1,
            train__class_balance="loss",
        )  # fmt: skip
        torch.manual_seed(0)
        updater = Updater(build_model(config.model, 3), config, (5, 3, 1), 4, torch.device("cpu"))
        clips = torch.randn(7, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        results.append(updater(clips, torch.arange(7) % 3, 0))
    assert results[0].loss == pytest.approx(results[1].loss, abs=1e-6)
    assert results[0].num_correct == results[1].num_correct
