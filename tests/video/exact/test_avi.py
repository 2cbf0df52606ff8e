"""MPEG-4 with B-frames in AVI: planned where it is plain what a decoder shows, decoded whole where not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.video.make import NOT_CODED, Reference, decode_all, mux_anew, pack_pictures
from vidcli.video import decode_frames
from vidcli.video.exact.avi import AviPlanner
from vidcli.video.exact.planner import NotPlannable
from vidcli.video.open.budget import Budget, DecodeLimits
from vidcli.video.open.container import open_video

Change = Callable[[list[bytes]], Iterable[bytes]]


def _of_an_encoder_that_never_packs(coded: list[bytes]) -> Iterator[bytes]:
    return pack_pictures(coded, b"DivX503b1393")


def _without_empty_packets(coded: list[bytes]) -> Iterator[bytes]:
    return (data for data in pack_pictures(coded) if data != NOT_CODED)


def _with_two_references_in_a_packet(coded: list[bytes]) -> Iterator[bytes]:
    return (data + (coded[1] if number == 20 else b"") for number, data in enumerate(pack_pictures(coded)))


def _with_another_header(coded: list[bytes]) -> Iterator[bytes]:
    header = coded[0][: coded[0].index(b"\0\0\1\xb6")]
    start = header.index(b"\0\0\1\x20") + 8
    other = header[:start] + bytes([header[start] ^ 1]) + header[start + 1 :]
    return (other + data if number == 30 else data for number, data in enumerate(coded))


def _with_a_missing_start(coded: list[bytes]) -> Iterable[bytes]:
    start = coded[0].index(b"\0\0\1\xb6")
    return [coded[0][:start] + coded[2], *coded[1:]]


def _with_pictures_that_are_not_coded(coded: list[bytes]) -> Iterator[bytes]:
    for number, data in enumerate(coded):
        yield data
        if number in (0, 20):
            yield NOT_CODED


def _with_b_frames_that_lie_elsewhere(coded: list[bytes]) -> Iterator[bytes]:
    for number, data in enumerate(coded):
        yield coded[number - 4] if number == 21 else data


def _cut_between_packed_pictures(coded: list[bytes]) -> Iterable[bytes]:
    packed = list(pack_pictures(coded))
    return packed[: max(number for number, data in enumerate(packed) if data == NOT_CODED) - 1]


def assert_equal(path: Path, reference: Reference) -> None:
    rng = np.random.default_rng(0)
    for count in (1, 3, 8, 40):
        moments = rng.uniform(0, reference.seconds[-1], count)
        decoded = decode_frames(path, lambda duration, moments=moments: moments)
        numbers = [reference.shown_at(moment) for moment in np.minimum(moments, decoded.duration_seconds)]
        assert decoded.pts_seconds.tolist() == [reference.seconds[number] for number in numbers]
        for frame, number in zip(decoded.frames, numbers, strict=True):
            np.testing.assert_array_equal(frame, reference.frames[number])


def read(path: Path) -> AviPlanner:
    budget = Budget(path, DecodeLimits())
    with open_video(path, budget) as (container, stream):
        return AviPlanner(budget, container, stream)


@pytest.mark.parametrize("change", [lambda coded: coded, pack_pictures, _cut_between_packed_pictures])
def test_what_is_shown_when_is_worked_out(
    change: Change, video: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "changed.avi"
    mux_anew(video("mpeg4_b.avi"), path, change)
    reference = decode_all(path)
    assert read(path).find_clock().seconds == reference.seconds
    assert_equal(path, reference)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_of_an_encoder_that_never_packs, "packed in an unknown way"),
        (_without_empty_packets, "not a picture alone|would be lost"),
        (_with_two_references_in_a_packet, "."),
        (_with_another_header, "description of the pictures changes"),
        (_with_pictures_that_are_not_coded, "not coded"),
        (_with_b_frames_that_lie_elsewhere, "does not lie between"),
        (_with_a_missing_start, "nothing to refer to|stands alone|lie between"),
    ],
)
def test_what_is_not_plain_is_left_to_the_decoder(
    change: Change, reason: str, video: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "changed.avi"
    mux_anew(video("mpeg4_b.avi"), path, change)
    with pytest.raises(NotPlannable, match=reason):
        read(path)
    assert_equal(path, decode_all(path))
