"""From annotation files and videos to the rows of a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vidcli.data.annotations import Annotations, Recording, Span
from vidcli.data.annotations.assembly import Assembly, AssemblyOptions, assemble
from vidcli.data.annotations.media import MediaFolder
from vidcli.data.annotations.spans import TO_THE_END
from vidcli.data.annotations.timeline_results import read_timeline_results
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items, manifest_text
from vidcli.errors import DataError

FILE = Path("notes.csv")


@pytest.fixture(scope="module")
def media(write_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 8 s at 8 frames a second; two have one stem."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("day1/cage1.mp4", "day2/cage1.mp4", "Nest 2.v1.mkv"):
        write_video(folder / name, num_frames=64)
    return folder


def rows(media: Path, *recordings: Recording, **options: object) -> Assembly:
    content = Annotations("table", recordings)
    return assemble({FILE: content}, MediaFolder(media), AssemblyOptions(**options))  # type: ignore[arg-type]


def nest(*spans: Span, **about: object) -> Recording:
    return Recording("Nest 2.v1.mkv", spans, **about)  # type: ignore[arg-type]


def times(made: Assembly) -> list[tuple[str, float, float | None]]:
    return [(item.label, item.start_seconds, item.end_seconds) for item in made.items]


@pytest.mark.parametrize(
    "name",
    ["Nest 2.v1.mkv", "nest 2.V1.avi", "C:\\lab\\Nest 2.v1.mts", "file:///x/Nest%202.v1.mp4", "Nest 2.v1",
     "/data/local-files/?d=a/Nest%202.v1.mp4", "/data/upload/1/1f0a77c2-Nest 2.v1.mp4",
     "https://host/a/Nest%202.v1.webm?X-Amz=1"],
)  # fmt: skip
def test_a_video_is_found_by_its_stem(name: str, media: Path) -> None:
    assert MediaFolder(media).find(name) == [media / "Nest 2.v1.mkv"]


def test_folders_tell_videos_of_one_name_apart(media: Path) -> None:
    folder = MediaFolder(media)
    assert folder.find("D:\\x\\Day2\\cage1.avi") == [media / "day2/cage1.mp4"]
    assert len(folder.find("cage1.mp4")) == 2
    assert folder.find("cage3.mp4") == folder.find("") == []
    with pytest.raises(DataError, match=r"notes.csv: cage1.avi can be .*day1.*day2.*; keep one in --media"):
        rows(media, Recording("cage1.avi", (Span("a", 0, 1),)))


def test_what_is_missing_is_named_and_the_rest_goes_on(media: Path) -> None:
    made = rows(media, nest(Span("a", 0, 1)), Recording("gone.mp4", (Span("a", 0, 1), Span("b", 1, 2))))
    assert made.missing == ["notes.csv: no video for gone.mp4 (2 spans)"]
    assert made.items == [VideoItem(media / "Nest 2.v1.mkv", "a", None, "Nest 2.v1", 0.0, 1.0)]
    with pytest.raises(DataError, match=r"no labelled span of a video is left\n.*no video for gone"):
        rows(media, Recording("gone.mp4", (Span("a", 0, 1),)))


def test_frames_become_seconds(media: Path) -> None:
    marks = nest(Span("a", 8, 20), Span("b", 32, TO_THE_END), in_frames=True)
    made = rows(media, marks)
    assert times(made) == [("a", 1.0, 2.5), ("b", 4.0, None)]
    assert made.notes == ["numbers of frames were read at 8 frames a second; --fps changes that"]
    assert times(rows(media, marks, fps=16.0))[0] == ("a", 0.5, 1.25)
    other = nest(Span("a", 8, 20), in_frames=True, num_frames=90)
    with pytest.raises(DataError, match=r"labels for 90 frames, and .* has 64; give the table of this video"):
        rows(media, other)


def test_moments_and_open_spans_are_told(media: Path) -> None:
    spans = Span("sneeze", 3.0, 3.0), Span("rest", 4.0, None), Span("groom", 1.0, 2.0)
    made = rows(media, nest(*spans))
    assert times(made) == [("groom", 1.0, 2.0)]
    assert made.notes == [
        "1 spans are moments and are left out; --point-seconds S makes spans of them: sneeze 1",
        "1 spans have no end and are left out: rest 1",
    ]
    assert ("sneeze", 2.75, 3.25) in times(rows(media, nest(*spans), point_seconds=0.5))


def test_spans_beyond_the_video_are_cut_or_left_out(media: Path) -> None:
    made = rows(
        media, nest(Span("a", 7.0, 9.0), Span("b", 8.5, 9.0), Span("c", -1.0, 1.0), Span("d", -2.0, -1.0))
    )
    assert times(made) == [("c", 0.0, 1.0), ("a", 7.0, None)]
    assert {note.split(" and")[0].split(":")[0] for note in made.notes} == {
        "1 spans end behind the end of their video",
        "1 spans start behind the end of their video",
        "2 spans start before their video",
        "1 spans end before the start of their video",
    }


def test_what_no_span_covers_can_be_a_class(media: Path) -> None:
    spans = Span("a", 1.0, 2.0), Span("b", 2.0, 4.0), Span("c", 6.0, None)
    made = rows(media, nest(*spans), background="none of these")
    # What happens after an open span is not known, and no background.
    assert times(made) == [
        ("none of these", 0.0, 1.0),
        ("a", 1.0, 2.0),
        ("b", 2.0, 4.0),
        ("none of these", 4.0, 6.0),
    ]
    assert times(rows(media, nest(Span("a", 0.0, 5.0)), background="x"))[-1] == ("x", 5.0, None)


def test_overlaps_are_told_or_cut(media: Path) -> None:
    spans = Span("a", 0.0, 6.0), Span("b", 1.0, 2.0), Span("c", 4.0, 7.0), Span("a", 7.0, 7.5)
    made = rows(media, nest(*spans))
    assert len(made.items) == 4
    (note,) = made.notes
    assert note.startswith("Nest 2.v1.mkv: 2 spans overlap, such as a and b at 1 s; --multi-label cuts")
    cut = rows(media, nest(*spans), multi_label=True, background="|")
    assert times(cut) == [
        ("a", 0.0, 1.0), ("a|b", 1.0, 2.0), ("a", 2.0, 4.0), ("a|c", 4.0, 6.0), ("c", 6.0, 7.0),
        ("a", 7.0, 7.5), ("|", 7.5, None),
    ]  # fmt: skip


def test_what_many_videos_have_in_common_is_told_once(
    write_video: Callable[..., Path], tmp_path: Path
) -> None:
    files = {}
    for number in range(5):
        write_video(tmp_path / f"v{number}.mp4", num_frames=64)
        spans = Span("a", 0.0, 2.0), Span("b", 1.0, 3.0)
        recording = Recording(f"v{number}", spans)
        files[tmp_path / f"v{number}.eaf"] = Annotations("ELAN", (recording,), ["2 tiers are read: x, y"])
    notes = assemble(files, MediaFolder(tmp_path), AssemblyOptions()).notes
    assert notes[0] == "v0.eaf, v1.eaf, v2.eaf, …: 2 tiers are read: x, y"
    assert len(notes) == 4
    assert notes[-1].endswith("all labels of their time; and so in 2 more videos")


def test_one_span_of_two_labels_needs_several(media: Path) -> None:
    both = nest(Span("a", 0.0, 1.0), Span("b", 0.0, 1.0), Span("a", 0.0, 1.0, "ann"))
    with pytest.raises(DataError, match="which are the same span; --multi-label gives it both labels"):
        rows(media, both)
    made = rows(media, both, multi_label=True)
    assert times(made) == [("a|b", 0.0, 1.0)]
    assert made.notes[0] == "Nest 2.v1.mkv: 1 spans are there twice, and taken once"


def test_subjects(media: Path) -> None:
    both = nest(Span("a", 0.0, 1.0, "ann"), Span("b", 1.0, 2.0, "bob"))
    (note,) = rows(media, both).notes
    assert note.startswith(
        "2 subjects (ann, bob) are taken together; --subject NAME takes one, --tracks gives"
    )
    assert {item.track for item in rows(media, both).items} == {None}
    apart = rows(media, both, tracks=True, background="none")
    assert [(item.track, item.label, item.start_seconds, item.end_seconds) for item in apart.items] == [
        ("ann", "a", 0.0, 1.0),
        ("ann", "none", 1.0, None),
        ("bob", "none", 0.0, 1.0),
        ("bob", "b", 1.0, 2.0),
        ("bob", "none", 2.0, None),
    ]
    assert not apart.notes
    assert times(rows(media, both, subject="bob")) == [("b", 1.0, 2.0)]
    with pytest.raises(DataError, match="--subject cid: nothing is about this one; there is ann, bob"):
        rows(media, both, subject="cid")
    with pytest.raises(
        DataError, match="has 2 subjects, and one video cannot part; choose --group recording"
    ):
        rows(media, both, group="subject")


def test_subjects_do_different_things_at_once(media: Path) -> None:
    both = nest(Span("a", 0.0, 1.0, "ann"), Span("b", 0.0, 1.0, "bob"))
    with pytest.raises(DataError, match="which are the same span"):
        rows(media, both)
    assert [(item.track, item.label) for item in rows(media, both, tracks=True).items] == [
        ("ann", "a"),
        ("bob", "b"),
    ]


def test_subjects_of_timelines_are_kept() -> None:
    timeline = {"video": "v.mp4", "track": "ann", "segments": [{"start": 0, "end": 1, "label": "a"}]}
    (recording,) = read_timeline_results([timeline]).recordings
    assert [span.subject for span in recording.spans] == ["ann"]


def test_groups_and_splits(media: Path) -> None:
    one = Recording("day1/cage1", (Span("a", 0.0, 1.0, "ann"),), split="train")
    other = Recording("day2/cage1", (Span("a", 0.0, 1.0, "ann"),), split="test")
    made = rows(media, one, other)
    assert [item.split for item in made.items] == ["train", "test"]
    assert len({item.group for item in made.items}) == 2  # though both are called cage1
    assert [item.group for item in rows(media, one, other, group="folder").items] == ["day1", "day2"]
    assert [item.group for item in rows(media, one, other, group="subject").items] == ["ann", "ann"]
    without = rows(media, one, nest(Span("a", 0.0, 1.0)))
    assert {item.split for item in without.items} == {None}
    assert without.notes == ["1 of 2 videos have no split, so that those of others are left out"]


def test_one_video_is_in_one_split(media: Path) -> None:
    parts = [nest(Span("a", 0.0, 1.0), split="train"), nest(Span("a", 1.0, 2.0), split="test")]
    with pytest.raises(DataError, match="is in test and train at once, and one video cannot part"):
        rows(media, *parts)


def test_a_video_about_others_is_no_background(media: Path) -> None:
    both = nest(Span("a", 0.0, 1.0, "ann")), Recording("day1/cage1", (Span("a", 1.0, 2.0, "bob"),))
    made = rows(media, *both, subject="ann", background="none")
    assert {item.path.name for item in made.items} == {"Nest 2.v1.mkv"}
    assert times(made) == [("a", 0.0, 1.0), ("none", 1.0, None)]


def test_the_rows_are_a_manifest(media: Path, tmp_path: Path) -> None:
    made = rows(media, nest(Span("=a", 1 / 3, 2 / 3), Span("b", 6.0, TO_THE_END)), background="none")
    (tmp_path / "m.csv").write_text(manifest_text(made.items))
    assert load_items(tmp_path / "m.csv") == made.items


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no videos; name the folder that does"):
        MediaFolder(tmp_path)
    with pytest.raises(DataError, match="no such folder; name the one that holds the videos"):
        MediaFolder(tmp_path / "nowhere")
