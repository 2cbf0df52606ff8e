"""Video files to frames and back: probe, decode, encode. The only importer of PyAV.

Frames are uint8 (N, H, W, 3), RGB, upright. Times are seconds from the first frame. Each part imports
only those above it; `live` and `write` do not import each other.

    codecs   inspect coded packets without decoding them
    open     open a file as a video and nothing else, within limits; describe it by its headers and packets
    exact    decode the frames at wanted times, exactly as a sequential decode would show them
    live     decode a camera or a pipe
    write    encode frames to a file; rewrite a video with changed pictures and its own sound
"""

from vidcli.video.exact.convert import CONVERSION, MovingWindow, SizeRule
from vidcli.video.exact.decode import DecodedFrames, decode_frames
from vidcli.video.exact.frame_starts import frame_starts
from vidcli.video.exact.request import DecodeMode, Plan
from vidcli.video.exact.sequential import GridFrame, stream_frames
from vidcli.video.live.live_decoder import LiveFrames
from vidcli.video.live.mailbox import LiveFrame
from vidcli.video.live.source import RawFormat, parse_raw
from vidcli.video.open.budget import MAX_PIXELS, DecodeLimits
from vidcli.video.open.container import VIDEO_SUFFIXES
from vidcli.video.open.hardware import HardwareName
from vidcli.video.open.probe import VideoInfo, find_pixel_format, probe
from vidcli.video.write.encode import encode_video, library_versions, repeat_video, write_png
from vidcli.video.write.rewrite import rewrite_video

__all__ = [
    "CONVERSION",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "DecodeLimits",
    "DecodeMode",
    "DecodedFrames",
    "GridFrame",
    "HardwareName",
    "LiveFrame",
    "LiveFrames",
    "MovingWindow",
    "Plan",
    "RawFormat",
    "SizeRule",
    "VideoInfo",
    "decode_frames",
    "encode_video",
    "find_pixel_format",
    "frame_starts",
    "library_versions",
    "parse_raw",
    "probe",
    "repeat_video",
    "rewrite_video",
    "stream_frames",
    "write_png",
]
