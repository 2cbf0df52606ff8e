"""Train a network over the cells of timelines, on recordings that the model learnt from.

The model is surer of these than of new ones. Noise on its logarithmic probabilities, one for a whole sequence
and one for each cell, keeps the network from relying on that.

Shape suffixes: B sequences, N cells, D inputs of a cell, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidcli.arrays import Float64, Int64
from vidcli.config import Config
from vidcli.evaluate.recordings import LabelledRecording
from vidcli.models.cell_refiner import NUM_MOTIONS, cell_inputs
from vidcli.models.temporal_network import TemporalNetwork
from vidcli.models.temporal_weights import TemporalWeights, pack_network
from vidcli.predict.temporal_cells import SubjectMotion
from vidcli.predict.window_plan import WindowPlan
from vidcli.train.rule_trials import RecordingWindows, read_cells

_CHANNELS = 48
_STEPS, _BATCH, _LENGTH = 400, 16, 256
_RATE, _WEIGHT_DECAY, _DROPOUT = 3e-3, 0.01, 0.25
_NOISE = 1.0
"""Spread of either noise, in units of the inputs."""
_BLIND = 0.1
"""Share of the sequences of which the motion of boxes is hidden, as where a video has no boxes."""
_SMOOTHNESS, _MOST_CHANGE = 0.15, 4.0
"""Weight of the truncated mean squared change of logarithmic probabilities, as in MS-TCN."""
_UNKNOWN = -1


@dataclass(frozen=True)
class LabelledCells:
    """The cells of one recording, or one subject of it.

    Attributes:
        probabilities_NK: as windows tell them.
        motion_NM: of the subject's box.
        labels_N: the class of each cell, -1 where that is not known.
    """

    probabilities_NK: Float64
    motion_NM: Float64
    labels_N: Int64


def choose_recordings(
    recordings: Sequence[LabelledRecording], most_seconds: float, config: Config
) -> list[LabelledRecording]:
    """Return recordings drawn at random that together last no longer than a number of seconds.

    Args:
        recordings: to draw from.
        most_seconds: that all of them last.
        config: with the seed.
    """
    drawn: list[LabelledRecording] = []
    for place in np.random.default_rng(config.train.seed).permutation(len(recordings)):
        lasts = max(item.end_seconds or item.start_seconds for item in recordings[place].items)
        if lasts <= most_seconds:
            drawn.append(recordings[place])
            most_seconds -= lasts
    return drawn


class TemporalTraining:
    """Trains networks on some of the recordings whose windows are known."""

    def __init__(
        self, windows: Sequence[RecordingWindows], plan: WindowPlan, config: Config, names: Sequence[str]
    ) -> None:
        """Read windows at their middles.

        Args:
            windows: of all recordings.
            plan: how they lie.
            config: all settings of the model.
            names: of its classes.
        """
        self._seed = config.train.seed
        self._cells = {id(one): _label(one, plan, config, names) for one in windows}
        self._windows = windows

    def fit(self, of: Callable[[RecordingWindows], bool]) -> TemporalWeights:
        """Return a network that learnt from the recordings for which `of` is true."""
        return fit_temporal([self._cells[id(one)] for one in self._windows if of(one)], self._seed)

    def refine(self, windows: RecordingWindows, temporal: TemporalWeights) -> Float64:
        """Return the probabilities of the cells of a recording (N, K) as a network sees them."""
        cells = self._cells[id(windows)]
        refiner = temporal.build(cells.probabilities_NK.shape[1])
        return refiner.refine(cells.probabilities_NK, cells.motion_NM)


def _label(
    windows: RecordingWindows, plan: WindowPlan, config: Config, names: Sequence[str]
) -> LabelledCells:
    """Return the cells of a recording, of the class at their middle."""
    cells_NK = read_cells(windows, plan, "middle")
    moments_N = (np.arange(len(cells_NK)) + 0.5) * plan.cell_seconds
    labels_N = np.full(len(cells_NK), _UNKNOWN, np.int64)
    for item in windows.recording.items:
        until = windows.seconds if item.end_seconds is None else item.end_seconds
        if item.label in names:
            labels_N[(moments_N >= item.start_seconds) & (moments_N < until)] = names.index(item.label)
    motion = SubjectMotion(windows.recording.video, config.subject, plan.cell_seconds)
    return LabelledCells(cells_NK, motion(0, len(cells_NK)), labels_N)


def fit_temporal(recordings: Sequence[LabelledCells], seed: int) -> TemporalWeights:
    """Return a network that learnt from recordings.

    Args:
        recordings: with what is known of their cells.
        seed: of all that is drawn.
    """
    num_classes = recordings[0].probabilities_NK.shape[1]
    uses_motion = any(one.motion_NM.any() for one in recordings)
    inputs, labels = list[Tensor](), list[Tensor]()
    for one in recordings:
        cells_ND = cell_inputs(one.probabilities_NK, one.motion_NM if uses_motion else None)
        short = max(0, _LENGTH - len(one.labels_N))
        inputs.append(F.pad(torch.from_numpy(cells_ND).T, (0, short)))
        labels.append(F.pad(torch.from_numpy(one.labels_N), (0, short), value=_UNKNOWN))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TemporalNetwork(num_classes, _CHANNELS, uses_motion, _DROPOUT)
        _train(network, inputs, labels, seed)
    return pack_network(network)


def _train(network: TemporalNetwork, inputs: list[Tensor], labels: list[Tensor], seed: int) -> None:
    num_classes = network.output.out_features
    known = torch.cat(labels)
    counts_K = torch.bincount(known[known >= 0], minlength=num_classes).clamp(min=1)
    weights_K = (counts_K.sum() / num_classes / counts_K).sqrt().float()
    rng = np.random.default_rng(seed)
    sizes = np.array([len(of) for of in labels], np.float64)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS, pct_start=0.1)
    for _ in range(_STEPS):
        cells: list[Tensor] = []
        answers: list[Tensor] = []
        for place in rng.choice(len(labels), _BATCH, p=sizes / sizes.sum()):
            start = int(rng.integers(0, len(labels[place]) - _LENGTH + 1))
            cells.append(inputs[place][:, start : start + _LENGTH])
            answers.append(labels[place][start : start + _LENGTH])
        loss = _loss(network(_disturbed(torch.stack(cells), num_classes)), torch.stack(answers), weights_K)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _disturbed(cells_BDN: Tensor, num_classes: int) -> Tensor:
    """Return inputs with noise, and some without the motion of boxes."""
    num_sequences, num_inputs, length = cells_BDN.shape
    noise_BKN = torch.randn(num_sequences, num_classes, 1) + torch.randn(num_sequences, num_classes, length)
    parts = [cells_BDN[:, :num_classes] + _NOISE * noise_BKN]
    if num_inputs > num_classes:
        assert num_inputs == num_classes + NUM_MOTIONS
        parts.append(cells_BDN[:, num_classes:] * (torch.rand(num_sequences, 1, 1) >= _BLIND))
    return torch.cat(parts, dim=1)


def _loss(logits_BKN: Tensor, labels_BN: Tensor, weights_K: Tensor) -> Tensor:
    """Return the cross entropy of cells of which the class is known, and how much answers change."""
    if not (labels_BN >= 0).any():
        return 0.0 * logits_BKN.sum()
    entropy = F.cross_entropy(logits_BKN, labels_BN, weight=weights_K, ignore_index=_UNKNOWN)
    logarithms_BKN = F.log_softmax(logits_BKN, dim=1)
    change_BKN = logarithms_BKN[:, :, 1:] - logarithms_BKN[:, :, :-1].detach()
    smoothness = change_BKN.abs().clamp(max=_MOST_CHANGE).square().mean()
    return entropy + _SMOOTHNESS * smoothness
