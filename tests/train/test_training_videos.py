"""The order in which training videos are described, and how many fit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from vidcli.config import load_config
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.train import Event, FeatureProgress, Notice, training_videos
from vidcli.train.training_videos import TrainingVideos, in_fair_order, most_videos

CLASSES = {"rare": 3, "some": 10, "many": 87}


def make_items() -> list[VideoItem]:
    return [VideoItem(Path(f"{name}{n}.mp4"), name) for name, count in CLASSES.items() for n in range(count)]


class Describer:
    """Describes a video as the number of those before it, and fails at one."""

    def __init__(self) -> None:
        self.seen: list[VideoItem] = []

    def of(self, items, mirrored, paces, goes_on):
        found = [None] * len(items)
        for place, item in enumerate(items):
            found[place] = torch.full((paces, 2), float(len(self.seen)))
            if item.path.name == "some3.mp4":
                found[place] = VideoError(item.path, "is broken")
            self.seen.append(item)
            if not goes_on(place + 1):
                break
        return found


def make_videos(*changes: str) -> tuple[TrainingVideos, Describer, list[Event]]:
    events: list[Event] = []
    describer = Describer()
    config = load_config("auto", [*changes])
    return TrainingVideos(make_items(), config, describer, 2, True, events.append), describer, events


def test_any_beginning_holds_each_class_as_often_as_it_can():
    order = in_fair_order(make_items(), seed=0)
    assert Counter(item.label for item in order) == CLASSES
    assert Counter(item.label for item in order[:9]) == dict.fromkeys(CLASSES, 3)
    assert Counter(item.label for item in order[:23]) == {"rare": 3, "some": 10, "many": 10}
    assert order == in_fair_order(make_items(), seed=0)
    assert order != in_fair_order(make_items(), seed=1)


def test_each_video_is_described_once_after_a_first_part(monkeypatch):
    monkeypatch.setattr(training_videos, "_LEAST_VIDEOS", 20)
    videos, describer, events = make_videos("train.minutes=0")
    assert len(videos.describe_first()) == 20
    found = videos.describe(in_time=True)
    assert describer.seen == videos.items
    assert sum(isinstance(one, VideoError) for one in found) == 1
    assert [event.done for event in events if isinstance(event, FeatureProgress)] == [*range(1, 101)]
    assert not any(isinstance(event, Notice) for event in events)


def test_few_videos_need_no_first_model():
    videos, _, _ = make_videos()
    assert videos.describe_first() == []  # 64 of 100 would stand hardly earlier


@pytest.mark.parametrize("in_time", [True, False])
def test_the_time_ends_where_there_are_enough(in_time, monkeypatch):
    monkeypatch.setattr(training_videos, "_LEAST_VIDEOS", 20)
    videos, describer, events = make_videos("train.minutes=1e-9")
    videos.describe_first()
    found = videos.describe(in_time)
    assert len(found) == 100
    assert len(describer.seen) == (20 if in_time else 100)
    told = [event.text for event in events if isinstance(event, Notice)]
    assert len(told) == in_time
    if in_time:
        assert "knows 20 of 100 training videos" in told[0]
        assert "--minutes 0" in told[0]


def test_more_than_fit_in_memory_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(training_videos, "free_memory", lambda: 2 * 32 * 40**2 * 3**2)
    videos, describer, events = make_videos("train.minutes=0")
    found = videos.describe(in_time=True)
    assert len(describer.seen) == sum(one is not None for one in found) == 40
    (told,) = [event.text for event in events if isinstance(event, Notice)]
    assert "knows 40 of 100" in told
    assert "do not fit in memory" in told
    assert not videos.takes_mirrored(40)


def test_mirrored_videos_double_the_rows(monkeypatch):
    monkeypatch.setattr(training_videos, "free_memory", lambda: 2 * 32 * 150**2 * 3**2)
    videos, _, events = make_videos("train.minutes=0")
    videos.describe(in_time=True)
    assert not videos.takes_mirrored(100)
    assert "do not fit in memory" in next(event.text for event in events if isinstance(event, Notice))


def test_the_longer_the_descriptors_the_fewer_fit():
    # 8 GiB of 16 hold 10,000 videos of 429,496 descriptors in float16, and a kernel of 16,384 rows.
    assert most_videos(1, 429_496, 2**34) == 10_000
    assert most_videos(1, 4, 2**34) == 16_384
    assert most_videos(4, 4, 2**34) == 4_096
