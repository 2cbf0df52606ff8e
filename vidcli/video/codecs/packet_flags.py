"""What is asked of a packet before it is decoded.

DISPOSABLE  no other picture is predicted from it: it may be left out when it is not wanted
ENTRY       decoding may start here: what is shown from here on needs nothing from before
HIDDEN      it is decoded but never shown
FOREIGN     it is not what the marks are made for: decode this stream from end to end
"""

from typing import TypeAlias

import av

VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"

DISPOSABLE = 1
ENTRY = 2
HIDDEN = 4
FOREIGN = 8
