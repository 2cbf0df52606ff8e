"""Find the device that decodes; where there is none, a warning states that the CPU decodes."""

from __future__ import annotations

import functools
import logging
from typing import Literal, TypeAlias

from av import Codec
from av.codec.hwaccel import HWAccel

from vidcli.errors import VideoError
from vidcli.video.open.container import FOREIGN_ERRORS
from vidcli.video.open.video_bytes import reason

HardwareName: TypeAlias = Literal["off", "cuda"]

_log = logging.getLogger("vidcli.video")


@functools.cache
def find_hardware(name: HardwareName) -> HWAccel | None:
    """Return PyAV's settings for decoding on a device; None is the CPU.

    The answer is cached, so that each process warns at most once that there is no such device.
    """
    if name == "off":
        return None
    try:
        HWAccel(name).create(Codec("h264", "r"))
    except (*FOREIGN_ERRORS, NotImplementedError) as error:
        _log.warning("data.hwaccel=%s: no such device here (%s); decoding on the CPU", name, reason(error))
        return None
    # Without this, FFmpeg would silently decode on the CPU.
    return HWAccel(name, allow_software_fallback=False)


def warn_of_cpu(error: VideoError, name: HardwareName) -> None:
    """Warn that the CPU decoded a file which the device could not."""
    _log.warning("%s (with data.hwaccel=%s); decoded on the CPU", error, name)
