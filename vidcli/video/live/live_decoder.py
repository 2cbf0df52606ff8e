"""Decode live video on a thread of its own, and hand over the pictures that are wanted.

Pictures are wanted at the moments of a grid, at the spacing of the frames in the model's clip. Each
moment gets the picture nearest to it. Pictures between two moments are decoded, since others refer to
them, but not converted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

import av
import av.container
import av.error
import numpy as np

from vidcli.errors import VideoError
from vidcli.video.exact.convert import Converter, SizeRule
from vidcli.video.live.mailbox import PATIENCE_SECONDS, LiveFrame, Mailbox, StreamClock
from vidcli.video.live.source import STDIN, STDIN_NAME, PipeReader, RawFormat, open_camera, open_pipe
from vidcli.video.open.budget import Budget, DecodeLimits
from vidcli.video.open.container import FOREIGN_ERRORS, packets_of, seconds_of
from vidcli.video.open.duration import next_start
from vidcli.video.open.probe import VideoInfo, describe
from vidcli.video.open.video_bytes import reason

_FAREWELL_SECONDS = 2.0  # for the thread to end
_PAUSE_SECONDS = 0.005  # before a camera without a new picture is asked again
_MAX_FAULTS = 100
"""Errors of the container without a readable packet between them, until reading is given up."""


class LiveFrames:
    """The pictures of a camera or a pipe; a context manager that starts and ends the decoding thread.

    Attributes:
        name: of the source in messages.
        num_damaged: packets that could not be decoded so far.
    """

    def __init__(
        self,
        source: str,
        spacing_seconds: float,
        size: SizeRule,
        capacity: int,
        raw: RawFormat | None = None,
        limits: DecodeLimits | None = None,
    ) -> None:
        """Prepare to read; nothing is opened yet.

        Args:
            source: a camera's number, device or name; `-` is standard input.
            spacing_seconds: from one wanted moment to the next.
            size: output height and width, given the upright ones.
            capacity: the most pictures that may wait; beyond, the oldest are dropped.
            raw: format of the pictures of a pipe without a container.
            limits: what a picture may cost; those of time and number of frames do not apply.

        Raises:
            ConfigError: standard input cannot be a pipe.
        """
        self.name = STDIN_NAME if source == STDIN else source
        self.num_damaged = 0
        self._source, self._spacing, self._size, self._raw = source, spacing_seconds, size, raw
        self._budget = Budget(self.name, replace(limits or DecodeLimits(), seconds=None, frames=None))
        self._reader = PipeReader() if source == STDIN else None
        self._mailbox = Mailbox(capacity, PATIENCE_SECONDS if self._reader else 0.0)
        self._clock = StreamClock()
        self._thread = threading.Thread(target=self._run, name="vidcli-live", daemon=True)

    def __enter__(self) -> LiveFrames:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._mailbox.leave()
        if self._reader is not None:
            self._reader.stop()
        # A device that never answers must not keep the process from ending.
        self._thread.join(_FAREWELL_SECONDS)
        if self._reader is not None and not self._thread.is_alive():
            self._reader.close()

    @property
    def num_dropped(self) -> int:
        """Wanted pictures that were dropped because the model was busy."""
        return self._mailbox.num_dropped

    def take(self, timeout_seconds: float) -> list[LiveFrame] | None:
        """Return the pictures to answer next; see `Mailbox.take`.

        Raises:
            VideoError: the source cannot be opened, ended without a picture, or failed.
        """
        return self._mailbox.take(timeout_seconds)

    def _run(self) -> None:
        try:
            with self._open() as container:
                self._read(container)
        except BaseException as error:  # raised again where pictures are taken
            self._mailbox.end(error)
        else:
            self._mailbox.end(None)

    def _open(self) -> av.container.InputContainer:
        if self._reader is not None:
            return open_pipe(self._reader, self._raw, self._budget)
        return open_camera(self._source, self._budget)

    def _read(self, container: av.container.InputContainer) -> None:
        if not container.streams.video:
            raise VideoError(self.name, "holds no video stream")
        stream = container.streams.video[0]
        self._budget.check_size(stream.height, stream.width)
        # FFmpeg's frame threads would delay pictures.
        stream.codec_context.thread_count = 1
        converter: Converter | None = None
        info: VideoInfo | None = None
        origin = last_seconds = 0.0
        wanted = 0
        for frame in self._decode(container, stream):
            if info is None or converter is None:
                self._budget.check_size(frame.height, frame.width)
                info = describe(self._budget, container, stream, frame, duration_seconds=0.0)
                converter = Converter(self.name, info, self._size)
                origin = seconds_of(frame) or 0.0
                seconds = 0.0
            else:
                stamp = seconds_of(frame)
                stated = None if stamp is None else stamp - origin
                seconds = next_start(stated, last_seconds, info.period_seconds)
                if stamp is not None and seconds != stated:  # the clock jumped back: count from here
                    origin = stamp - seconds
            last_seconds = seconds
            if (frame.height, frame.width) != (info.height, info.width):
                raise VideoError(
                    self.name,
                    f"changed from {info.width}x{info.height} to {frame.width}x{frame.height}; start again",
                )
            moment = int((seconds + min(info.period_seconds, self._spacing) / 2) / self._spacing)
            is_new = self._reader is None or self._take_waited()
            now = time.monotonic()
            due = self._clock.due(seconds, now, is_new)
            if moment < wanted:
                continue
            wanted = moment + 1
            picture = np.empty(converter.shape, np.uint8)
            converter.convert_into(picture, frame)
            if not self._mailbox.put(LiveFrame(picture, seconds, moment, due, min(due, now))):
                return
        if info is None:
            raise VideoError(self.name, "ended before its first picture")

    def _take_waited(self) -> bool:
        assert self._reader is not None
        waited, self._reader.has_waited = self._reader.has_waited, False
        return waited

    def _decode(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        """Yield frames; damaged packets are counted and skipped, since a live stream goes on."""
        for packet in self._packets(container, stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.num_damaged += 1
                continue
            except av.error.EOFError:
                return
            except FOREIGN_ERRORS as error:
                raise self._broken(error) from error
            yield from frames

    def _packets(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.Packet[av.VideoStream]]:
        num_faults = 0
        packets = packets_of(container, stream)
        while not self._mailbox.is_left:
            try:
                packet = next(packets, None)
            except BlockingIOError:  # AVFoundation has no new picture yet
                time.sleep(_PAUSE_SECONDS)
                packets = packets_of(container, stream)
                continue
            except av.error.InvalidDataError as error:
                self.num_damaged += 1
                num_faults += 1
                if num_faults > _MAX_FAULTS:
                    raise self._broken(error) from error
                packets = packets_of(container, stream)
                continue
            except FOREIGN_ERRORS as error:
                raise self._broken(error) from error
            if packet is None:
                return
            num_faults = 0
            yield packet

    def _broken(self, error: BaseException) -> VideoError:
        if self._reader is None:
            return VideoError(self.name, f"is gone ({reason(error)}); is it plugged in?")
        return VideoError(self.name, f"broke off ({reason(error)})")
