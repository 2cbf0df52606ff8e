"""What is wrong with a file: made on purpose, and told."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from vidcli.data.items import VideoItem
from vidcli.doctor import inspect
from vidcli.sampling import ClipSampler


def patch(path, marker, offset, content):
    """Overwrite bytes at a distance from the first place where `marker` stands."""
    data = bytearray(path.read_bytes())
    at = data.index(marker) + offset
    data[at : at + len(content)] = content
    path.write_bytes(data)


def set_avi_length(path, num_frames):
    patch(path, b"strh", 40, struct.pack("<I", num_frames))


def turn(path):
    """Rotate an MP4 by its track's display matrix."""
    patch(path, b"tkhd", 44, struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))


def mux(path, frames, ticks=None, aspect=None):
    """Encode frames at given twelfths of a second, with pixels of a given aspect."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = number if ticks is None else int(ticks[number])
            frame.time_base = Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def make(tmp_path, motion, write):
    """Write one video with a named fault."""

    def build(fault):
        frames = motion("left", seed=50)
        path = tmp_path / f"{fault}.mp4"
        if fault in ("frames", "duration", "much"):
            path = write(tmp_path / f"{fault}.avi", frames, codec="mpeg4")
            set_avi_length(path, {"frames": 17, "duration": 24, "much": 48}[fault])
        elif fault == "rotated":
            turn(write(path, frames))
        elif fault == "mirrored":
            patch(
                write(path, frames),
                b"tkhd",
                44,
                struct.pack(">9i", -1 << 16, 0, 0, 0, 1 << 16, *[0] * 3, 1 << 30),
            )
        elif fault == "streams":
            with av.open(str(write(path, frames))) as source, av.open(str(tmp_path / "two.mp4"), "w") as two:
                streams = [two.add_stream_from_template(source.streams.video[0]) for _ in range(2)]
                for packet in source.demux(video=0):
                    if packet.size:
                        for stream in streams:
                            packet.stream = stream
                            two.mux(packet)
            path = tmp_path / "two.mp4"
        elif fault == "stale":
            path = write(tmp_path / "stale.mkv", frames)
            content = path.read_bytes()
            assert b"00:00:01.333000000" in content
            path.write_bytes(content.replace(b"00:00:01.333000000", b"00:00:00.500000000"))
        elif fault == "aspect":
            mux(path, frames, aspect=Fraction(4, 3))
        elif fault == "rate":
            mux(path, frames, ticks=np.cumsum([0, 1, 1, 2, 1, 1, 3, 1, 1, 1, 1, 2, 1, 1, 1, 1]))
        elif fault == "cut":
            path = write(tmp_path / "cut.mkv", motion("left", seed=50, num_frames=60), bf=0)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif fault == "zeros":
            write(path, motion("left", seed=50, num_frames=60), bf=0, g=10, movflags="+faststart")
            data = bytearray(path.read_bytes())
            data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
            path.write_bytes(data)
        elif fault == "text":
            path.write_text("this is no video\n" * 20)
        elif fault == "empty":
            path.touch()
        elif fault == "still":
            write(path, np.repeat(frames[:1], 30, axis=0), g=12)
        elif fault == "short":
            write(path, frames[:5])
        return path

    return build


# fault: severity, kind, and what the detail must say
FAULTS = {
    "text": ("error", "unreadable", "not a known video format"),
    "empty": ("error", "unreadable", "empty (0 bytes)"),
    "gone": ("error", "missing", "no such file"),
    "cut": ("error", "damaged", "truncated; "),
    "zeros": ("error", "damaged", "s of 5.00 s ("),
    "much": ("error", "damaged", " s of 4.00 s (3"),  # 1.33 s, or one frame less
    "duration": ("warning", "header-duration", "header says 2.00 s, frames last 1.33 s"),
    "frames": ("note", "header-frames", "header says 17 frames, there are 16"),
    "rate": (
        "note",
        "variable-rate",
        "20% of the frames come at an unusual time; usual 83 ms, longest 250 ms",
    ),
    "rotated": ("note", "rotated", "turned by 90 degrees clockwise"),
    "mirrored": ("note", "rotated", "to be mirrored"),
    "streams": ("note", "streams", "2 video streams; the one that is used is h264 of 64x64"),
    "stale": ("warning", "header-duration", "header says 0.50 s, frames last 1.3"),
    "aspect": ("note", "pixel-aspect", "pixels are 4:3; shown as 85x64"),
    "short": ("warning", "too-short", "5 different frames in a clip of 8; the span holds 5"),
    "still": ("warning", "no-motion", "nothing moves in 2.50 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_told(fault, make, write_manifest, check):
    path = make(fault)
    report = check(write_manifest({"path": path, "label": "left", "split": "train"}))
    severity, kind, text = FAULTS[fault]
    found = {finding.kind: finding for finding in report.findings}
    assert kind in found, report.findings
    assert found[kind].severity == severity
    assert text in found[kind].detail
    assert found[kind].video == str(path)
    # Nothing else is wrong, but for what goes with the fault.
    company = {"duration": {"header-frames", "too-short"}, "rate": {"too-short"}}.get(fault, set())
    assert set(found) == {kind} | company
    assert all(finding.video == str(path) for finding in report.findings)
    assert kind in report.summary.advice


def test_clean_videos_have_no_problem(write_manifest, check):
    report = check(write_manifest())
    assert report.findings == []
    assert report.usable == report.items


def left(finding):
    seconds, _, rest = finding.detail.partition("; ")[2].partition(" s of ")
    return float(seconds), float(rest.partition(" s")[0])


@pytest.mark.parametrize("fault", ["cut", "zeros"])
def test_what_is_left_of_a_damaged_file_is_measured(fault, make, write_manifest, check):
    (finding,) = (
        found
        for found in check(write_manifest({"path": make(fault), "label": "up", "split": "val"})).findings
        if found.kind == "damaged"
    )
    seconds, stated = left(finding)
    assert stated == pytest.approx(5.0, abs=0.1)
    assert 1.0 < seconds < 4.0


def test_frames_are_counted_once_across_chunks(tmp_path, motion, write, monkeypatch):
    path = write(tmp_path / "a.mkv", motion(num_frames=40))
    item = VideoItem(path, "a")
    whole = inspect.inspect_file(path, [item], ClipSampler(8), digest=True)
    monkeypatch.setattr(inspect, "_CHUNK_FRAMES", 7)
    pieces = inspect.inspect_file(path, [item], ClipSampler(8), digest=True)
    assert whole.num_frames == pieces.num_frames == 40
    assert pieces.digest == whole.digest
    assert pieces.decoded_seconds == whole.decoded_seconds
    (one,), (other,) = whole.spans, pieces.spans
    np.testing.assert_array_equal(other.fingerprint.slots_THW, one.fingerprint.slots_THW)
    assert other.pictures == one.pictures


def test_frames_at_full_size_are_digested_alike_in_pieces(tmp_path, motion, write, monkeypatch):
    path = write(tmp_path / "a.mkv", motion(num_frames=40))
    whole = inspect.digest_pictures(path, 0.0, None)
    assert whole is not None
    assert whole != inspect.digest_pictures(path, 0.0, 2.0) != inspect.digest_pictures(path, 0.5, 2.0)
    monkeypatch.setattr(inspect, "_CHUNK_BYTES", 7 * 3 * 64 * 64)
    assert inspect.digest_pictures(path, 0.0, None) == whole
    assert inspect.digest_pictures(path, 0.5, 2.0) is not None
    (tmp_path / "bad.mkv").write_bytes(path.read_bytes()[:1500])
    assert inspect.digest_pictures(tmp_path / "bad.mkv", 0.0, None) is None


def test_a_long_pause_does_not_stop_the_chunks(tmp_path, motion, monkeypatch):
    mux(tmp_path / "a.mkv", motion(num_frames=6), ticks=[0, 1, 2, 200, 201, 202])
    monkeypatch.setattr(inspect, "_CHUNK_FRAMES", 3)
    path = tmp_path / "a.mkv"
    report = inspect.inspect_file(path, [VideoItem(path, "a")], ClipSampler(8), digest=False)
    assert report.num_frames == 6
    assert report.longest_interval == pytest.approx(198 / 12, abs=1e-3)


def test_spans_are_looked_at_one_by_one(tmp_path, motion, write, write_manifest, check):
    path = write(
        tmp_path / "a.mp4", np.concatenate([motion(seed=9), np.repeat(motion(seed=8)[:1], 40, axis=0)])
    )
    rows = [
        {"path": path, "label": "left", "split": "train", "start": start, "end": end}
        for start, end in ((0, 1.3), (2.0, 4.5), (1.0, 1.25), (50, 60), (3.0, 9.0))
    ]
    found = {(f.subject.partition(" ")[2], f.kind, f.severity) for f in check(write_manifest(*rows)).findings}
    assert found == {
        ("[2–4.5 s]", "no-motion", "warning"),
        ("[1–1.25 s]", "too-short", "warning"),
        ("[50–60 s]", "outside", "error"),
        ("[3–9 s]", "outside", "warning"),
        ("[3–9 s]", "no-motion", "warning"),
    }


def test_the_good_part_of_a_damaged_file_can_be_used(make, write_manifest, check):
    path = make("cut")
    row = {"path": path, "label": "left", "split": "train"}
    report = check(write_manifest(row | {"start": 0, "end": 1.5}, row | {"start": 2, "end": 5}))
    (finding,) = report.findings
    assert (finding.severity, finding.kind) == ("error", "damaged")
    assert [item.end_seconds for item in report.items if item not in report.usable] == [5]
    (finding,) = check(write_manifest(row | {"start": 0, "end": 1.5})).findings
    assert (finding.severity, finding.kind) == ("warning", "damaged")
    assert finding.detail.endswith("what is used of it is sound")
