"""Who is in the picture when: rows are cut to that, gaps are filled or told, boxes are cut at the border."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vidcli.config import Config, load_config
from vidcli.config.subject_settings import SubjectConfig
from vidcli.data.background import fill_background
from vidcli.data.frames import FrameSource, MemoryCache, decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items, manifest_text
from vidcli.data.recording_cache import RecordingCache
from vidcli.data.span_clips import cut_spans, group_clips, overlapping
from vidcli.data.subjects import expand_subjects, present_of, settle_subjects, subjects_of
from vidcli.errors import DataError
from vidcli.video import DecodedFrames, encode_video, stream_frames

FPS, FRAMES, HEIGHT, WIDTH = 10, 40, 48, 96


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 4 s in which the left half is dark and the right half brightens."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 20, np.uint8)
    frames[:, :, WIDTH // 2 :] = np.linspace(60, 250, FRAMES)[:, None, None, None]
    path = tmp_path_factory.mktemp("videos") / "day.mp4"
    encode_video(path, frames, FPS, options={"crf": "10"})
    return path


@pytest.fixture
def boxes(tmp_path: Path) -> Callable[..., SubjectConfig]:
    def write(rows: dict[str, list[tuple[float, ...]]], **settings: float) -> SubjectConfig:
        lines = [
            f"{frame},{name},{','.join(map(str, box))}" for name, some in rows.items() for frame, *box in some
        ]
        path = tmp_path / "boxes.csv"
        path.write_text("\n".join(["frame,track,x,y,w,h", *lines]))
        return SubjectConfig(boxes=str(path), **settings)

    return write


def _always(x: float, frames: range = range(FRAMES)) -> list[tuple[float, ...]]:
    return [(frame, x, 12, 20, 20) for frame in frames]


def _config(settings: SubjectConfig, **clip: object) -> Config:
    chosen = {"size": 16, "sampling": "dense", "length": 4, "stride_seconds": 0.1} | clip
    config = load_config(None, [f"clip.{name}={value}" for name, value in chosen.items()])
    return config.model_copy(update={"subject": settings})


def test_gaps_are_filled_or_are_time_away(video: Path, boxes):
    rows = [*_always(4, range(5, 10)), *_always(4, range(15, 20)), *_always(4, range(35, 38))]
    found = subjects_of(video, boxes({"a": rows}, gap_seconds=1.0))["a"]
    assert found.present == [(0.5, pytest.approx(2.0)), (3.5, pytest.approx(3.8))]
    assert len(subjects_of(video, boxes({"a": rows}, gap_seconds=2.0))["a"].present) == 1
    assert len(subjects_of(video, boxes({"a": rows}, gap_seconds=0.2))["a"].present) == 3


def test_boxes_beyond_the_picture_are_cut_at_its_border(video: Path, boxes):
    settings = boxes({"a": [(0, -10, -10, 30, 30), (1, 80, 40, 40, 40), (2, 10, 10, 5, 5)]})
    found = subjects_of(video, settings)["a"]
    np.testing.assert_array_equal(found.boxes_N4, [[0, 0, 20, 20], [80, 40, 16, 8], [10, 10, 5, 5]])
    assert found.num_cut == 2
    told: list[str] = []
    settle_subjects([VideoItem(video, "x", track="a")], settings, told.append)
    assert any(text.startswith("2 boxes reach beyond the picture") for text in told)


def test_rows_are_cut_to_when_their_subject_is_there(video: Path, boxes):
    settings = boxes({"a": _always(4), "b": [*_always(60, range(10)), *_always(60, range(30, 40))]})
    rows = [
        VideoItem(video, "x", track="a", start_seconds=0.5, end_seconds=1.5),
        VideoItem(video, "x", track="b", start_seconds=0.5, end_seconds=3.5),
        VideoItem(video, "y", track="b", start_seconds=1.5, end_seconds=2.5),
        VideoItem(video, "z", track="b"),
    ]
    told: list[str] = []
    settled = settle_subjects(rows, settings, told.append)
    spans = [(row.label, row.track, row.start_seconds, row.end_seconds) for row in settled]
    assert spans == [
        ("x", "a", 0.5, 1.5),
        ("x", "b", 0.5, pytest.approx(1.0)),
        ("x", "b", 3.0, 3.5),
        ("z", "b", 0.0, None),
    ]
    assert "in 1 gaps of 2 s in all" in told[0]
    assert told[-1].startswith("1 labelled spans are left out and 1 shortened")


def test_a_row_without_a_track_is_about_the_only_subject(video: Path, boxes):
    (row,) = settle_subjects([VideoItem(video, "x")], boxes({"a": _always(4)}), lambda text: None)
    assert row.track == "a"
    with pytest.raises(DataError, match=r"which of 2 subjects it is about \(a, b\)"):
        settle_subjects([VideoItem(video, "x")], boxes({"a": _always(4), "b": _always(60)}), print)


def test_a_subject_without_boxes_is_named_once(video: Path, boxes):
    rows = [VideoItem(video, "x", track="c", start_seconds=s, end_seconds=s + 1) for s in (0, 1, 2)]
    with pytest.raises(DataError, match=r"no boxes of 'c' in .*day.mp4; there is a, b \(3 rows\)"):
        settle_subjects(rows, boxes({"a": _always(4), "b": _always(60)}), print)


def test_a_nameless_track_is_whoever_the_rows_are_about(video: Path, tmp_path: Path):
    (tmp_path / "day.csv").write_text("frame,x,y,w,h\n" + "".join(f"{n},4,12,20,20\n" for n in range(40)))
    settings = SubjectConfig(boxes=str(tmp_path / "day.csv"))
    (row,) = settle_subjects([VideoItem(video, "x", track="mouse 7")], settings, lambda text: None)
    assert row.track == "mouse 7"
    assert present_of(row, settings) == [(0.0, 4.0)]


def test_tracks_without_boxes_are_whole_pictures_and_that_is_told(video: Path):
    told: list[str] = []
    rows = [VideoItem(video, "x", track="a"), VideoItem(video, "x", track="b", box=(0, 0, 9, 9))]
    settled = settle_subjects(rows, SubjectConfig(), told.append)
    assert [row.track for row in settled] == [None, "b"]
    assert "1 rows name a track (a) and have no box" in told[0]


def test_videos_become_an_item_for_each_subject(video: Path, boxes):
    settings = boxes({"b": _always(60), "a": _always(4)})
    assert [item.track for item in expand_subjects([VideoItem(video, "")], settings)] == ["a", "b"]
    assert [item.track for item in expand_subjects([VideoItem(video, "")], settings, "b")] == ["b"]
    with pytest.raises(DataError, match="no boxes of 'c'; there is a, b"):
        expand_subjects([VideoItem(video, "")], settings, "c")


def test_frames_show_the_subject_however_they_are_decoded(video: Path, boxes):
    settings = boxes({"left": _always(4), "right": _always(66)})
    config = _config(settings)
    left, right = expand_subjects([VideoItem(video, "")], settings)
    moments = np.array([[0.25, 1.05, 3.55]])
    decoded = FrameSource(config)
    shown = decoded.frames(right, lambda duration: moments)
    assert shown.shape == (3, 16, 16, 3)
    assert decoded.frames(left, lambda duration: moments).max() < 30
    assert np.all(np.diff(shown.mean(axis=(1, 2, 3))) > 20)
    kept = FrameSource(config, MemoryCache())
    np.testing.assert_array_equal(kept.frames(right, lambda duration: moments), shown)
    assert kept.frames(left, lambda duration: moments).max() < 30  # not those of the other subject
    streamed = [frame.picture for frame in stream_frames(video, 0.1, decoded.framing(right))]
    np.testing.assert_array_equal(np.stack([streamed[2], streamed[10], streamed[35]]), shown)
    span = VideoItem(video, "", track="right", start_seconds=1.0, end_seconds=2.0)
    np.testing.assert_array_equal(decoded.frames(span, lambda duration: np.array([[0.05]]))[0], shown[1])


def test_a_fixed_box_is_all_that_is_seen(video: Path):
    config = _config(SubjectConfig())
    item = VideoItem(video, "", box=(WIDTH / 2 + 2, 0, 44, 44))
    frames = FrameSource(config).frames(item, lambda duration: np.array([[0.05]]))
    assert frames.shape == (1, 16, 16, 3)
    assert frames.min() > 50


def test_clips_of_two_subjects_are_not_mixed(video: Path, boxes):
    settings = boxes({"left": _always(4), "right": _always(66)})
    spans = [
        VideoItem(video, label, "train", None, 0.0, 4.0, track=track)
        for label, track in (("x", "left"), ("y", "right"))
    ]
    assert overlapping(spans) is None
    config = _config(settings)
    data = config.data.model_copy(update={"clips_per_span": 4})
    clips, _ = cut_spans(spans, config.model_copy(update={"data": data}))
    assert {(clip.label, clip.track) for clip in clips} == {("x", "left"), ("y", "right")}
    assert all(len({clips[place].track for place in group}) == 1 for group in group_clips(clips, 20))
    source = FrameSource(config)
    cache = RecordingCache(clips, source.decode_all)
    for clip in clips:
        frames = cache.frames(clip, lambda duration: np.array([[0.05, 0.15]]), _not_asked)
        assert (frames.mean() > 50) == (clip.track == "right")


def _not_asked() -> DecodedFrames:
    raise AssertionError("decoded by itself")


def test_nobody_is_background_while_away(video: Path, boxes):
    settings = boxes({"a": _always(4), "b": _always(60, range(10, 30))})
    rows = [
        VideoItem(video, "x", track="a", start_seconds=1.0, end_seconds=2.0),
        VideoItem(video, "x", track="b", start_seconds=1.5, end_seconds=2.0),
    ]
    filled, _ = fill_background(rows, "rest", None, lambda row: present_of(row, settings))
    spans = [
        (row.track, row.start_seconds, pytest.approx(row.end_seconds))
        for row in filled
        if row.label == "rest"
    ]
    assert spans == [("a", 0.0, 1.0), ("a", 2.0, 4.0), ("b", 1.0, 1.5), ("b", 2.0, 3.0)]


def test_manifests_keep_tracks_and_boxes(video: Path, tmp_path: Path):
    rows = [
        VideoItem(video, "x", track="a", start_seconds=1.0, end_seconds=2.0),
        VideoItem(video, "x", track="'none", start_seconds=1.0, end_seconds=2.0),
        VideoItem(video, "x", box=(1.5, 2, 30, 40), start_seconds=1.0, end_seconds=2.0),
    ]
    (tmp_path / "m.csv").write_text(manifest_text(rows))
    assert list(load_items(tmp_path / "m.csv")) == rows


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("a,1 2 3", "box '1 2 3'; expected left, top, width and height in pixels"),
        ("a,1 2 0 4", "a width and a height above 0"),
        ("a,1 2 nan 4", "a width and a height above 0"),
        ("a,box", "box 'box'; expected left"),
        ("nan,1 2 3 4", "track 'nan' is what programs write where there is none"),
    ],
)
def test_bad_cells_are_named_by_their_line(cells: str, expected: str, video: Path, tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_text(f"path,label,track,box\n{video},x,b,1 2 3 4\n{video},x,{cells}\n")
    with pytest.raises(DataError) as caught:
        load_items(path)
    assert "line 3: " in str(caught.value)
    assert expected in str(caught.value)


def test_the_same_span_of_one_subject_twice_is_refused(video: Path, tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_text(f"path,label,start,end,track\n{video},x,1,2,a\n{video},y,1,2,b\n{video},y,1,2,b\n")
    with pytest.raises(DataError, match=r"day.mp4: listed 2 times"):
        load_items(path)


def test_frames_on_disk_know_the_boxes(boxes, tmp_path: Path):
    one = decoding_settings(_config(boxes({"a": _always(4)})))
    assert one != decoding_settings(_config(boxes({"a": _always(5.5)})))
    assert one != decoding_settings(_config(SubjectConfig()))
