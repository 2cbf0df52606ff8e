"""Files to frames and back: probe, decode, encode. The only importer of PyAV.

Frames are uint8 (N, H, W, 3), RGB, upright. Times are seconds from the first frame.

    open     a file as a video and nothing else, within limits; what its headers and packets say of it
    codecs   what the coded bytes of a packet say, without decoding them
    exact    the frames at wanted times, as a sequential decode would show them
    live     a camera or a pipe, whose pictures are still to come
    write    frames to a file; a video anew, each picture changed, its sound as it was
"""

from vidcli.video.exact.convert import CONVERSION, Frames, SizeRule
from vidcli.video.exact.decode import DecodedFrames, DecodeMode, Plan, decode_frames
from vidcli.video.exact.stream import stream_frames
from vidcli.video.live import LiveFrame, LiveFrames, RawFormat, parse_raw
from vidcli.video.open.budget import MAX_PIXELS, DecodeLimits
from vidcli.video.open.container import VIDEO_SUFFIXES
from vidcli.video.open.hardware import HardwareName
from vidcli.video.open.probe import VideoInfo, probe
from vidcli.video.write.encode import encode_video, library_versions, repeat_video, write_png
from vidcli.video.write.rewrite import rewrite_video

__all__ = [
    "CONVERSION",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "DecodeLimits",
    "DecodeMode",
    "DecodedFrames",
    "Frames",
    "HardwareName",
    "LiveFrame",
    "LiveFrames",
    "Plan",
    "RawFormat",
    "SizeRule",
    "VideoInfo",
    "decode_frames",
    "encode_video",
    "library_versions",
    "parse_raw",
    "probe",
    "repeat_video",
    "rewrite_video",
    "stream_frames",
    "write_png",
]
