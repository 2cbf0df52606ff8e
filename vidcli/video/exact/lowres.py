"""Decode at a quarter or an eighth of the resolution, where the wanted frames are no larger.

MJPEG and MPEG-4 code blocks of 8x8 coefficients, of which the low ones alone give a smaller picture
(FFmpeg's `lowres`). In MPEG-4 the errors of this add up from picture to picture, as each refers to the
one before it. With a camera that pans, half the resolution was off by 3 of 255 after 12 pictures, and by
40 after 200. So MPEG-4 is reduced only where its groups of pictures are short.
"""

from __future__ import annotations

from fractions import Fraction

import av
import av.container

from vidcli.video.exact.convert import SizeRule

_LEAST_HALVINGS = 2  # a single one is no faster, since FFmpeg's code for it is not vectorised
_MOST_HALVINGS = 3
_LONGEST_GROUP = 16  # pictures of MPEG-4 from one keyframe to the next


def reduce_resolution(
    container: av.container.InputContainer, stream: av.VideoStream, size: SizeRule | None
) -> int:
    """Make the decoder of an open file reduce its pictures, but to no less than `size` wants.

    Args:
        container: the open file, of which nothing was decoded yet.
        stream: its video stream.
        size: output height and width, given the upright ones; None keeps the coded pixels.

    Returns:
        How many times height and width are halved, 0 for not at all.
    """
    height, width = stream.height, stream.width
    if size is None or not height or not width or not _is_reducible(container, stream):
        return 0
    square = max(1, round(width * (stream.sample_aspect_ratio or Fraction(1))))
    least = [size(height, square)]
    if container.format.name.startswith(("mov,mp4", "matroska")):
        # Whether pictures are turned is known once one is decoded: both cases must be large enough.
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
    """Return height and width of a picture after a number of halvings, each rounded up.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        halvings: how many times both are halved.
    """
    return -(-height >> halvings), -(-width >> halvings)


def _is_reducible(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    codec = stream.codec_context.codec.canonical_name
    if codec == "mjpeg":
        return True
    # In these containers the index states of every picture whether it is a keyframe.
    return (
        codec == "mpeg4"
        and container.format.name.startswith(("mov,mp4", "avi"))
        and 0 < _longest_group(stream) <= _LONGEST_GROUP
    )


def _longest_group(stream: av.VideoStream) -> int:
    """Return the most pictures from one keyframe to the next, by the container's index."""
    longest = since = 0
    for entry in stream.index_entries:
        since = 1 if entry.is_keyframe else since + 1
        longest = max(longest, since)
    return longest
