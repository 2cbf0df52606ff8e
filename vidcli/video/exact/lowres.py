"""Decode at a quarter or an eighth of the resolution, where what is wanted is smaller still.

MJPEG and MPEG-4 code blocks of 8x8 coefficients, of which the low ones alone give a smaller picture
(FFmpeg's `lowres`). Of MPEG-4 that is not quite the whole one made smaller: it refers to pictures
before it that were not quite right either. With a camera that pans, half the resolution was off by
3 of 255 after 12 pictures, and by 40 after 200: so only short groups of pictures are decoded so.
"""

from __future__ import annotations

from fractions import Fraction

import av
import av.container

from vidcli.video.exact.convert import SizeRule

_LEAST_HALVINGS = 2  # one alone is no faster: FFmpeg's code for it is not vectorised
_MOST_HALVINGS = 3
_LONGEST_GROUP = 16


def reduce_resolution(
    container: av.container.InputContainer, stream: av.VideoStream, size: SizeRule | None
) -> int:
    """Make a decoder that is not open yet reduce its pictures, but to no less than `size` wants.

    Returns:
        How many times height and width are halved, rounded up.
    """
    height, width = stream.height, stream.width
    if size is None or not height or not width or not _is_reducible(container, stream):
        return 0
    square = max(1, round(width * (stream.sample_aspect_ratio or Fraction(1))))
    least = [size(height, square)]
    if container.format.name.startswith(("mov,mp4", "matroska")):
        # Whether pictures are to be turned is known once one is decoded: either way must do.
        turned_height, turned_width = size(square, height)
        least.append((turned_width, turned_height))
    halvings = 0
    while halvings < _MOST_HALVINGS:
        reduced_height, reduced_width = reduced_size(height, width, halvings + 1)
        if any(reduced_height < rows or reduced_width < columns for rows, columns in least):
            break
        halvings += 1
    if halvings < _LEAST_HALVINGS:
        return 0
    codec = stream.codec_context
    codec.options = {**codec.options, "lowres": str(halvings)}
    return halvings


def reduced_size(height: int, width: int, halvings: int) -> tuple[int, int]:
    """Return height and width of a picture after so many halvings."""
    return -(-height >> halvings), -(-width >> halvings)


def _is_reducible(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    codec = stream.codec_context.codec.canonical_name
    if codec == "mjpeg":
        return True
    # Of these containers the index tells of every picture whether it is a keyframe.
    return (
        codec == "mpeg4"
        and container.format.name.startswith(("mov,mp4", "avi"))
        and 0 < _longest_group(stream) <= _LONGEST_GROUP
    )


def _longest_group(stream: av.VideoStream) -> int:
    """Return how many pictures there are at most from one keyframe to the next, by the index."""
    longest = since = 0
    for entry in stream.index_entries:
        since = 1 if entry.is_keyframe else since + 1
        longest = max(longest, since)
    return longest
