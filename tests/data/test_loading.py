"""From items to batches: the cache, what a clip depends on, what cannot be decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcli.arrays import Frames
from vidcli.config import Config
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.data.check import check_videos
from vidcli.data.dataset import ClipDataset, LabelledClip
from vidcli.data.frames import FrameSource, MemoryCache
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.loader import Batch, balanced_order, epoch_order, iter_batches
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError, DataError, VideoError
from vidcli.synthetic import MotionVideoOptions
from vidcli.video import probe

Configure = Callable[..., Config]
WriteVideo = Callable[..., Path]


@pytest.fixture
def items(motion_data: Path) -> list[VideoItem]:
    """Eleven videos: more than one batch, and not a multiple of one."""
    return of_split(load_items(motion_data), "train")[::3]


@pytest.fixture
def dataset(items: list[VideoItem], small_config: Configure) -> ClipDataset:
    """Training clips with every random change there is."""
    config = small_config(augment__crop_scale=0.5, augment__brightness=0.3, train__seed=7)
    return ClipDataset(items, class_names_of(items), config, flip=True)


@pytest.fixture
def broken(tmp_path: Path) -> VideoItem:
    path = tmp_path / "broken.mp4"
    path.write_text("no video at all")
    return VideoItem(path, "left")


def batches(dataset: ClipDataset, epoch: int = 0, workers: int = 2, first: int = 0) -> list[Batch]:
    order = epoch_order(len(dataset), seed=7, epoch=epoch)
    return list(iter_batches(dataset, [(epoch, order)], batch_size=4, workers=workers, first=first))


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.clips_BTCHW, other.clips_BTCHW)
        assert torch.equal(one.labels_B, other.labels_B)
        assert one.indices == other.indices


# --- cache in memory; on disk it is test_cache.py ------------------------------------------------


def test_the_cache_decodes_a_video_once(
    tmp_path: Path, write_video: WriteVideo, small_config: Configure
) -> None:
    item = VideoItem(write_video(tmp_path / "x.mp4"), "left")
    cache = FrameSource(small_config(), MemoryCache())
    before = cache.frames(item, lambda seconds: np.array([0.5]))
    item.path.unlink()
    np.testing.assert_array_equal(cache.frames(item, lambda seconds: np.array([0.5])), before)


def test_estimated_memory_is_what_the_frames_take(
    tmp_path: Path, write_video: WriteVideo, small_config: Configure
) -> None:
    path = write_video(tmp_path / "x.mp4", num_frames=40, fps=10)
    source = FrameSource(small_config(clip__size="16x24"))

    def estimate(start: float, end: float | None) -> int:
        item = VideoItem(path, "left", None, None, start, end)
        return source.estimate_bytes(item, probe(path))

    frame = 16 * 24 * 3
    assert estimate(0.0, None) == pytest.approx(40 * frame, abs=frame)
    assert estimate(1.0, 2.0) == pytest.approx(10 * frame, abs=frame)
    assert estimate(3.0, 99.0) == pytest.approx(10 * frame, abs=frame)


# --- clips and batches ----------------------------------------------------------------------------


def test_a_clip_carries_its_label_and_index(dataset: ClipDataset, items: list[VideoItem]) -> None:
    names = class_names_of(items)
    for index in (0, 5, 10):
        clip = dataset.load(index, epoch=0)
        assert clip.clip_TCHW.shape == (4, 3, 32, 32)
        assert (names[clip.label], clip.index) == (items[index].label, index)


def test_a_clip_depends_on_seed_epoch_and_index(
    items: list[VideoItem], dataset: ClipDataset, small_config: Configure
) -> None:
    first = dataset.load(3, epoch=2).clip_TCHW
    dataset.load(4, epoch=2)
    assert torch.equal(dataset.load(3, epoch=2).clip_TCHW, first)
    assert not torch.equal(dataset.load(3, epoch=3).clip_TCHW, first)
    config = small_config(augment__crop_scale=0.5, augment__brightness=0.3, train__seed=8)
    reseeded = ClipDataset(items, class_names_of(items), config, flip=True)
    assert not torch.equal(reseeded.load(3, epoch=2).clip_TCHW, first)
    twins = ClipDataset([items[3], items[3]], class_names_of(items), config, flip=True)
    assert not torch.equal(twins.load(0, 0).clip_TCHW, twins.load(1, 0).clip_TCHW)


def test_the_cache_changes_no_clip(items: list[VideoItem], small_config: Configure) -> None:
    config = small_config(augment__crop_scale=0.5)
    checked = check_videos(items, config)
    assert isinstance(checked.source.cache, MemoryCache)
    cached = ClipDataset(items, class_names_of(items), config, False, checked.source)
    plain = ClipDataset(items, class_names_of(items), config, False)
    assert_equal(batches(cached), batches(plain))


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_nothing(dataset: ClipDataset, workers: int) -> None:
    assert_equal(batches(dataset, workers=1), batches(dataset, workers=workers))


def test_an_epoch_shows_every_video_once_in_batches(dataset: ClipDataset) -> None:
    loaded = batches(dataset)
    assert [len(batch.indices) for batch in loaded] == [4, 4, 3]
    assert [len(batch.clips_BTCHW) for batch in loaded] == [4, 4, 3]
    assert sorted(index for batch in loaded for index in batch.indices) == list(range(11))
    assert loaded[0].labels_B.dtype == torch.int64


def test_batches_are_channels_last_as_the_model_wants_them(dataset: ClipDataset) -> None:
    (first, *_) = batches(dataset)
    assert first.clips_BTCHW.shape == (4, 4, 3, 32, 32)
    assert first.clips_BTCHW.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    clips = [dataset.load(index, 0).clip_TCHW for index in first.indices]
    assert torch.equal(first.clips_BTCHW, torch.stack(clips))


def test_the_time_that_a_batch_was_waited_for(dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ClipDataset.load

    def slow(self: ClipDataset, *args: int) -> LabelledClip:
        time.sleep(0.1)
        return plain(self, *args)

    monkeypatch.setattr(ClipDataset, "load", slow)
    eager = batches(dataset, workers=1)
    assert eager[0].seconds_waited >= 0.4  # four clips, one after the other
    assert sum(batch.seconds_waited for batch in eager) >= 1.0


def test_batches_are_loaded_before_they_are_asked_for(
    dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, loaded, all_loaded = ClipDataset.load, [], threading.Event()

    def counting(self: ClipDataset, index: int, epoch: int, repeat: int) -> LabelledClip:
        clip = plain(self, index, epoch, repeat)
        loaded.append(index)
        if len(loaded) == 11:
            all_loaded.set()
        return clip

    monkeypatch.setattr(ClipDataset, "load", counting)
    loading = iter_batches(dataset, [(0, epoch_order(len(dataset), 7, 0))], batch_size=4, workers=1)
    next(loading)
    assert all_loaded.wait(60)  # the other two batches, with nobody asking
    loading.close()


def test_what_the_cache_tells_comes_with_a_batch(items: list[VideoItem], small_config: Configure) -> None:
    class Telling(MemoryCache):
        def take_notices(self) -> list[str]:
            return ["a pack is damaged"]

    config = small_config()
    source = FrameSource(config, Telling())
    dataset = ClipDataset(items, class_names_of(items), config, False, source)
    assert [batch.notices for batch in batches(dataset)] == [["a pack is damaged"]] * 3


def test_an_epoch_can_be_entered_in_its_middle(dataset: ClipDataset) -> None:
    assert_equal(batches(dataset, first=1), batches(dataset)[1:])
    assert batches(dataset, first=3) == []


def test_orders_differ_by_epoch_and_seed() -> None:
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(50, 0, 1) == orders[1]


def test_a_balanced_order_draws_classes_and_their_videos_evenly() -> None:
    labels = [0] * 50 + [1] * 12 + [2] * 3
    counts = np.zeros(65, dtype=int)
    for epoch in range(30):
        order = balanced_order(labels, 5, epoch)
        drawn = np.bincount(order, minlength=65)
        by_class = [drawn[np.equal(labels, label)] for label in range(3)]
        assert sorted(of_class.sum() for of_class in by_class) == [21, 22, 22]
        assert all(of_class.max() - of_class.min() <= 1 for of_class in by_class)
        counts += drawn
    assert counts.min() > 0  # what a large class leaves out in one epoch comes in another
    assert balanced_order(labels, 5, 3) == balanced_order(labels, 5, 3) != balanced_order(labels, 6, 3)


def test_a_video_drawn_again_gives_another_clip_wherever_the_epoch_is_entered(dataset: ClipDataset) -> None:
    order = [4, 4, 1, 4, 0, 1]
    whole = list(iter_batches(dataset, [(0, order)], batch_size=2, workers=2))
    assert [index for batch in whole for index in batch.indices] == order
    clips = torch.cat([batch.clips_BTCHW for batch in whole])
    assert len({clip.numpy().tobytes() for clip in clips}) == len(order)
    assert_equal(list(iter_batches(dataset, [(0, order)], batch_size=2, workers=1, first=1)), whole[1:])
    assert torch.equal(clips[0], dataset.load(4, 0).clip_TCHW)


def test_a_broken_video_is_named_in_its_batch(
    items: list[VideoItem], broken: VideoItem, small_config: Configure
) -> None:
    dataset = ClipDataset([*items[:5], broken], class_names_of(items), small_config(), flip=False)
    first, second = iter_batches(dataset, [(0, [0, 5, 1, 5])], batch_size=3, workers=2)
    assert first.indices == [0, 1]
    assert first.labels_B.tolist() == [dataset.load(index, 0).label for index in (0, 1)]
    assert [failure.path for failure in first.failures] == [str(broken.path)]
    assert second.indices == []
    assert len(second.clips_BTCHW) == len(second.labels_B) == 0
    assert len(second.failures) == 1


# --- before training ------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_check_names_and_counts_what_is_broken(
    cache: str, items: list[VideoItem], broken: VideoItem, small_config: Configure
) -> None:
    told: list[tuple[int, int]] = []
    config = small_config(data__cache=cache)
    checked = check_videos([broken, *items], config, lambda done, total: told.append((done, total)))
    assert checked.usable == items
    assert [failure.path for failure in checked.failures] == [str(broken.path)]
    assert "not a known video format" in checked.failures[0].reason
    assert told == [(done, 12) for done in range(1, 13)]
    assert isinstance(checked.source.cache, MemoryCache) == (cache != "off")


def test_check_finds_a_truncated_file_with_cache_and_without(
    tmp_path: Path, write_video: WriteVideo, small_config: Configure
) -> None:
    path = write_video(tmp_path / "x.mkv", num_frames=80)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for cache in ("off", "memory"):
        config = small_config(data__cache=cache, data__max_unusable=1)
        checked = check_videos([VideoItem(path, "left")], config)
        assert ["truncated" in failure.reason for failure in checked.failures] == [True], cache


def test_check_stops_where_too_many_are_broken(
    items: list[VideoItem], tmp_path: Path, small_config: Configure
) -> None:
    bad = [VideoItem(tmp_path / f"gone{number}.mp4", "left") for number in range(22)]
    with pytest.raises(DataError) as caught:
        check_videos([*items, *bad], small_config(data__max_unusable=0.5))
    message = str(caught.value)
    assert "22 of 33 videos cannot be used, more than data.max_unusable=0.5" in message
    assert f"{bad[0].path}: no such file" in message
    assert message.endswith("… and 2 more")


@pytest.mark.parametrize(("share", "stops"), [(0.5, False), (0.49, True)])
def test_the_share_of_broken_videos_may_be_reached_but_not_passed(
    share: float, stops: bool, items: list[VideoItem], broken: VideoItem, small_config: Configure
) -> None:
    pair = [items[0], broken]
    config = small_config(data__max_unusable=share)
    if stops:
        with pytest.raises(DataError):
            check_videos(pair, config)
    else:
        assert check_videos(pair, config).usable == [items[0]]


def test_a_cache_that_does_not_fit(items: list[VideoItem], small_config: Configure) -> None:
    small = {"data.cache_gib": 1e-6}
    with pytest.raises(ConfigError, match=r"data\.cache=memory: the frames take .* data\.cache_gib=1e-06"):
        check_videos(items, small_config(small, data__cache="memory"))
    checked = check_videos(items, small_config(small, data__cache="auto"))
    assert checked.source.cache is None
    assert checked.usable == items


def test_limits_and_modes_reach_the_decoder(
    tmp_path: Path, write_video: WriteVideo, small_config: Configure
) -> None:
    item = VideoItem(write_video(tmp_path / "x.mp4", num_frames=40), "left")

    def last(config: Config) -> Frames:
        return FrameSource(config).frames(item, lambda seconds: np.array([0.0, 1.0]))

    with pytest.raises(VideoError, match="pixels"):
        last(small_config(data__max_pixels=256))
    with pytest.raises(VideoError, match="frames"):
        last(small_config(data__max_frames=3))
    exact, keyframes = last(small_config()), last(small_config(data__decode="keyframes"))
    assert not np.array_equal(exact[0], exact[1])
    np.testing.assert_array_equal(keyframes[0], keyframes[1])  # every 12th frame is a keyframe


# --- working ahead --------------------------------------------------------------------------------


def test_leaving_an_epoch_early_stops_the_threads(dataset: ClipDataset) -> None:
    def loaders() -> list[threading.Thread]:
        """Those that read videos stay for the next ones, and more of them may be there now than before."""
        return [thread for thread in threading.enumerate() if thread.name.startswith("vidcli-load")]

    loading = iter_batches(dataset, [(0, epoch_order(len(dataset), 0, 0))], batch_size=2, workers=3)
    next(loading)
    assert loaders()
    loading.close()
    assert not loaders()


def test_one_thread_loads_where_batches_lie_ready_and_all_where_they_are_waited_for(
    dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seconds = ClipDataset.load, [0.0]
    threads_of: dict[int, set[int]] = {}

    def timed(self: ClipDataset, index: int, epoch: int, repeat: int) -> LabelledClip:
        threads_of.setdefault(epoch, set()).add(threading.get_ident())
        time.sleep(seconds[0])
        return plain(self, index, epoch, repeat)

    monkeypatch.setattr(ClipDataset, "load", timed)
    orders = [(epoch, list(range(4))) for epoch in range(14)]
    with closing(iter_batches(dataset, orders, batch_size=4, workers=4)) as loading:
        for number, batch in enumerate(loading):
            assert batch.indices == [0, 1, 2, 3]
            time.sleep(0.25 if number < 7 else 0)
            seconds[0] = 0.0 if number < 6 else 0.05
    assert [len(threads_of[epoch]) for epoch in (6, 7)] == [1, 1]
    assert len(set().union(*(threads_of[epoch] for epoch in range(10, 14)))) > 2


def test_motion_data_is_kept_in_the_cache_folder_by_its_settings(private_cache: Path) -> None:
    video = MotionVideoOptions(size=(32, 32), num_frames=2)
    options = [MotionDataOptions(1, 0, 1, seed, video) for seed in (0, 1)]
    folders = [make_motion_data(options=option) for option in options]
    assert folders[0].parent == folders[1].parent == private_cache
    assert folders[0] != folders[1]
    assert make_motion_data(options=options[0]) == folders[0]
    assert len(load_items(folders[0])) == 16


def test_the_next_epoch_follows_at_once_and_only_the_first_is_entered_midway(dataset: ClipDataset) -> None:
    orders = [(epoch, epoch_order(len(dataset), 0, epoch)) for epoch in range(3)]
    alone = [list(iter_batches(dataset, [order], batch_size=4, workers=2)) for order in orders]
    asked: list[int] = []

    def ask() -> Iterator[tuple[int, list[int]]]:
        for epoch, order in orders:
            asked.append(epoch)
            yield epoch, order

    with closing(iter_batches(dataset, ask(), batch_size=4, workers=2, first=1)) as joined:
        assert_equal(list(islice(joined, len(alone[0]) - 1)), alone[0][1:])
        # The batches of the next are on their way before anybody asks for them.
        deadline = time.monotonic() + 20
        while 1 not in asked and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 1 in asked
        assert_equal(list(joined), [*alone[1], *alone[2]])
