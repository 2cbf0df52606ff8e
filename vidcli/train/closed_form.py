"""Training in closed form: a frozen backbone describes every video once, and ridge regression does the rest.

    round 1   describe the videos; choose what to read by cross-validation; solve; save the model
    round 2   describe the videos as a mirror shows them, choose among twice as many candidates, solve, save

A round is what an epoch is elsewhere: a row in metrics.jsonl and a model that can be used. Of many videos, a
part that holds each class equally often gives a first model, which the one of round 1 replaces. Round 1 takes
as many videos as `train.minutes` and the memory allow; the second is left out where mirrored videos are not
wanted, or would take longer. Descriptors are kept on disk: a run that was stopped goes on where it was.

Nothing is drawn at random but the folds of the cross-validation. All else follows from the videos.

Shape suffixes: M videos, R rows a video, N rows of all (the videos as they are, then others of the same
videos), D descriptors, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import CONFIG_FILE, MODEL_FILE, UNUSABLE_FILE
from vidcli.config import Config, config_to_yaml
from vidcli.data.check import failures_csv, refuse_unusable
from vidcli.data.items import VideoItem, class_names_of, require_two_classes
from vidcli.data.manifest import fingerprint
from vidcli.data.splits import of_split
from vidcli.errors import CheckpointError, ConfigError, VideoError
from vidcli.features.descriptors import Descriptors
from vidcli.features.recording_descriptors import RecordingDescriptors
from vidcli.models import MultiStreamClassifier, build_model, descriptor_sizes
from vidcli.predict import Predictor
from vidcli.predict.view_loader import ViewLoader
from vidcli.runtime.files import write_text
from vidcli.runtime.plain import one_line
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.advice import iter_advice_of_ridge
from vidcli.train.choice_record import tell_choice
from vidcli.train.events import EpochDone, EpochRow, Event, Notice
from vidcli.train.record import RunRecord
from vidcli.train.saver import InterruptGuard, Saver
from vidcli.train.state import TrainState
from vidcli.train.stream_solver import Learnt, StreamSolver
from vidcli.train.training_videos import Described, TrainingVideos
from vidcli.train.validation import score
from vidcli.transforms import mirrored_classes


def refuse_other_settings(config: Config, group: Group) -> None:
    """Refuse settings that closed-form training cannot follow.

    Args:
        config: all settings, of a run with `train.optimizer=ridge`.
        group: the processes that train together.

    Raises:
        ConfigError: there are such settings; says what to change.
    """
    if config.model.streams == "off":
        raise ConfigError(
            "train.optimizer=ridge solves the layer after model.streams, which is off. Set "
            "model.streams=both, or train.optimizer=adamw"
        )
    if group.size > 1:
        raise ConfigError(
            "train.optimizer=ridge trains in one process: leave torchrun out, or set train.optimizer=adamw"
        )


_LOOK_ALIKES = (
    "no groups are named: if test videos come from the same recordings, people or places as training videos, "
    "their score is too good; that of the cross-validation is nearer the truth; the manifest's group column "
    "names groups"
)


class ClosedFormRun:
    """One run: its videos, their descriptors, and its directory.

    Attributes:
        learnt: what the last round learnt; None where none was left.
    """

    learnt: Learnt | None = None

    def __init__(
        self,
        config: Config,
        items: Sequence[VideoItem],
        run: Path,
        device: torch.device,
        on_event: Callable[[Event], None],
    ) -> None:
        """Build the network; nothing is decoded or written yet.

        Args:
            config: all settings.
            items: the videos, each with its split.
            run: the run directory, an existing folder.
            device: where to compute.
            on_event: called with each event of the run.
        """
        self._config, self._items, self._run, self._device = config, list(items), run, device
        self._on_event = on_event
        self._names = class_names_of(of_split(items, "train"), config.data.multi_label)
        torch.manual_seed(config.train.seed)  # of a network without pretrained weights
        network = build_model(config.model, len(self._names)).to(device).eval()
        assert isinstance(network, MultiStreamClassifier)
        self._network = network
        self._describer = _describer(network, config, device)
        self._guard = InterruptGuard(run, ALONE, on_event)
        for text in iter_advice_of_ridge(config):
            on_event(Notice(text))
        self._state = TrainState()

    @property
    def _mirrored(self) -> list[int] | None:
        """The class that a mirror makes of each class; None where videos are not to be mirrored."""
        return None if self._config.augment.flip == "off" else mirrored_classes(self._names)

    @property
    def items(self) -> Sequence[VideoItem]:
        """The videos without those that could not be used."""
        return self._items

    def restore(self) -> None:
        """Go back to the rounds that the run directory holds.

        Raises:
            CheckpointError: there is no state, or it is damaged or of other data.
        """
        saver = self._saver(self._config)
        saved = saver.load_resume()
        try:
            self._state = TrainState.from_dict(saved, self._config.train.epochs, 0)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{saver.resume_file}: does not fit this run ({one_line(error)})"
            ) from error

    def train(self) -> list[EpochRow]:
        """Learn in the rounds that are left and return the rows of all; `end` ends the run.

        Raises:
            KeyboardInterrupt: Ctrl-C; the model of the last round that ended stays.
            DataError: more videos fail than `data.max_unusable` allows, or all are of one group.
            WriteError: the run directory cannot be written.
        """
        state = self._state
        if state.epoch >= self._config.train.epochs:
            return state.rows
        with self._guard.explained_errors(), self._guard.before_epochs():
            videos = self._training_videos()
            if not state.rows:
                self._saver(self._config).describe(self._items, self._device)
                self._leave_first_model(videos)
            items, plain_MRD = self._usable(videos.items, videos.describe(in_time=state.epoch == 0))
            solver, goes_on = self._solver(), True
            learnt = solver.learn(items, [plain_MRD])
            if state.epoch == 0:
                is_whole = len(items) == len(of_split(self._items, "train"))
                goes_on = is_whole and videos.takes_mirrored(len(items))
                self._finish(learnt, is_last=not goes_on)
            if goes_on:
                # Of mirrored videos, only what the best combinations read is described.
                solver, plain_MRD = solver.narrowed(learnt, plain_MRD)
                describer = _describer(solver.describer, solver.config, self._device)
                learnt = solver.learn(items, [plain_MRD, videos.describe_mirrored(items, describer)])
                self._finish(learnt, is_last=True)
        return state.rows

    def _training_videos(self) -> TrainingVideos:
        num_descriptors = sum(descriptor_sizes(self._network.backbone, self._config.model).values())
        items, mirrors = of_split(self._items, "train"), self._mirrored is not None
        return TrainingVideos(items, self._config, self._describer, num_descriptors, mirrors, self._on_event)

    def _solver(self) -> StreamSolver:
        return StreamSolver(self._config, self._names, self._mirrored, self._network)

    def _leave_first_model(self, videos: TrainingVideos) -> None:
        """Save a model of the first videos, where it need not wait for all; tell how good it is."""
        described = videos.describe_first()
        pairs = zip(videos.items, described, strict=False)
        usable = [(item, found) for item, found in pairs if isinstance(found, Tensor)]
        items = [item for item, _ in usable]
        num_groups = len({item.group or item.path for item in items})
        if num_groups < 2 or class_names_of(items, self._config.data.multi_label) != self._names:
            return
        learnt = self._solver().learn(items, [torch.stack([found for _, found in usable])])
        row = EpochRow(1, 0.0, learnt.train_loss, learnt.train_accuracy)
        saver, best = self._saver(learnt.config), learnt.trials[0]
        saver.save_epoch(learnt.network.state_dict(), learnt.calibration, [row], is_best=True)
        saver.save_resume()
        kind = "mAP" if best.top1 is None else "top-1"
        score = best.mean_average_precision if best.top1 is None else best.top1
        self._on_event(
            Notice(
                f"a first model of {len(items)} of {len(videos.items)} training videos is in {self._run} "
                f"({kind} {score:.2f} in cross-validation); the run goes on, and Ctrl-C leaves it there"
            )
        )

    def _usable(
        self, items: Sequence[VideoItem], described: Sequence[Described]
    ) -> tuple[list[VideoItem], Tensor]:
        """Return the training videos that were described, and their descriptors.

        Raises:
            DataError: more than `data.max_unusable` of them could not be.
        """
        failures = [found for found in described if isinstance(found, VideoError)]
        for failure in failures:
            self._on_event(Notice(f"left out: {failure}"))
        refuse_unusable(failures, sum(found is not None for found in described), self._config.data)
        if failures:
            write_text(self._run / UNUSABLE_FILE, failures_csv(failures))
        kept = [item for item, found in zip(items, described, strict=True) if isinstance(found, Tensor)]
        pairs = zip(items, described, strict=True)
        gone = {item for item, found in pairs if isinstance(found, VideoError)}
        self._items = [item for item in self._items if item not in gone]
        self._names = class_names_of(kept, self._config.data.multi_label)
        require_two_classes(kept, self._config.data.multi_label)
        return kept, torch.stack([found for found in described if isinstance(found, Tensor)])

    def _finish(self, learnt: Learnt, is_last: bool) -> None:
        """Tell what a round chose, then validate and save its model."""
        self.learnt = learnt
        state, record = self._state, RunRecord(self._run, self._config.train.plots, self._on_event)
        train_items = of_split(self._items, "train")
        groups_are_named = any(item.group is not None for item in train_items)
        told = tell_choice(learnt, self._run, record, groups_are_named, is_last)
        self._on_event(told)
        if told.by_look and not state.rows and of_split(self._items, "test"):
            self._on_event(Notice(_LOOK_ALIKES))
        config = _with_rounds(learnt.config, state.epoch + 1) if is_last else learnt.config
        validation = None
        if val_items := of_split(self._items, "val"):
            predictor = Predictor(
                learnt.network.to(self._device),
                config,
                self._names,
                self._device,
                calibration=learnt.calibration,
            )
            predictions = list(predictor.predict_many(val_items))
            validation = score(predictions, val_items, self._names, config.data.multi_label)
        row = EpochRow(
            epoch=state.epoch + 1,
            lr=0.0,
            train_loss=learnt.train_loss,
            train_accuracy=learnt.train_accuracy,
            **(validation.metrics() if validation is not None else {}),
        )
        saver = self._saver(config)
        if is_last:
            saver.save_resume()  # until `end`, a run that goes on repeats this round
        is_best = state.end_epoch(row)
        saver.save_epoch(learnt.network.state_dict(), learnt.calibration, state.rows, is_best)
        if not is_last:
            saver.save_resume()
        self._on_event(EpochDone(row, is_best))

    def end(self) -> None:
        """Write the settings of the model, and that there is nothing to go on with."""
        # The best round may be an earlier one, perhaps before an interruption.
        best = load_checkpoint(self._run / MODEL_FILE).config
        write_text(self._run / CONFIG_FILE, config_to_yaml(_with_rounds(best, self._state.epoch)))
        self._saver(best).save_resume()

    def _saver(self, config: Config) -> Saver:
        digest = fingerprint(item for item in self._items if item.split != "test")
        return Saver(self._run, config, self._names, digest, self._guard, self._collect_state)

    def _collect_state(self) -> dict[str, Any]:
        return self._state.to_dict() | {"num_parts": 1}


def _describer(network: MultiStreamClassifier, config: Config, device: torch.device) -> Descriptors:
    """Return what describes videos: clips of recordings together, where they share frames."""
    cuts_spans = config.data.clips_per_span > 1 and config.shares_frames
    describer = RecordingDescriptors if cuts_spans else Descriptors
    return describer(network.to(device), config, ViewLoader(config).load, device)


def _with_rounds(config: Config, num_rounds: int) -> Config:
    """Return the settings of a run that ends after so many rounds."""
    return config.model_copy(update={"train": config.train.model_copy(update={"epochs": num_rounds})})
