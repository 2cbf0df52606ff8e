"""Settings of subjects: animals or persons in one picture, each with a window of its own."""

from __future__ import annotations

from pydantic import Field

from vidcli.config.values import Section


class SubjectConfig(Section):
    """How windows around subjects are cut out of frames. The same in training, eval and predict."""

    boxes: str | None = Field(
        None,
        max_length=4096,
        description="File, or folder of files, with boxes or points of subjects in each frame, from any "
        "tracker; none shows whole frames.",
    )
    margin: float = Field(
        1.5, ge=0.5, le=10, description="Side of a window by that of the box it is cut around."
    )
    smooth_seconds: float = Field(
        0.5,
        ge=0,
        le=60,
        description="Over how long the middle of a window is averaged, and its size over four times that; 0 "
        "follows each box.",
    )
    gap_seconds: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="Longest gap between boxes that is filled; in a longer one the subject is not there.",
    )
