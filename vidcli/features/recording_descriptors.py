"""Descriptors of clips that are cut from recordings, where what a network sees in a frame serves many clips.

    clips     [..........]                        stretch: clips that follow each other, decoded in one go
                  [..........]     [..........]   each frame passes through the backbone once
    frames    ffffffffffffff       ffffffffff     what lies between clips is not decoded where it is long

A clip by itself would be sought in the file, decoded from the keyframe before it, and computed whole.

Shape suffixes: N frames of a stretch, T frames of a clip, C channels, H W pixels, F features of a frame, D
descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vidcli.config import Config
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem
from vidcli.data.span_clips import clip_seconds, group_clips
from vidcli.errors import VideoError
from vidcli.features.descriptors import Descriptors, OneBlock, require_room
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import Seconds
from vidcli.transforms import ClipTransform

_MOST_FRAMES = 256
"""Of a stretch: so few that several threads have work, and that frames take little memory."""
_FRAMES_AT_ONCE = 32
_CLIPS_AT_ONCE = 16


@dataclass(frozen=True)
class Stretch:
    """Clips of one recording that are decoded together.

    Attributes:
        places: where each clip stands among all.
        firsts: the first frame of each clip, counted from the start of the stretch.
        span: the recording from the start of its first clip to the end of its last.
        num_frames: of the stretch, N.
    """

    places: list[int]
    firsts: list[int]
    span: VideoItem
    num_frames: int


class RecordingDescriptors(Descriptors):
    """Describes clips of recordings by a network that sees frames one by one."""

    def of(
        self, items: Sequence[VideoItem], mirrored: bool, paces: int, goes_on: Callable[[int], bool]
    ) -> list[Tensor | VideoError | None]:
        """Return the descriptors (1, D) of each clip, float16, or the error of its recording.

        Args:
            items: clips whose starts lie on the grid of frames; other ones are described by themselves.
            mirrored: describe each clip as a mirror shows it.
            paces: not followed: a clip that is cut short has another middle, which is what its class is of.
            goes_on: see `Descriptors.of`. Stretches come in random order, so that those which are
                described are of all recordings.

        Raises:
            ConfigError: the descriptors do not fit in memory.
        """
        stretches, alone = find_stretches(items, self._config)
        described: list[Tensor | VideoError | None] = [None] * len(items)
        for place, found in zip(
            alone, super().of([items[place] for place in alone], mirrored, 1, goes_on), strict=True
        ):
            described[place] = found
        num_done, block = len(alone), OneBlock(len(items))
        workers = num_workers(self._config.data.workers)

        def work(stretch: Stretch) -> list[Tensor | VideoError]:
            return self._describe_stretch(items, stretch, mirrored)

        order = np.random.default_rng(self._config.train.seed).permutation(len(stretches))
        drawn = [stretches[number] for number in order.tolist()]
        with closing(map_ahead(work, drawn, workers, ahead=2 * workers)) as results:
            for stretch, of_stretch in zip(drawn, results, strict=True):
                for place, found in zip(stretch.places, of_stretch, strict=True):
                    described[place] = block.keep(place, found)
                require_room(of_stretch, len(items))
                num_done += len(of_stretch)
                if not goes_on(num_done):
                    break
        if self._store is not None:
            self._store.prune()
        return described

    def _describe_stretch(
        self, items: Sequence[VideoItem], stretch: Stretch, mirrored: bool
    ) -> list[Tensor | VideoError]:
        """Return the descriptors of each clip of a stretch, from disk if all of them are there."""
        about = [mirrored, "in recording"]
        kept = [self._read(items[place], about) for place in stretch.places]
        if all(found is not None for found in kept):
            return [found for found in kept if found is not None]
        try:
            rows_NF = self._see(stretch, mirrored)
        except VideoError as error:
            return [error] * len(stretch.places)
        described = self._describe_clips(rows_NF, stretch.firsts)
        if self._store is not None:
            for place, found_1D in zip(stretch.places, described, strict=True):
                self._store.write(items[place], {"features": found_1D.numpy()}, about)
        return [*described]

    def _read(self, item: VideoItem, about: Sequence[object]) -> Tensor | None:
        if self._store is None:
            return None
        kept = self._store.read(item, lambda stored: stored.take("features"), about)
        return None if kept is None else torch.from_numpy(kept)

    @torch.inference_mode()
    def _see(self, stretch: Stretch, mirrored: bool) -> Tensor:
        """Return what the network sees in each frame of a stretch (N, F).

        Raises:
            VideoError: the recording cannot be decoded there.
        """
        spacing = self._config.clip.stride_seconds
        moments_1N: Seconds = (np.arange(stretch.num_frames, dtype=np.float64)[None] + 0.5) * spacing
        frames_NHWC = FrameSource(self._config).frames(stretch.span, lambda duration: moments_1N)
        transform = ClipTransform(self._config.clip)
        seen: list[Tensor] = []
        for start in range(0, len(frames_NHWC), _FRAMES_AT_ONCE):
            clip_NCHW = transform(frames_NHWC[start : start + _FRAMES_AT_ONCE]).to(self._device)
            seen.append(self._model.see_frames((clip_NCHW.flip(3) if mirrored else clip_NCHW)[None])[0])
        return torch.cat(seen)

    @torch.inference_mode()
    def _describe_clips(self, rows_NF: Tensor, firsts: Sequence[int]) -> list[Tensor]:
        length = self._config.clip.length
        described: list[Tensor] = []
        for start in range(0, len(firsts), _CLIPS_AT_ONCE):
            some = firsts[start : start + _CLIPS_AT_ONCE]
            rows_BTF = torch.stack([rows_NF[first : first + length] for first in some])
            described += self._model.describe_frames(rows_BTF).half().cpu()[:, None].unbind(0)
        return described


def find_stretches(items: Sequence[VideoItem], config: Config) -> tuple[list[Stretch], list[int]]:
    """Return the stretches of clips that are decoded together, and the places of all other clips.

    Args:
        items: clips of recordings.
        config: how long clips are, and how far apart their frames.
    """
    spacing, length = config.clip.stride_seconds, config.clip.length
    seconds = clip_seconds(config.clip)
    on_grid: list[tuple[int, VideoItem]] = []
    alone: list[int] = []
    for place, item in enumerate(items):
        first = round(item.start_seconds / spacing)
        is_on_grid = abs(first * spacing - item.start_seconds) < 1e-3 * spacing
        if (
            item.end_seconds is None
            or not is_on_grid
            or item.end_seconds - item.start_seconds < seconds - 1e-3
        ):
            alone.append(place)
        else:
            on_grid.append((place, item))
    groups = group_clips([item for _, item in on_grid], _MOST_FRAMES * spacing)
    return [_stretch_of([on_grid[number] for number in group], spacing, length) for group in groups], alone


def _stretch_of(clips: Sequence[tuple[int, VideoItem]], spacing: float, length: int) -> Stretch:
    firsts = [round(item.start_seconds / spacing) for _, item in clips]
    start, end = firsts[0], firsts[-1] + length
    span = replace(clips[0][1], label="", start_seconds=start * spacing, end_seconds=end * spacing)
    return Stretch([place for place, _ in clips], [first - start for first in firsts], span, end - start)
