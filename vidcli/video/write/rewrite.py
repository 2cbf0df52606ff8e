"""Write a video again with changed pictures and its own sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.container
import av.error
import numpy as np

from vidcli.arrays import Frames
from vidcli.errors import VideoError
from vidcli.storage.addresses import StoredPath
from vidcli.video.exact.convert import Converter
from vidcli.video.open.budget import Budget, DecodeLimits, faults_of
from vidcli.video.open.container import FOREIGN_ERRORS, decode_packets, open_video, packets_of
from vidcli.video.open.duration import find_rate, next_start, period_of
from vidcli.video.open.probe import describe
from vidcli.video.open.video_bytes import reason

_NUM_DECODERS = 2
_CODING = {"preset": "veryfast", "crf": "20"}


def rewrite_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    change: Callable[[Frames, float], None],
    limits: DecodeLimits | None = None,
) -> None:
    """Write a video as H.264 after changing each picture, which is shown at the same time as before.

    Sound is copied packet by packet, without encoding it again. Pictures are upright, with square pixels,
    and of even height and width, as H.264 requires.

    Args:
        source: a local file.
        target: the new file; its suffix names the container, which must be able to hold the sound.
        change: changes a picture, uint8 (H, W, 3), in place, given its start in seconds from the first.
        limits: what the source may cost; the time limit does not apply.

    Raises:
        VideoError: the source cannot be decoded to its end, or the target cannot be written.
    """
    is_local = not isinstance(source, StoredPath)
    if is_local and os.path.exists(target) and os.path.samefile(source, target):
        raise VideoError(target, "is the video itself; choose another file to write")
    budget = Budget(source, replace(limits or DecodeLimits(), seconds=None))
    with faults_of(source), open_video(source, budget, _NUM_DECODERS) as (container, stream):
        try:
            output = av.open(str(target), mode="w")
        except FOREIGN_ERRORS as error:
            raise VideoError(target, f"cannot be written ({reason(error)})") from error
        with output:
            _Rewriter(budget, container, stream, output, Path(target), change).run()


def _even_size(height: int, width: int) -> tuple[int, int]:
    return max(2, height & ~1), max(2, width & ~1)


class _Place(NamedTuple):
    """When a picture is shown: in the stream's time base, and in seconds from the first picture."""

    pts: int
    seconds: float


class _Rewriter:
    """Rewrite one open source to one open target."""

    def __init__(
        self,
        budget: Budget,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        output: av.container.OutputContainer,
        target: Path,
        change: Callable[[Frames, float], None],
    ) -> None:
        self._budget, self._container, self._stream = budget, container, stream
        self._output, self._target, self._change = output, target, change
        self._converter: Converter | None = None
        # The target's first stream; its size is known with the first picture.
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25).limit_denominator(1001)
        try:
            self._coded: Any = output.add_stream("libx264", rate=rate, options=_CODING)
        except FOREIGN_ERRORS as error:
            raise VideoError(target, f"cannot be written ({reason(error)})") from error
        self._waiting: list[Any] = []
        self._last: _Place | None = None
        self._origin = 0.0
        self._period = period_of(find_rate(stream))

    def run(self) -> None:
        """Rewrite all pictures, and copy all sound."""
        sounds = {sound.index: self._add_sound(sound) for sound in self._container.streams.audio}
        streams = [self._stream, *self._container.streams.audio]
        packets = self._read(packets_of(self._container, streams))

        def pictures() -> Iterator[Any]:
            for packet in packets:
                if packet.stream.index == self._stream.index:
                    yield packet
                elif packet.dts is not None:
                    packet.stream = sounds[packet.stream.index]
                    self._mux([packet])

        for frames in self._read(decode_packets(pictures(), self._container, self._stream)):
            for frame in frames:
                self._add(frame)
        if self._converter is None:
            raise VideoError(
                self._budget.path, "holds a video stream without a single frame that can be decoded"
            )
        self._write(lambda: self._output.mux(self._coded.encode(None)))

    def _read(self, values: Any) -> Any:
        """Yield what an iterator reads from the source, and raise its errors as errors of the source."""
        while True:
            try:
                value = next(values, None)
            except FOREIGN_ERRORS as error:
                raise VideoError(self._budget.path, f"is damaged ({reason(error)})") from error
            if value is None:
                return
            yield value

    def _write(self, function: Callable[[], object]) -> None:
        try:
            function()
        except FOREIGN_ERRORS as error:
            kinds = ", ".join(sorted({s.codec_context.name for s in self._container.streams.audio}))
            sound = f"; its container may not take {kinds} sound, .mkv takes any" if kinds else ""
            raise VideoError(self._target, f"cannot be written ({reason(error)}){sound}") from error

    def _add_sound(self, sound: Any) -> Any:
        added: list[Any] = []
        self._write(lambda: added.append(self._output.add_stream_from_template(sound)))
        return added[0]

    def _mux(self, packets: list[Any]) -> None:
        # The first packet makes the muxer write the header, which needs the size of the pictures.
        self._waiting += packets
        if self._converter is not None:
            ready, self._waiting = self._waiting, []
            self._write(lambda: self._output.mux(ready))

    def _add(self, frame: av.VideoFrame) -> None:
        assert self._stream.time_base is not None
        self._budget.spend_frames(1)
        if self._converter is None:
            self._start(frame)
        assert self._converter is not None
        pts, seconds = self._place(frame)
        picture = np.empty(self._converter.shape, np.uint8)
        self._converter.convert_into(picture, frame)
        self._change(picture, seconds)
        changed = av.VideoFrame.from_ndarray(picture, format="rgb24")
        changed.pts, changed.time_base = pts, self._stream.time_base
        coded: list[Any] = []
        self._write(lambda: coded.extend(self._coded.encode(changed)))
        self._mux(coded)

    def _place(self, frame: av.VideoFrame) -> tuple[int, float]:
        """Return when a picture is shown, as when the video is decoded to be classified."""
        base = self._stream.time_base
        assert base is not None
        if self._last is None:
            self._last = _Place(frame.pts or 0, 0.0)
            self._origin = float(self._last.pts * base)
            return self._last
        stated = None if frame.pts is None else float(frame.pts * base) - self._origin
        seconds = next_start(stated, self._last.seconds, self._period)
        pts = frame.pts
        if pts is None or seconds != stated:
            pts = round((seconds + self._origin) / base)
        self._last = _Place(max(pts, self._last.pts + 1), seconds)
        return self._last

    def _start(self, frame: av.VideoFrame) -> None:
        self._budget.check_size(frame.height, frame.width)
        info = describe(self._budget, self._container, self._stream, frame)
        self._converter = Converter(self._budget.path, info, _even_size)
        self._coded.height, self._coded.width = self._converter.shape[:2]
        self._coded.pix_fmt = "yuv420p"
        self._coded.codec_context.time_base = self._stream.time_base
