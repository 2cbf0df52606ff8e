"""Files to frames and back: probe, decode, encode. The only importer of PyAV.

Frames are uint8 (N, H, W, 3), RGB, upright. Times are seconds from the first frame.

    container   open a file as a video and nothing else
    probe       what it is, from its headers
    duration    how long it is: what its header says, held against its packets
    truncation  whether it ends before its container says
    orientation how its pictures are turned and mirrored to be upright
    colours     colour matrices that FFmpeg does not know
    reduced     a fraction of the resolution, where that is enough
    bits        numbers in the headers of packets
    marks       what the bytes of a packet say about who depends on it
    lookahead   which packets hold the wanted frames
    planned     jump, leave out, decode, stop
    reordered   the same of MPEG-4 in AVI, whose packets have no times
    sequential  decode from the first frame on
    decode      the wanted frames, exact either way
    hardware    on a device, where there is one
    stream      a frame at each moment of a grid, one after the other, however long the file is
    live        a camera or a pipe, whose pictures are still to come
    convert     to RGB, scaled, upright, in place
    encode      frames to a file
    rewrite     a video anew, each picture changed, its sound as it was
    limits      pixels, frames, seconds; a watch on calls that hang
"""

from vidcli.video.container import VIDEO_SUFFIXES
from vidcli.video.convert import CONVERSION, Frames, SizeRule
from vidcli.video.decode import DecodedFrames, DecodeMode, Plan, decode_frames
from vidcli.video.encode import encode_video, library_versions, repeat_video, write_png
from vidcli.video.hardware import HardwareName
from vidcli.video.limits import MAX_PIXELS, DecodeLimits
from vidcli.video.live import LiveFrame, LiveFrames, RawFormat, parse_raw
from vidcli.video.probe import VideoInfo, probe
from vidcli.video.rewrite import rewrite_video
from vidcli.video.stream import stream_frames

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
