"""Trackers: which are chosen, that they get every number once, and that none of them stops a run."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
import torch

from vidcli.config import load_config
from vidcli.errors import ConfigError
from vidcli.train import EpochDone, Notice, plan_run, resume_run, trackers
from vidcli.train.record import RunRecord
from vidcli.train.trackers import choose_trackers

CPU = torch.device("cpu")


class FakeTracker:
    """Notes what it is told; fails where it is asked to."""

    def __init__(self, failing: str = "") -> None:
        self.told: list[tuple] = []
        self._failing = failing

    def _note(self, *told) -> None:
        self.told.append(told)
        if told[0] == self._failing:
            raise OSError("no space")

    def add(self, values, step):
        self._note("add", dict(values), step)

    def flush(self):
        self._note("flush")

    def close(self, is_over):
        self._note("close", is_over)

    def abandon(self):
        self._note("abandon")


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("auto", ["TensorBoard events"]),
        ("none", []),
        ("tensorboard", ["TensorBoard events"]),
        ("mlflow, wandb", ["MLflow", "Weights & Biases"]),
        ("[wandb, tensorboard, wandb]", ["Weights & Biases", "TensorBoard events"]),
    ],
)
def test_words_and_lists_choose_trackers(text, titles, monkeypatch):
    monkeypatch.setattr(trackers, "is_installed", lambda library: True)
    assert list(choose_trackers(load_config(None, [f"train.tracker={text}"]))) == titles


@pytest.mark.parametrize("text", ["tensorbord", "auto,wandb", "none,none,mlflow", "''", "[]", "3"])
def test_other_words_are_refused(text):
    with pytest.raises(
        ConfigError, match=r"train\.tracker: expected auto, none, or some of tensorboard, wandb"
    ):
        load_config(None, [f"train.tracker={text}"])


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_read(
    small_config, monkeypatch, tmp_path
):
    monkeypatch.setattr(trackers, "is_installed", lambda library: library != "wandb")
    config = small_config(train__tracker="tensorboard,wandb")
    with pytest.raises(ConfigError, match=r"wandb is not installed; pip install 'vidcli\[track\]'"):
        plan_run(config, tmp_path / "nowhere", lambda event: None)
    from vidcli.train import start_run

    with pytest.raises(ConfigError, match="wandb is not installed"):
        start_run(config, tmp_path / "nowhere", tmp_path / "run", CPU, lambda event: None)
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_a_run_says_so_once_and_goes_on(small_config, pair_data, train_run, monkeypatch):
    monkeypatch.setattr(trackers, "is_installed", lambda library: False)
    run = train_run(small_config(), pair_data)
    told = [event.text for event in run.of(Notice) if "TensorBoard" in event.text]
    assert told == [trackers.NOT_INSTALLED]
    assert not list(run.folder.glob("events.*"))
    silent = train_run(small_config(train__tracker="none"), pair_data, "silent")
    assert not [event.text for event in silent.of(Notice) if "TensorBoard" in event.text]


def test_what_is_not_installed_is_known_without_importing_it():
    assert trackers.is_installed("json")
    assert not trackers.is_installed("no_such_library_of_anyone")


def test_trackers_get_every_step_and_epoch_and_the_end(small_config, pair_data, train_run, monkeypatch):
    fake = FakeTracker()
    monkeypatch.setattr(trackers, "_opener", lambda name, config: lambda run, position: fake)
    run = train_run(
        small_config(train__epochs=2, train__batch_size=3, train__tracker="tensorboard"), pair_data
    )
    steps = [told[2] for told in fake.told if told[0] == "add" and "step/loss" in told[1]]
    assert steps == list(range(6))
    epochs = [told for told in fake.told if told[0] == "add" and "epoch/train_loss" in told[1]]
    assert [told[2] for told in epochs] == [3, 6]
    assert [told[1]["epoch/train_loss"] for told in epochs] == [row.train_loss for row in run.rows]
    assert fake.told[-1] == ("close", True)


def test_a_stopped_run_is_not_over(small_config, pair_data, train_run, monkeypatch):
    fake = FakeTracker()
    monkeypatch.setattr(trackers, "_opener", lambda name, config: lambda run, position: fake)

    def stop(event):
        if isinstance(event, EpochDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(small_config(train__epochs=2, train__tracker="tensorboard"), pair_data, on_event=stop)
    assert fake.told[-1] == ("close", False)


@pytest.mark.parametrize("failing", ["add", "flush", "close"])
def test_a_tracker_that_fails_is_abandoned_and_the_others_go_on(failing, tmp_path):
    broken, well, told = FakeTracker(failing), FakeTracker(), []
    openers = {"Broken": lambda run, position: broken, "Well": lambda run, position: well}
    record = RunRecord(tmp_path, False, told.append, openers)
    record.open(0, None)
    for step in range(3):
        record.add_step(step, 1.0, 0.1)
        record.flush()
    record.close()
    assert [event.text for event in told] == ["Broken: could not be made (no space); the run goes on without"]
    assert broken.told[-1] == ("abandon",)
    assert len([each for each in well.told if each[0] == "add"]) == 3
    assert well.told[-1] == ("close", True)


# --- the services ---------------------------------------------------------------------------------


class FakeWandb(types.ModuleType):
    """Stands for the library: notes how runs were started and what they logged."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.util.spec_from_loader("wandb", loader=None)
        self.started: list[dict] = []
        self.logged: list[tuple[int, dict]] = []
        self.ended: list[int] = []

    def init(self, **about):
        self.started.append(about)
        return types.SimpleNamespace(
            log=lambda values, step: self.logged.append((step, values)),
            finish=lambda exit_code: self.ended.append(exit_code),
        )


def test_wandb_goes_on_with_the_same_run(small_config, pair_data, train_run, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("WANDB_PROJECT", "mine")

    def stop(event):
        if isinstance(event, EpochDone) and event.row.epoch == 1:
            raise KeyboardInterrupt

    config = small_config(train__epochs=2, train__batch_size=4, train__tracker="wandb")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, pair_data, on_event=stop)
    folder = Path(wandb.started[0]["dir"])
    resume_run(folder, CPU, lambda event: None)
    first, second = wandb.started
    assert first["id"] == second["id"] == json.loads((folder / "trackers.json").read_text())["wandb"]
    assert (first["project"], first["name"], second["resume"]) == ("mine", "run", "allow")
    assert first["config"]["train"]["epochs"] == 2
    assert [step for step, values in wandb.logged if "step/loss" in values] == [0, 1, 2, 3]
    assert wandb.ended == [1, 0]


@pytest.mark.filterwarnings("ignore")  # of libraries that it brings
def test_mlflow_has_every_value_once_also_after_a_resume(
    small_config, pair_data, train_run, monkeypatch, tmp_path
):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pairs")

    def stop(event):
        if isinstance(event, EpochDone) and event.row.epoch == 1:
            raise KeyboardInterrupt

    config = small_config(train__epochs=2, train__batch_size=4, train__tracker="mlflow")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, pair_data, on_event=stop)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "pairs"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "KILLED"
    _, rows = resume_run(tmp_path / "run", CPU, lambda event: None)
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert found.data.params["model.head"] == "gru"
    history = client.get_metric_history(found.info.run_id, "step/loss")
    assert sorted(metric.step for metric in history) == [0, 1, 2, 3]
    losses = {m.step: m.value for m in client.get_metric_history(found.info.run_id, "epoch/train_loss")}
    assert losses == pytest.approx({2: rows[0].train_loss, 4: rows[1].train_loss})
