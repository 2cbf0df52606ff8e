"""A timeline says of each window what predict says of that span, and merges it as told."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.predict.segmenting import build_timeline, merge_cells, merge_classes
from vidcli.commands.app import app
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.models import build_model
from vidcli.predict import Predictor
from vidcli.predict.frame_networks import frame_network
from vidcli.predict.merging import smooth_labels
from vidcli.predict.segments import (
    VTT_HEAD,
    Segment,
    Timeline,
    format_clock,
    rows_at_end,
    segment_to_row,
    segment_to_srt,
    segment_to_vtt,
    timeline_to_dict,
)
from vidcli.predict.timeline import _with_neighbours
from vidcli.predict.window_plan import WindowPlan, plan_windows
from vidcli.report import draw_timeline
from vidcli.sampling import neighbour_steps
from vidcli.video import decode_frames, stream_frames

CPU = torch.device("cpu")
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def long_video(write_video, tmp_path_factory):
    """5.75 s at 8 frames a second."""
    return write_video(tmp_path_factory.mktemp("long") / "long.mp4", num_frames=46)


@pytest.fixture
def build(small_config):
    def build(**settings):
        torch.manual_seed(0)
        config = small_config(**{"clip__length": 8, **settings})
        return Predictor(build_model(config.model, len(NAMES)), config, NAMES, CPU)

    return build


def cells_by_predict(predictor, video, num_frames, plan):
    """The plain way: predict every window as a span, then average."""
    num_cells = -(-num_frames // plan.step)
    total, count = np.zeros((num_cells + plan.num_cells, len(NAMES))), np.zeros(num_cells + plan.num_cells)
    for first in range(max(1, num_cells - plan.num_cells + 1)):
        start = first * plan.cell_seconds
        item = VideoItem(
            video, "", start_seconds=start, end_seconds=start + plan.length * plan.spacing_seconds
        )
        total[first : first + plan.num_cells] += predictor.predict(item).probabilities
        count[first : first + plan.num_cells] += 1
    return total[:num_cells] / count[:num_cells, None]


# Frames of 1/8 s on a grid of 1/8 s: every moment lies in the middle of a frame. 40 frames are five
# whole windows of 8, so that no window runs past the end, where a span holds less than a window.
@pytest.mark.parametrize(
    "settings", [{"model__shift": "on"}, {"clip__focus": 0.5}, {"clip__sampling": "dense"}]
)
def test_windows_are_answered_as_predict_answers_those_spans(build, write_video, tmp_path, settings):
    video = write_video(tmp_path / "v.mp4", num_frames=40)
    predictor = build(**settings, clip__stride_seconds=0.125)
    assert (frame_network(predictor) is None) == ("clip__sampling" not in settings)
    plan = plan_windows(8, 1.0)
    assert plan == WindowPlan(8, 2, 0.125)
    timeline = build_timeline(predictor, video, plan, 0)
    expected = cells_by_predict(predictor, video, 40, plan)
    if frame_network(predictor) is None:
        np.testing.assert_array_equal(timeline.probabilities_NK, expected)
    np.testing.assert_allclose(timeline.probabilities_NK, expected, rtol=1e-5)
    assert len(np.unique(expected.round(6), axis=0)) > 5


@pytest.mark.parametrize("differences", [True, False])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_frames_that_cores_share_out_are_answered_as_predict_answers_them(
    build, write_video, tmp_path, monkeypatch, differences, num_threads
):
    monkeypatch.setattr("vidcli.predict.feature_windows._AT_ONCE", 5)
    video = write_video(tmp_path / "v.mp4", num_frames=40)
    predictor = build(
        clip__sampling="dense", clip__stride_seconds=0.125, model__frame_differences=differences
    )
    plan, before = plan_windows(8, 1.0), torch.get_num_threads()
    threads = set()
    predictor.network.head.register_forward_pre_hook(lambda *_: threads.add(torch.get_num_threads()))
    torch.set_num_threads(num_threads)
    try:
        timeline = build_timeline(predictor, video, plan, 0)
    finally:
        torch.set_num_threads(before)
    assert threads == {1}
    expected = cells_by_predict(predictor, video, 40, plan)
    np.testing.assert_allclose(timeline.probabilities_NK, expected, rtol=1e-5)
    assert len(np.unique(expected.round(6), axis=0)) > 5


def test_windows_that_follow_are_answered_as_predict_answers_those_spans(build, write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4", num_frames=120, fps=24)
    predictor = build(clip__panels="window,follow", clip__size="64x32", clip__focus=0.5)
    plan = plan_windows(8, 1.0)  # three frames of the video from one moment to the next
    timeline = build_timeline(predictor, video, plan, 0)
    expected = cells_by_predict(predictor, video, 40, plan)
    np.testing.assert_array_equal(timeline.probabilities_NK, expected)
    assert len(np.unique(expected.round(6), axis=0)) > 5


@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 25])
@pytest.mark.parametrize("spacing", [0.04, 0.125, 0.5])
def test_streamed_moments_have_their_neighbours(write_video, tmp_path, num_frames, spacing):
    video, steps = write_video(tmp_path / "v.mp4", num_frames=num_frames, fps=24), neighbour_steps(spacing)
    stream = stream_frames(video, spacing / steps)
    found = [frame.picture for frame in _with_neighbours(stream, steps)]
    assert all(frames.shape[0] == 3 for frames in found)
    if num_frames / 24 < spacing / 2:  # shorter than the way to its first moment: there is one all the same
        assert len(found) == 1
        return
    plain = [frame.picture for frame in stream_frames(video, spacing)]
    np.testing.assert_array_equal(np.stack(found)[:, 1], np.stack(plain))
    moments = (np.arange(len(plain)) + 0.5) * spacing
    near = moments[:, None] + np.array([-1, 1]) * spacing / steps
    # Those before the beginning or after the end are the moment's own.
    near = np.where((near < 0) | (near > num_frames / 24), moments[:, None], near)
    shown = decode_frames(video, lambda duration: near).frames.reshape(-1, 2, *found[0].shape[1:])
    np.testing.assert_array_equal(np.stack(found)[:, ::2], shown)


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("head", ["gru", "attention", "transformer"])
@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_frames_computed_once_give_what_whole_windows_give(
    build, long_video, monkeypatch, differences, head, step
):
    predictor = build(model__frame_differences=differences, model__head=head)
    network = predictor.network
    calls = []
    features = network.features
    monkeypatch.setattr(
        network, "features", lambda clip: calls.append(clip.shape[:2].numel()) or features(clip)
    )
    plan = WindowPlan(8, step, 0.125)
    once = build_timeline(predictor, long_video, plan, 0).probabilities_NK
    # Each frame once, those before a new chunk again, and each start of a window without differences.
    assert sum(calls) <= 46 + 8 + 6 + differences * (54 // step)
    monkeypatch.setattr("vidcli.predict.timeline.frame_network", lambda predictor: None)
    whole = build_timeline(predictor, long_video, plan, 0).probabilities_NK
    assert once.shape == (-(-46 // step), 3)
    np.testing.assert_allclose(once, whole, rtol=1e-4)


def test_a_video_shorter_than_a_window_is_one_window(build, write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4", num_frames=3)
    predictor = build(model__shift="on", clip__sampling="dense", clip__stride_seconds=0.125)
    timeline = build_timeline(predictor, video, WindowPlan(8, 2, 0.125), 0)
    expected = predictor.predict(video).probabilities
    np.testing.assert_array_equal(timeline.probabilities_NK, [expected, expected])
    assert timeline.segments[-1].end_seconds == timeline.duration_seconds == pytest.approx(0.375)


def test_progress_and_damage(build, long_video, tmp_path):
    told = []
    build_timeline(build(), long_video, plan_windows(8, 1.0), 0, lambda *done: told.append(done))
    assert told[-1] == (5.75, 5.75)
    assert told == sorted(told)
    for name, content in (("gone.mp4", None), ("cut.mp4", long_video.read_bytes()[:900])):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError):
            build_timeline(build(), tmp_path / name, plan_windows(8, 1.0), 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "vidcli-ahead"]


def test_a_call_that_hangs_is_named(build, long_video, tmp_path, monkeypatch):
    stuck = tmp_path / "hangs.mp4"
    stuck.write_bytes(long_video.read_bytes())
    released = threading.Event()
    monkeypatch.setattr("vidcli.video.open.container.av.open", lambda *args, **options: released.wait())
    with pytest.raises(VideoError, match=r"hangs: no frame came for 0\.2 s"):
        build_timeline(build(data__max_seconds=0.2), stuck, plan_windows(8, 1.0), 0)
    released.set()


@pytest.mark.parametrize("spacing", [0.05, 0.125, 0.3, 4.0, 20.0])
def test_streamed_frames_are_those_of_the_moments(long_video, spacing):
    streamed = [frame.picture for frame in stream_frames(long_video, spacing)]
    count = max(1, int(np.ceil(5.75 / spacing - 0.5)))
    moments = (np.arange(count) + 0.5) * spacing
    expected = decode_frames(long_video, lambda duration: moments, mode="sequential").frames
    np.testing.assert_array_equal(np.stack(streamed), expected)


def test_the_step_divides_the_window():
    assert plan_windows(16, 3.2) == WindowPlan(16, 4, 0.2)
    assert plan_windows(16, 3.2, 0.65).step == 4
    assert plan_windows(16, 3.2, 99).step == 16
    assert plan_windows(16, 3.2, 0.001).step == 1
    assert plan_windows(7, 7.0, 3.0).step == 1


# --- segments -------------------------------------------------------------------------------------


def one_hot(labels, sure=0.8):
    table = np.full((len(labels), 3), (1 - sure) / 2)
    table[np.arange(len(labels)), labels] = sure
    return table


@pytest.mark.parametrize(
    ("labels", "min_cells", "expected"),
    [
        ([0, 0, 1, 0, 0], 1, [0, 0, 1, 0, 0]),
        ([0, 0, 1, 0, 0], 2, [0, 0, 0, 0, 0]),
        ([2, 0, 0, 1], 2, [0, 0, 0, 0]),
        ([0, 0, 0, 1, 1, 2, 2, 2], 3, [0, 0, 0, 0, 0, 2, 2, 2]),
        ([1], 9, [1]),
    ],
)
def test_short_stretches_join_a_neighbour(labels, min_cells, expected):
    table = one_hot(labels)
    table[:, 0] += 0.01  # where both neighbours are equal, a is the likelier
    assert smooth_labels(table, min_cells).tolist() == expected


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 10))
def test_no_stretch_is_shorter_than_asked(labels, min_cells):
    smoothed = smooth_labels(one_hot(labels), min_cells)
    edges = np.flatnonzero(np.diff(smoothed)) + 1
    lengths = np.diff([0, *edges, len(labels)])
    assert len(lengths) == 1 or lengths.min() >= min_cells
    assert set(smoothed) <= set(labels)


def test_segments_have_no_gaps_and_their_mean_probability():
    table = np.array([[0.6, 0.4, 0], [0.8, 0.2, 0], [0.1, 0.9, 0]])
    assert merge_cells(table, NAMES, 0.5, 0, 1.4) == (
        Segment(0.0, 1.0, "a", pytest.approx(0.7)),
        Segment(1.0, 1.4, "b", pytest.approx(0.9)),
    )


def test_segments_below_the_threshold_are_unknown():
    low = merge_cells(np.array([[0.5, 0.4, 0], [0.2, 0.4, 0.3], [0, 0, 0.9]]), NAMES, 1, 0, 3, threshold=0.6)
    assert low == (Segment(0, 2, "unknown", pytest.approx(0.45)), Segment(2, 3, "c", pytest.approx(0.9)))


def test_classes_that_hold_together_overlap():
    table = np.array([[0.9, 0.6, 0], [0.9, 0.6, 0], [0.2, 0.8, 0], [0.9, 0.1, 0.3]])
    assert merge_classes(table, NAMES, 0.5, 0, 1.9, (0.5, 0.6, 0.3)) == (
        Segment(0.0, 1.0, "a", pytest.approx(0.9)),
        Segment(0.0, 1.5, "b", pytest.approx(2 / 3)),
        Segment(1.5, 1.9, "a", pytest.approx(0.9)),
        Segment(1.5, 1.9, "c", pytest.approx(0.3)),
    )
    # A gap that is too short is filled, and so short a span is none.
    assert merge_classes(table, NAMES, 0.5, 1.0, 1.9, (0.5, 0.6, 0.3)) == (
        Segment(0.0, 1.9, "a", pytest.approx(0.725)),
        Segment(0.0, 1.9, "b", pytest.approx(0.525)),
    )
    assert merge_classes(table, NAMES, 0.5, 0, 1.9, (1.0, 1.0, 1.0)) == ()


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_spans_of_a_class_are_apart_and_long_enough(rows, min_cells):
    table, thresholds = np.array(rows), (0.3, 0.5, 0.9)
    segments = merge_classes(table, NAMES, 1.0, min_cells, len(rows), thresholds)
    for name in NAMES:
        own = [segment for segment in segments if segment.label == name]
        assert all(a.end_seconds < b.start_seconds for a, b in pairwise(own))
        for segment in own:
            whole = (segment.start_seconds, segment.end_seconds) == (0, len(rows))
            assert whole or segment.end_seconds - segment.start_seconds >= min_cells
    if min_cells == 1:
        held = sum(round(segment.end_seconds - segment.start_seconds) for segment in segments)
        assert held == (table >= np.array(thresholds)).sum()


MANY = Timeline(
    "v.mp4",
    NAMES,
    1.0,
    3.0,
    np.array([[0.9, 0.8, 0.1]] * 3),
    (Segment(0, 3, "a", 0.9), Segment(1, 2, "b", 0.8)),
    is_multi_label=True,
)


def timeline_to_rows(timeline):
    return [
        *(segment_to_row(timeline.video, segment) for segment in timeline.segments),
        *rows_at_end(timeline),
    ]


def timeline_to_srt(timeline):
    return "".join(segment_to_srt(segment, number) for number, segment in enumerate(timeline.segments, 1))


def timeline_to_vtt(timeline):
    return "".join([VTT_HEAD, *map(segment_to_vtt, timeline.segments)])


def test_what_holds_in_each_cell():
    assert MANY.cell_labels() == [("a",), ("a", "b"), ("a",)]
    cut = replace(MANY, cell_seconds=0.1, probabilities_NK=np.zeros((29, 3)), duration_seconds=2.85)
    segments = (Segment(0.1 * 3, 0.1 * 6, "b", 0.5), Segment(0.1 * 28, 2.85, "c", 0.5))
    held = replace(cut, segments=segments).cell_labels()
    assert [cell for cell, labels in enumerate(held) if labels] == [3, 4, 5, 28]


def test_every_form_tells_all_classes():
    assert [row[1:4] for row in timeline_to_rows(MANY)] == [[0, 3, "a"], [1, 2, "b"]]
    assert [row["label"] for row in timeline_to_dict(MANY)["segments"]] == ["a", "b"]
    assert timeline_to_srt(MANY).count("-->") == timeline_to_vtt(MANY).count("-->") == 2
    nothing = replace(MANY, segments=())
    assert timeline_to_rows(nothing) == [["v.mp4", 0.0, 3.0, "", "", "", ""]]
    assert timeline_to_vtt(nothing) == "WEBVTT\n"
    assert nothing.cell_labels() == [(), (), ()]


@pytest.mark.parametrize("segments", [MANY.segments, ()])
def test_a_picture_of_any_number_of_classes(segments, tmp_path):
    draw_timeline(replace(MANY, segments=segments), tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_names_break_no_subtitles():
    names = ("x\n\n1\n00:00:01,000 --> 00:00:02,000\ny", "a\u2028b\x1b\u202e", "<i>&--><b>")
    shown = replace(MANY, segments=tuple(Segment(0, 1, name, 0.5) for name in names))
    for text, num_lines in (
        (timeline_to_srt(shown), 3),
        (timeline_to_vtt(shown).removeprefix("WEBVTT\n\n"), 2),
    ):
        blocks = text.rstrip("\n").split("\n\n")
        assert [len(block.splitlines()) for block in blocks] == [num_lines] * 3
        assert text.count("-->") == 3
    assert "&lt;i&gt;&amp;--&gt;&lt;b&gt;" in timeline_to_vtt(shown)


SHOWN = Timeline(
    "v.mp4",
    NAMES,
    0.5,
    3725.5,
    np.zeros((2, 3)),
    (Segment(0, 61.0625, "a <b>\n\n& c", 0.934), Segment(61.0625, 3725.5, "b", 1.0)),
)


def test_subtitles():
    assert timeline_to_srt(SHOWN) == (
        "1\n00:00:00,000 --> 00:01:01,062\na <b> & c (93%)\n\n2\n00:01:01,062 --> 01:02:05,500\nb (100%)\n"
    )
    assert timeline_to_vtt(SHOWN) == (
        "WEBVTT\n\n00:00:00.000 --> 00:01:01.062\na &lt;b&gt; &amp; c (93%)\n\n"
        "00:01:01.062 --> 01:02:05.500\nb (100%)\n"
    )
    assert format_clock(59.9996) == "00:01:00.000"


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.fixture
def predict(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*args):
        command = ["predict", *(str(arg) for arg in args), "--model", str(run), "--device", "cpu"]
        return CliRunner().invoke(app, command, env={"COLUMNS": "100"})

    return call


def test_every_form_tells_the_same_segments(predict, long_video):
    told = {}
    for form in ("json", "csv", "srt", "vtt", "table"):
        result = predict(long_video, "--timeline", "--format", form, "--window", "1")
        assert result.exit_code == 0, result.stderr
        told[form] = result.stdout
    answer = json.loads(told["json"])
    segments = answer["segments"]
    assert (answer["duration"], segments[0]["start"], segments[-1]["end"]) == (5.75, 0, 5.75)
    assert [s["end"] for s in segments[:-1]] == [s["start"] for s in segments[1:]]
    for segment in segments:
        start, end = format_clock(segment["start"]), format_clock(segment["end"])
        assert f"{start} --> {end}\n{segment['label']} (" in told["vtt"]
        assert f"{start} --> {end}".replace(".", ",") in told["srt"]
        assert (
            f",{segment['start']},{segment['end']},{segment['label']},{segment['confidence']}," in told["csv"]
        )
        assert start[:-1] in told["table"]


def test_the_window_is_that_of_the_training_clips(predict, long_video):
    result = predict(long_video, "--timeline", "--picture", "t.png", "--output", "t.vtt")
    assert result.exit_code == 0, result.stderr
    # Motion videos of the tests have 8 frames at 12 a second.
    assert "windows of 0.667 s, one every 0.167 s; each frame computed once" in result.stderr
    assert Path("t.png").read_bytes().startswith(b"\x89PNG")
    assert Path("t.vtt").read_text().startswith("WEBVTT\n")
    again = predict(long_video, "--timeline", "--output", "t.vtt")
    assert again.exit_code == 2
    assert "t.vtt: exists; choose another file, or replace it with --overwrite" in again.stderr


def test_without_the_training_clips_the_window_is_asked_for(run, long_video, tmp_path):
    (tmp_path / "alone.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    command = ["predict", str(long_video), "--timeline", "--model", str(tmp_path / "alone.safetensors")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "give that as --window SECONDS" in result.stderr


def test_a_bad_file_is_named_and_the_others_are_told(predict, long_video):
    result = predict("gone.mp4", long_video, "--timeline", "--format", "csv")
    assert result.exit_code == 1
    assert "failed: gone.mp4: no such file" in result.stderr
    assert "gone.mp4,,,,,no such file" in result.stdout
    assert f"{long_video},0.0," in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--window", "1"], "belong to `vidcli timeline`"),
        (["--format", "srt"], "subtitles are written by `vidcli timeline`"),
        (["--timeline", "--format", "parquet"], "`vidcli timeline` writes table, json, csv, srt or vtt"),
        (["b.mp4", "--timeline", "--format", "srt"], "holds one video, but 2 were named"),
    ],
)
def test_what_does_not_go_together(predict, args, message):
    result = predict("a.mp4", *args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
