"""Open the sources of live video: a camera of this machine, or bytes on standard input.

A pipe is data, never an address, like a file: this module reads it, FFmpeg may open nothing beside it,
and only containers that can be read without seeking work.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import av.container
import av.error

from vidcli.errors import ConfigError, VideoError
from vidcli.video.open.budget import MAX_PIXELS, Budget
from vidcli.video.open.container import DEMUXERS, FOREIGN_ERRORS
from vidcli.video.open.video_bytes import reason

STDIN = "-"
STDIN_NAME = "standard input"

_STREAMABLE = "MPEG-TS, Matroska or Y4M"
_RAW_PIXELS = ("rgb24", "bgr24", "gray", "yuv420p", "nv12", "yuyv422")
_RAW = re.compile(r"(\d{1,5})x(\d{1,5})@(\d+(?:\.\d+)?)(?::(\w+))?")
# How long FFmpeg analyses a stream before it begins; its own default is five seconds.
_LOOK_MICROSECONDS = "1000000"


@dataclass(frozen=True)
class RawFormat:
    """The format of raw pictures without a container, one after another.

    Attributes:
        width: in pixels.
        height: in pixels.
        fps: pictures per second.
        pixels: FFmpeg's name of the pixel format.
    """

    width: int
    height: int
    fps: float
    pixels: str


def parse_raw(text: str) -> RawFormat:
    """Parse `640x480@30` or `640x480@30:yuv420p`; without a pixel format it is rgb24.

    Raises:
        ConfigError: the text has another form.
    """
    match = _RAW.fullmatch(text.strip())
    pixels = (match[4] or "rgb24") if match else ""
    if not match or pixels not in _RAW_PIXELS:
        raise ConfigError(
            f"--raw {text}: expected WIDTHxHEIGHT@FPS or WIDTHxHEIGHT@FPS:PIXELS, such as "
            f"640x480@30:yuv420p; pixels are {', '.join(_RAW_PIXELS)}"
        )
    raw = RawFormat(int(match[1]), int(match[2]), float(match[3]), pixels)
    if not 0 < raw.width * raw.height <= MAX_PIXELS or not 0 < raw.fps <= 1000:
        raise ConfigError(f"--raw {text}: expected at most {MAX_PIXELS} pixels and 1000 pictures a second")
    return raw


class PipeReader:
    """Standard input as a file object for FFmpeg, which ends when it is asked to stop.

    Attributes:
        num_bytes: bytes read so far.
        has_waited: a read had to wait, so that the bytes it returned are new; whoever checks it resets it.
    """

    def __init__(self) -> None:
        """Use the standard input of the process.

        Raises:
            ConfigError: standard input is a terminal, or closed.
        """
        try:
            self._file = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError) as error:
            raise ConfigError("CAMERA -: standard input is closed; pipe a video into it") from error
        if os.isatty(self._file):
            raise ConfigError(
                "CAMERA -: standard input is a terminal; pipe a video into it, such as "
                "`ffmpeg ... -f mpegts - | vidcli live -`"
            )
        self.num_bytes = 0
        self.has_waited = False
        self._woken, self._waker = os.pipe()

    def read(self, size: int) -> bytes:
        """Return the bytes that are there, up to `size`, or wait for some; none at the end."""
        # Windows cannot wait for a pipe and for `stop` at once.
        if sys.platform != "win32":
            ready, _, _ = select.select([self._file, self._woken], [], [], 0)
            if not ready:
                self.has_waited = True
                ready, _, _ = select.select([self._file, self._woken], [], [])
            if self._woken in ready:
                return b""
        data = os.read(self._file, size)
        self.num_bytes += len(data)
        return data

    def stop(self) -> None:
        """Make a read that waits return the end."""
        os.write(self._waker, b".")

    def close(self) -> None:
        """Close the pipe that `stop` uses, once nobody reads any more."""
        os.close(self._woken)
        os.close(self._waker)


def open_pipe(reader: PipeReader, raw: RawFormat | None, budget: Budget) -> av.container.InputContainer:
    """Open a piped stream, once its first bytes have arrived.

    Args:
        reader: of standard input.
        raw: format of pictures without a container; None detects the container.
        budget: limits the size of pictures.

    Raises:
        VideoError: the stream ended before its first byte, or its format cannot be read from a pipe.
    """
    options = {
        "protocol_whitelist": "none",  # the bytes come from `reader`: nothing else may be opened
        "format_whitelist": f"{DEMUXERS},yuv4mpegpipe",
        "enable_drefs": "0",
        "use_absolute_path": "0",
        "max_pixels": str(budget.limits.pixels),
        "analyzeduration": _LOOK_MICROSECONDS,
    }
    if raw is not None:
        options |= {
            "format_whitelist": "rawvideo",
            "video_size": f"{raw.width}x{raw.height}",
            "framerate": str(raw.fps),
            "pixel_format": raw.pixels,
        }
    try:
        return av.open(reader, mode="r", format="rawvideo" if raw else None, options=options)
    except FOREIGN_ERRORS as error:
        if not reader.num_bytes:
            raise VideoError(STDIN_NAME, "ended before its first byte; does what is piped in run?") from error
        raise VideoError(
            STDIN_NAME,
            f"is not a video that can be read as it comes ({reason(error)}); expected {_STREAMABLE}, or "
            "pictures that --raw describes (an MP4 whose index comes last cannot be piped: name the file)",
        ) from error


def open_camera(name: str, budget: Budget) -> av.container.InputContainer:
    """Open a camera.

    Args:
        name: a number, a device such as /dev/video2, or the name that the system gives the camera.
        budget: limits the size of pictures.

    Raises:
        VideoError: the camera is missing, in use, or not permitted; or the device is no camera.
    """
    if "://" in name:
        raise VideoError(
            name,
            f"is an address, and vidcli opens none; pipe it in: ffmpeg -i {name} -f mpegts - | vidcli ...",
        )
    options: dict[str, str] = {"max_pixels": str(budget.limits.pixels)}
    if sys.platform == "darwin":
        system, device = "avfoundation", name
        options["framerate"] = "30"  # FFmpeg's default rate is one that many cameras do not offer
    elif sys.platform == "win32":
        system, device = "dshow", f"video={_name_of_number(name)}"
    else:
        system, device = "v4l2", _check_device(name)
    try:
        return av.open(device, mode="r", format=system, options=options)
    except FOREIGN_ERRORS as error:
        raise VideoError(name, _explain(error)) from error


def _check_device(name: str) -> str:
    """Return the device path of a camera on Linux."""
    path = Path(f"/dev/video{name}" if name.isdecimal() else name)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        there = sorted(str(found) for found in Path("/dev").glob("video*"))
        found = f"there are {', '.join(there)}" if there else "this machine shows no camera (/dev/video*)"
        raise VideoError(path, f"no such camera; {found}") from error
    if not stat.S_ISCHR(mode):
        raise VideoError(path, "is no camera; for a video file use `vidcli predict`")
    return str(path)


def _name_of_number(name: str) -> str:
    """Return the name of the camera with a number, on Windows, where cameras are known by name."""
    if not name.isdecimal():
        return name
    devices = [device.description for device in av.enumerate_input_devices("dshow")]
    if int(name) >= len(devices):
        found = f"there are {', '.join(devices)}" if devices else "this machine shows no camera"
        raise VideoError(name, f"no such camera; {found}")
    return devices[int(name)]


def _explain(error: BaseException) -> str:
    """Return what an error of a camera means, and what the user can do."""
    code = getattr(error, "errno", None)
    if code in (errno.EACCES, errno.EPERM):
        return (
            "may not be opened (permission denied); add yourself to its group, often `video`, and log in anew"
        )
    if code == errno.EBUSY:
        return "is used by another program; close that first"
    if code in (errno.ENODEV, errno.ENXIO):
        return "is gone; is it plugged in?"
    if code == errno.ENOTTY:
        return "is no camera"
    return f"cannot be opened as a camera ({reason(error)}); does another program show it?"
