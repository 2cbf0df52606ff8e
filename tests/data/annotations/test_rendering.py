"""What is written for other programs is read back without a loss."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidcli.data.annotations import Annotations, Recording, Span, read_annotations
from vidcli.data.annotations.media import MediaFolder
from vidcli.data.annotations.rendering import SUFFIXES, LabelledVideo, gather_videos, render_labels
from vidcli.data.annotations.spans import TO_THE_END
from vidcli.errors import DataError
from vidcli.video import VideoInfo, probe

FPS = 25.0
SUBJECTS = ("boris", "boris-events", "elan", "csv")
SCORES = ("boris", "boris-events", "label-studio", "csv")
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp", "Cf")),
    min_size=1,
    max_size=8,
)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Draw spans on the grid of frames, which do not overlap where they have one label."""
    labels = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    spans = []
    for label in labels:
        edges = sorted(draw(st.lists(st.integers(0, 9000), min_size=2, max_size=8, unique=True)))
        subject = draw(st.sampled_from(["", "ann"]))
        score = draw(st.none() | st.floats(0, 1))
        for start, end in zip(edges[::2], edges[1::2], strict=False):
            spans.append(Span(label, start / FPS, end / FPS, subject, score))
    return Recording("/videos/cage1.mp4", tuple(spans))


INFO = VideoInfo("mp4", "h264", 48, 64, 0, 1, 400.0, 10_000, FPS, False, False)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", SUFFIXES)
def test_a_round_trip_loses_nothing(form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("trip") / f"a{SUFFIXES[form]}"

    @settings(max_examples=40)
    @given(recordings())
    def check(recording: Recording) -> None:
        path.write_text(
            render_labels(form, [LabelledVideo(recording, INFO, FPS)]), encoding="utf-8", newline=""
        )
        (back,) = read_annotations(path).recordings
        assert back.media.endswith(recording.media)
        factor = FPS if back.in_frames else 1.0
        found = {replace(s, start=s.start / factor, end=(s.end or 0) / factor) for s in back.spans}
        kept = {
            replace(
                span,
                subject=span.subject if form in SUBJECTS else "",
                score=span.score if form in SCORES else None,
            )
            for span in recording.spans
        }
        assert found == kept

    check()


def test_cvat_gets_no_frame_beyond_its_task() -> None:
    spans = Span("a", 0.0, 4.0), Span("b", 399.0, 400.0)  # of 10,000 frames
    text = render_labels("cvat", [LabelledVideo(Recording("cage1.mp4", spans), INFO, FPS)])
    assert re.findall(r'frame="(\d+)" outside="(\d)"', text) == [
        ("0", "0"), ("99", "0"), ("100", "1"), ("9975", "0"), ("9999", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize("form", SUFFIXES)
def test_hostile_names_come_back(form: str, tmp_path: Path) -> None:
    spans = tuple(Span(f"{begin}<a>&'\"|,;", n, n + 0.5) for n, begin in enumerate(("=", "-", "@", "x", "ä")))
    path = tmp_path / f"a{SUFFIXES[form]}"
    path.write_text(
        render_labels(form, [LabelledVideo(Recording("cage1.mp4", spans), INFO, 2.0)]), newline=""
    )
    (back,) = read_annotations(path).recordings
    assert {span.label for span in back.spans} == {span.label for span in spans}


@pytest.mark.parametrize(
    ("form", "spans", "told"),
    [
        ("boris", [Span("a", 0, 2), Span("a", 1, 3)], "spans of 'a' overlap at 1 s, which BORIS cannot hold"),
        (
            "boris",
            [Span("a", 0, 2), Span("a", 3, 3)],
            "'a' is both a moment and a span, which BORIS cannot hold",
        ),
        ("boris-events", [Span("a", 0, None)], "'a' at 0 s has no end"),
        ("elan", [Span("a", 1, 1)], "'a' at 1 s has no length, which ELAN needs"),
        ("elan", [Span("a", 0, 2), Span("a", 1, 3)], "two spans of 'a' overlap at 1 s in one tier"),
        ("elan", [Span("a\x1b", 0, 2)], r"a name holds '\\x1b', which XML cannot hold"),
        ("label-studio", [Span("a", 0, TO_THE_END)], "'a' at 0 s has no end"),
        ("cvat", [Span("a", 0, None)], "'a' at 0 s has no end"),
        ("via", [Span("a", 0, None)], "'a' at 0 s has no end"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(form: str, spans: list[Span], told: str) -> None:
    with pytest.raises(DataError, match=f"--format {form}: .*{told}"):
        render_labels(form, [LabelledVideo(Recording("cage1.mp4", tuple(spans)), INFO, FPS)])


@pytest.mark.parametrize(
    ("form", "told"), [("label-studio", "give --media DIR or --fps"), ("cvat", "give --media DIR")]
)
def test_a_video_that_is_needed_is_asked_for(form: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        render_labels(form, [LabelledVideo(Recording("cage1.mp4", (Span("a", 0, 1),)), None, None)])


def test_videos_are_gathered(write_video: Callable[..., Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "v" / "cage1.mp4", num_frames=16)
    one = Recording("x/cage1.avi", (Span("a", 8, TO_THE_END),), in_frames=True)
    other = Recording("cage1", (Span("b", 0.0, 0.5),))
    (found,) = gather_videos([Annotations("a", (one, other))], MediaFolder(tmp_path / "v"), None)
    assert found.recording.media == str(video)
    assert found.recording.spans == (Span("b", 0.0, 0.5), Span("a", 1.0, 2.0))
    assert (found.rate, found.seconds) == (8.0, probe(video).duration_seconds)
    with pytest.raises(
        DataError, match="is labelled by frames, and its rate is not known; give --media or --fps"
    ):
        gather_videos([Annotations("a", (one,))], None, None)
    with pytest.raises(DataError, match="'a' at 8 has no end; give --media, or correct it"):
        gather_videos([Annotations("a", (one,))], None, 8.0)
