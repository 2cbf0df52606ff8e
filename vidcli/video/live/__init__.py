"""Pictures that are still to come: a camera, or video through a pipe.

source    what is opened, and what its faults are called
mailbox   what waits for the taker: the newest, never more than a few
frames    the thread that decodes
"""

from vidcli.video.live.frames import LiveFrames
from vidcli.video.live.mailbox import LiveFrame
from vidcli.video.live.source import RawFormat, parse_raw

__all__ = ["LiveFrame", "LiveFrames", "RawFormat", "parse_raw"]
