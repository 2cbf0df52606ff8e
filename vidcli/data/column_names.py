"""What other programs call the columns of a table of labelled spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PATH_NAMES = (
    "path", "video", "file", "filename", "file name", "file_name", "filepath", "file_path", "video_path",
    "video_name", "videoname", "video name", "video file", "media file name", "media file path",
    "media file", "media",
)  # fmt: skip
LABEL_NAMES = (
    "label", "class", "class_name", "behavior", "behaviour", "behavior_name", "behaviour_name", "activity",
)  # fmt: skip
START_NAMES = (
    "start", "start_time", "start time", "starttime", "start_s", "start_sec", "start_seconds", "start (s)",
    "begin", "begin_time", "begin time", "onset", "t_start", "from",
)  # fmt: skip
END_NAMES = (
    "end", "end_time", "end time", "endtime", "end_s", "end_sec", "end_seconds", "end (s)", "stop",
    "stop_time", "stop time", "stop_s", "stop (s)", "offset", "t_end", "to",
)  # fmt: skip
TRACK_NAMES = ("track", "track_id", "track id")
ALIASES: Mapping[str, Sequence[str]] = {
    "path": PATH_NAMES,
    "label": LABEL_NAMES,
    "start": START_NAMES,
    "end": END_NAMES,
    "split": ("split", "subset", "partition"),
    "track": TRACK_NAMES,
}
"""The names of each column of a manifest, in lower case; its own name comes first."""


def find_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column that has one of several names; its own name, the first, goes before the others.

    Raises:
        ValueError: two columns have one, and neither has the first.
    """
    if names[0] in columns:
        return names[0]
    found = [name for name in dict.fromkeys(columns) if name in names]
    if len(found) > 1:
        raise ValueError(
            f"columns {found[0]!r} and {found[1]!r} can both be the {names[0]}; name one of them {names[0]!r}"
        )
    return found[0] if found else None
