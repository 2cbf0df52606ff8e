"""A network trained from pixels takes the place of what closed form chose only where it answers better."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.test_closed_form import settings as auto_settings
from vidcli.artifacts.model_file import Checkpoint, load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import CHOICE_FILE, CONFIG_FILE, LOCK_FILE, MODEL_FILE
from vidcli.config import Config, config_to_yaml, load_config
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import TrainError
from vidcli.models import build_model
from vidcli.models.calibration import UNCALIBRATED
from vidcli.predict import Prediction, Predictor
from vidcli.train import (
    ContenderProgress,
    EpochDone,
    EpochRow,
    Event,
    Notice,
    contender,
    resume_run,
    start_run,
)
from vidcli.train.contender import Contender

CPU = torch.device("cpu")
NAMES = ("a", "b")
ITEMS = [VideoItem(Path(f"{n}.mp4"), NAMES[n % 2], split="train", group=f"g{n // 4}") for n in range(48)]


class Contest:
    """A run whose choice is right for a share of the videos, and a contender that is for another."""

    def __init__(self, tmp_path: Path, known: float, own: float, small_config: Callable[..., Config]) -> None:
        self.run, self.own, self.trained_on = tmp_path / "run", own, list[list[VideoItem]]()
        self.events: list[Event] = []
        self.config = small_config(train__plots=False, train__epochs=3)
        self.folders: list[Path] = []
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(config_to_yaml(self.config))
        self.asked = auto_settings(f"train.contender={recipe}")
        self.run.mkdir()
        (self.run / CHOICE_FILE).write_text('{"trials": []}')
        (self.run / MODEL_FILE).write_bytes(b"chosen")
        self.learnt: Any = SimpleNamespace(
            class_names=NAMES,
            scored=ITEMS,
            grouped=ITEMS,
            trials=[SimpleNamespace(logits_MK=np.stack([self.answer(item, known)[0] for item in ITEMS]))],
        )

    def answer(self, item: VideoItem, share: float) -> np.ndarray:
        """Return logits (1, K) that are right for a share of the videos, spread over groups."""
        number = int(item.path.stem)
        is_right = (number * 0.618) % 1 < share
        label = NAMES.index(item.label) if is_right else 1 - NAMES.index(item.label)
        return np.eye(2)[[label]] * 4.0

    def train_by_steps(
        self,
        config: Config,
        items: Sequence[VideoItem],
        place: Path,
        device: torch.device,
        follow: Callable[[Event], None],
        group: object,
    ) -> list[EpochRow]:
        self.trained_on.append(list(items))
        self.folders.append(place)
        rows = [EpochRow(number, 0.1, 0.5, 0.5) for number in (1, 2, 3)]
        for row in rows:
            follow(EpochDone(row, False))
        weights = build_model(self.config.model, len(NAMES)).state_dict()
        save_checkpoint(place / MODEL_FILE, Checkpoint(weights, config, NAMES))
        (place / CONFIG_FILE).write_text(config_to_yaml(config))
        return rows

    def compete(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[EpochRow] | None:
        def load(path: Path, device: torch.device) -> Any:
            def predict_many(items: Sequence[VideoItem]) -> list[Prediction]:
                logits = [self.answer(item, self.own) for item in items]
                shares = [np.exp(row[0]) / np.exp(row[0]).sum() for row in logits]
                return [
                    Prediction(str(item.path), NAMES, share_K, logits_VK=row)
                    for item, share_K, row in zip(items, shares, logits, strict=True)
                ]

            return SimpleNamespace(predict_many=predict_many)

        monkeypatch.setattr(contender, "Predictor", SimpleNamespace(load=load))
        train_run = changes.pop("train_run", self.train_by_steps)
        contest = Contender(
            self.asked,
            self.learnt,
            self.run,
            CPU,
            train_run,
            self.events.append,
            changes.pop("started", 1e12),
        )
        return contest.compete(ITEMS)

    @property
    def told(self) -> str:
        return " ".join(event.text for event in self.events if isinstance(event, Notice))


@pytest.fixture
def hold(tmp_path: Path, small_config: Callable[..., Config]) -> Callable[[float, float], Contest]:
    return lambda known, own: Contest(tmp_path, known, own, small_config)


def test_the_better_one_is_trained_on_all_videos_and_takes_the_place(
    hold: Callable[[float, float], Contest], monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = hold(0.5, 0.9)
    rows = contest.compete(monkeypatch)
    assert rows is not None
    assert [row.epoch for row in rows] == [1, 2, 3]
    *parts, last = contest.trained_on
    assert len(parts) == 3
    assert last == ITEMS
    for some in parts:  # groups are kept whole, and each video is held out once
        groups = {item.group for item in some}
        assert all(item in some for item in ITEMS if item.group in groups)
    assert sum(len(ITEMS) - len(some) for some in parts) == len(ITEMS)
    model = load_checkpoint(contest.run / MODEL_FILE)
    assert model.config.model == contest.config.model
    assert model.calibration != UNCALIBRATED
    told = json.loads((contest.run / CHOICE_FILE).read_text())["contender"]
    assert told["taken"]
    assert told["num_videos"] == len(ITEMS)
    assert told["top1"] > 0.8 > 0.6 > told["top1_of_choice"]
    assert "it is taken" in contest.told
    shares = [event.done / event.total for event in contest.events if isinstance(event, ContenderProgress)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert not any(folder.exists() for folder in contest.folders)


def test_classes_in_groups_of_their_own_need_no_more_trainings(
    hold: Callable[[float, float], Contest], monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = hold(0.8, 0.78)
    contest.learnt.scored = contest.learnt.grouped = [
        replace(item, group=f"{item.label}{number // 6}") for number, item in enumerate(ITEMS)
    ]
    contest.compete(monkeypatch)
    assert len(contest.trained_on) == 3


def test_a_little_worse_is_tried_to_the_end_and_not_taken(
    hold: Callable[[float, float], Contest], monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = hold(0.8, 0.78)
    assert contest.compete(monkeypatch) is None
    assert len(contest.trained_on) == 3
    assert (contest.run / MODEL_FILE).read_bytes() == b"chosen"
    assert not json.loads((contest.run / CHOICE_FILE).read_text())["contender"]["taken"]
    assert "it is not taken" in contest.told


def test_clearly_worse_is_given_up_after_the_first_part(
    hold: Callable[[float, float], Contest], monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = hold(0.95, 0.4)
    assert contest.compete(monkeypatch) is None
    assert len(contest.trained_on) == 1
    assert (contest.run / MODEL_FILE).read_bytes() == b"chosen"


def test_what_takes_too_long_is_given_up_and_said(
    hold: Callable[[float, float], Contest], monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = hold(0.5, 0.9)
    contest.asked = contest.asked.model_copy(
        update={"train": contest.asked.train.model_copy(update={"minutes": 1e-3})}
    )
    assert contest.compete(monkeypatch, started=0.0) is None
    assert len(contest.trained_on) == 1
    assert "train.minutes=0.001" in contest.told
    assert (contest.run / MODEL_FILE).read_bytes() == b"chosen"
    assert "contender" not in json.loads((contest.run / CHOICE_FILE).read_text())


@pytest.mark.parametrize("error", [TrainError("the loss is nan"), KeyboardInterrupt()])
def test_what_fails_or_is_stopped_leaves_the_model_that_was_chosen(
    hold: Callable[[float, float], Contest],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    contest = hold(0.5, 0.9)

    def fail(*_: object) -> list[EpochRow]:
        raise error

    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            contest.compete(monkeypatch, train_run=fail)
        assert "interrupted" in contest.told
    else:
        assert contest.compete(monkeypatch, train_run=fail) is None
        assert "the loss is nan" in contest.told
    assert (contest.run / MODEL_FILE).read_bytes() == b"chosen"
    assert not any((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("is_taken", [False, True], ids=["not taken", "taken"])
@pytest.mark.parametrize("num_rounds", [1, 2])
def test_a_run_stopped_while_it_was_tried_goes_on_to_the_same_end(
    is_taken: bool,
    num_rounds: int,
    motion_data: Path,
    tmp_path: Path,
    small_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config_to_yaml(small_config(train__plots=False)))
    monkeypatch.setattr(contender.Answers, "is_clearly_worse", lambda self: False)
    sign = -1 if is_taken else 1
    monkeypatch.setattr(contender.Score, "mean", property(lambda score: sign * score.top1))
    config = auto_settings(f"train.contender={recipe}", f"train.epochs={num_rounds}", "augment.flip=auto")
    straight, rows = start_run(config, motion_data, tmp_path / "straight", CPU, lambda event: None)
    assert json.loads((straight / CHOICE_FILE).read_text())["contender"]["taken"] == is_taken

    told: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)
        if isinstance(event, ContenderProgress) and event.done > 200:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_run(config, motion_data, run, CPU, stop)
    assert (run / LOCK_FILE).exists()  # which says that the run was stopped
    assert f"`vidcli train --resume {run}` tries again" in told[-1]
    chosen = Predictor.load(run, CPU)  # is there meanwhile
    assert chosen.config.model.streams != "off"
    assert resume_run(run, CPU, lambda event: None)[1] == rows
    assert not (run / LOCK_FILE).exists()
    for name in (MODEL_FILE, CONFIG_FILE, CHOICE_FILE):
        assert (run / name).read_bytes() == (straight / name).read_bytes(), name
    # Now there is nothing to go on with.
    before = (run / MODEL_FILE).read_bytes()
    assert resume_run(run, CPU, stop)[1] == rows
    assert (run / MODEL_FILE).read_bytes() == before


def test_a_run_ends_with_an_ordinary_model_of_the_contender(
    motion_data: Path, tmp_path: Path, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config_to_yaml(small_config(train__plots=False)))
    monkeypatch.setattr(contender.Answers, "is_clearly_worse", lambda self: False)
    monkeypatch.setattr(contender.Score, "mean", property(lambda score: -score.top1))  # the worse one
    events: list[Event] = []
    run, rows = start_run(
        auto_settings(f"train.contender={recipe}", "train.epochs=1"),
        motion_data,
        tmp_path / "run",
        CPU,
        events.append,
    )
    told = json.loads((run / CHOICE_FILE).read_text())["contender"]
    taken = load_config(str(run / CONFIG_FILE))
    assert taken.model.streams == ("off" if told["taken"] else "motion")
    assert told["num_videos"] == len(of_split(load_items(motion_data), "train"))
    assert told["taken"]
    assert len(rows) == taken.train.epochs
    video = next((motion_data / "test").rglob("*.mp4"))
    (answer,) = Predictor.load(run, CPU).predict_many([video])
    assert answer.error is None
    assert resume_run(run, CPU, events.append)[1] == rows
