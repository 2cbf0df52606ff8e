from __future__ import annotations

import pytest

from vidcli.transforms import mirrored_classes


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wave", "clap"], [0, 1]),
        (["left", "right", "wave"], [1, 0, 2]),
        (["turn_left", "turn_right"], [1, 0]),
        (["TurnLeft", "turn right"], [1, 0]),
        (["clockwise", "counterclockwise"], [1, 0]),
        (["anti-clockwise", "clockwise"], [1, 0]),
        (["northeast", "northwest", "south"], [1, 0, 2]),
        (["left_to_right", "right_to_left"], [1, 0]),
        (["leftover", "bright"], [0, 1]),
        (["left", "wave"], None),
        (["clockwise", "wave"], None),
    ],
)
def test_what_a_mirror_makes_of_classes(names: list[str], expected: list[int] | None) -> None:
    assert mirrored_classes(names) == expected
