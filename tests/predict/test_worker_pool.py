"""Whatever workers come and go, each video is answered once, in order."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidcli.data.items import VideoItem
from vidcli.errors import VidcliError
from vidcli.models import build_model
from vidcli.predict.prediction import Prediction
from vidcli.predict.predictor import Predictor
from vidcli.predict.worker_pool import Lost, WorkerPool


@dataclass
class Imagined:
    """Workers that answer in any order, and of which some are lost at any time.

    Attributes:
        seed: of what happens when.
        room: workers that are there at the same time.
        loss: probability that a worker is lost rather than answers.
        deadly: videos that end each worker that looks at them.
        lost_starts: workers that are lost before they are ready, the first ones.
    """

    seed: int = 0
    room: int = 3
    loss: float = 0.0
    deadly: frozenset[str] = frozenset()
    lost_starts: int = 0
    num_started: int = 0
    most_asked: int = 0
    asked: dict[int, tuple[int, list[VideoItem] | None]] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)

    def __post_init__(self):
        self.random, self.numbers = random.Random(self.seed), itertools.count()

    def start(self):
        self.num_started += 1
        return self.num_started, self._ask(self.num_started, None)

    def submit(self, worker, items):
        assert worker not in self.stopped
        return self._ask(worker, items)

    def _ask(self, worker, items):
        ticket = next(self.numbers)
        self.asked[ticket] = worker, items
        self.most_asked = max(self.most_asked, sum(len(items or ()) for _, items in self.asked.values()))
        return ticket

    def stop(self, worker):
        self.stopped.add(worker)
        self.asked = {ticket: asked for ticket, asked in self.asked.items() if asked[0] != worker}

    def most_starting(self, num_ready):
        return max(0, self.room - num_ready)

    def wait(self):
        assert self.asked, "the pool waits for nobody"
        worker = self.random.choice([worker for worker, _ in self.asked.values()])
        mine = [(ticket, items) for ticket, (other, items) in self.asked.items() if other == worker]
        (ticket, items), *_ = mine  # what it was asked first
        ends = items is None and worker <= self.lost_starts
        ends |= any(str(item.path) in self.deadly for item in items or ()) or self.random.random() < self.loss
        found = [(ticket, Lost("gone"))] if ends else [(ticket, [answer(item) for item in items or ()])]
        if ends:
            found += [(other, Lost("gone")) for other, _ in mine[1:]]
        for done, _ in found:
            del self.asked[done]
        return found


def answer(item):
    return Prediction(str(item.path), ("a", "b"), None, "of " + str(item.path))


@pytest.fixture(scope="module")
def predictor(small_config):
    config = small_config()
    return Predictor(build_model(config.model, 2), config, ("a", "b"), torch.device("cpu"))


def predict_with(workers, predictor, items):
    return WorkerPool(workers, predictor, items).predictions()


def videos(count):
    return [VideoItem(f"{number}.mp4", label="") for number in range(count)]


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 300),
    room=st.integers(1, 9),
    loss=st.sampled_from([0.0, 0.02]),
)
def test_each_video_is_answered_once_and_in_order(predictor, seed, count, room, loss):
    items = videos(count)
    answers = [*predict_with(Imagined(seed, room, loss), predictor, items)]
    assert [one.video for one in answers] == [item.path for item in items]


def test_a_video_that_ends_workers_costs_three_and_is_told_and_no_other_is_blamed(predictor):
    items = videos(200)
    workers = Imagined(room=4, deadly=frozenset({"50.mp4", "51.mp4"}))
    answers = [*predict_with(workers, predictor, items)]
    wrong = [one for one in answers if one.error != f"of {one.video}"]
    assert [one.video for one in wrong] == ["50.mp4", "51.mp4"]
    assert "3 workers ended while they looked at it (gone)" in wrong[0].error
    assert [one.video for one in answers] == [item.path for item in items]


def test_workers_that_never_load_the_model_end_it(predictor):
    with pytest.raises(VidcliError, match=r"6 times in a row workers ended .* \(gone\)"):
        [*predict_with(Imagined(lost_starts=10**6), predictor, videos(20))]


def test_some_workers_that_are_lost_as_they_begin_do_not_end_it(predictor):
    assert len([*predict_with(Imagined(lost_starts=5), predictor, videos(20))]) == 20


def test_no_more_workers_are_begun_than_videos_and_those_without_work_are_ended(predictor):
    workers = Imagined(room=9)
    assert len([*predict_with(workers, predictor, videos(3))]) == 3
    assert workers.num_started <= 3
    assert len(workers.stopped) >= workers.num_started - 1


def test_few_videos_are_shared_out_to_all(predictor):
    """Whole chunks to the first worker would leave the others without work."""
    workers = Imagined(room=4)
    sizes = []
    submit = workers.submit
    workers.submit = lambda worker, items: sizes.append(len(items)) or submit(worker, items)
    assert len([*predict_with(workers, predictor, videos(40))]) == 40
    assert max(sizes) <= 10
    assert sizes[-1] == 1


def test_a_video_that_takes_long_holds_up_the_others_only_at_last(predictor):
    class Slow(Imagined):
        """The first chunk is answered when nothing else is left to be."""

        num_done = 0

        def wait(self):
            first = min((t for t, (_, items) in self.asked.items() if items), default=None)
            others = [t for t, (_, items) in self.asked.items() if items is None or t != first]
            is_first = first is not None and self.asked[first][1][0].path == "0.mp4"
            ticket = others[0] if is_first and others else min(self.asked)
            items = self.asked.pop(ticket)[1] or []
            self.num_done += 0 if any(item.path == "0.mp4" for item in items) else len(items)
            if any(item.path == "0.mp4" for item in items):
                self.done_before_first = self.num_done
            return [(ticket, [answer(item) for item in items])]

    workers, items = Slow(room=1), videos(5000)
    answers = [*predict_with(workers, predictor, items)]
    assert [one.video for one in answers] == [item.path for item in items]
    assert 200 < workers.done_before_first <= 512
