"""Live video: what comes through a pipe is what was filmed, the newest comes first, faults have names."""

from __future__ import annotations

import errno
import os
import threading
import time

import av
import av.error
import numpy as np
import pytest

from vidcli.errors import ConfigError, VideoError
from vidcli.video import LiveFrame, LiveFrames, RawFormat, decode_frames, encode_video, parse_raw
from vidcli.video.live import live_decoder
from vidcli.video.live import source as source_module
from vidcli.video.live.mailbox import Mailbox, StreamClock

SPACING = 0.125


def same_size(height, width):
    return height, width


@pytest.fixture
def write_video():
    """Write a video at 8 frames a second."""

    def write(path, num_frames=8):
        rng = np.random.default_rng(0)
        blocks = (
            rng.integers(0, 256, (num_frames, 6, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        )
        encode_video(path, blocks, 8)
        return path

    return write


@pytest.fixture
def pipe(monkeypatch):
    """Make standard input a real pipe; return its other end."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "r") as stdin, os.fdopen(write_end, "wb", buffering=0) as writer:
        monkeypatch.setattr("sys.stdin", stdin)
        yield writer


def feed(writer, *parts, close=True):
    """Write parts from a thread, as another program would."""

    def run():
        try:
            for part in parts:
                time.sleep(part) if isinstance(part, float) else writer.write(part)
            if close:
                writer.close()
        except BrokenPipeError:
            pass

    threading.Thread(target=run, daemon=True).start()


def take_all(frames):
    taken = []
    while (some := frames.take(10)) is not None:
        assert some, "nothing came in ten seconds"
        taken += some
    return taken


def read(source="-", raw=None, spacing=SPACING, capacity=100):
    with LiveFrames(source, spacing, same_size, capacity, raw) as frames:
        return take_all(frames), frames


def write_y4m(source, target):
    """Write the pictures of a video as Y4M, as coded."""
    with av.open(str(source)) as container, open(target, "wb") as file:
        for number, frame in enumerate(container.decode(video=0)):
            if not number:
                file.write(f"YUV4MPEG2 W{frame.width} H{frame.height} F8:1 Ip A1:1 C420\n".encode())
            file.write(b"FRAME\n")
            file.writelines(frame.to_ndarray()[None])


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".y4m"])
def test_frames_of_a_pipe_are_those_of_the_file(pipe, write_video, tmp_path, suffix):
    source = write_video(tmp_path / f"v{'.mkv' if suffix == '.y4m' else suffix}", num_frames=20)
    expected = decode_frames(source, None).frames
    if suffix == ".y4m":
        write_y4m(source, tmp_path / "v.y4m")
    feed(pipe, (tmp_path / f"v{suffix}").read_bytes())
    taken, frames = read()
    assert [frame.moment for frame in taken] == list(range(20))
    np.testing.assert_allclose([frame.seconds for frame in taken], np.arange(20) / 8, atol=2e-3)
    np.testing.assert_array_equal(np.stack([frame.picture for frame in taken]), expected)
    assert (frames.num_dropped, frames.num_damaged) == (0, 0)


def test_bare_pictures_and_a_cut_one(pipe):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 16, 24, 3), dtype=np.uint8)
    feed(pipe, pictures.tobytes(), b"half a picture")
    taken, frames = read(raw=RawFormat(24, 16, 8, "rgb24"))
    np.testing.assert_array_equal(np.stack([frame.picture for frame in taken]), pictures)
    assert frames.num_damaged == 1


def test_each_moment_gets_the_picture_nearest_to_it(pipe):
    feed(pipe, bytes(48 * 50))
    taken, _ = read(raw=RawFormat(4, 4, 25, "rgb24"), spacing=0.1)
    assert [frame.moment for frame in taken] == list(range(20))
    assert [round(frame.seconds * 25) for frame in taken[:5]] == [0, 2, 5, 7, 10]


def test_a_slow_camera_leaves_moments_out(pipe):
    feed(pipe, bytes(48 * 4))
    taken, _ = read(raw=RawFormat(4, 4, 5, "rgb24"), spacing=0.1)
    assert [frame.moment for frame in taken] == [0, 2, 4, 6]


def test_where_the_model_is_slow_the_newest_come_and_the_others_are_counted(pipe):
    # Twenty pictures a second are filmed; one is taken every quarter of a second.
    parts = [part for number in range(40) for part in (0.05, bytes([number]) * 48)]
    feed(pipe, *parts)
    raw = RawFormat(4, 4, 20, "rgb24")
    numbers, delays = [], []
    with LiveFrames("-", 0.05, same_size, 1, raw) as frames:
        while (some := frames.take(10)) is not None:
            time.sleep(0.25)
            numbers += [int(frame.picture[0, 0, 0]) for frame in some]
            delays += [time.monotonic() - frame.arrival for frame in some]
    assert numbers == sorted(set(numbers))
    assert frames.num_dropped > 10
    assert len(numbers) + frames.num_dropped == 40
    # Without dropping, the last would come after forty times a quarter of a second.
    assert max(delays) < 5


def test_a_recording_is_read_as_fast_as_it_is_taken_and_whole(pipe):
    feed(pipe, *[bytes([number]) * 48 for number in range(60)])
    with LiveFrames("-", 1.0, same_size, 1, RawFormat(4, 4, 1, "rgb24")) as frames:
        numbers = []
        while (some := frames.take(10)) is not None:
            time.sleep(0.005)
            numbers += [int(frame.picture[0, 0, 0]) for frame in some]
    assert numbers == list(range(60))


def test_leaving_ends_a_pipe_that_stays_open(pipe):
    feed(pipe, bytes(48 * 2), close=False)
    with LiveFrames("-", SPACING, same_size, 4, RawFormat(4, 4, 8, "rgb24")) as frames:
        assert frames.take(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "vidcli-live"]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:%s\n#EXT-X-ENDLIST\n"
LIST = b"ffconcat version 1.0\nfile '%s'\n"
SESSION = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"


@pytest.mark.parametrize("text", [PLAYLIST, LIST, SESSION], ids=["hls", "concat", "sdp"])
def test_a_pipe_opens_no_other_file(pipe, write_video, tmp_path, text):
    other = os.fsencode(write_video(tmp_path / "secret.mp4"))
    feed(pipe, text.replace(b"%s", other))
    with pytest.raises(VideoError, match="standard input: is not a video that can be read as it comes"):
        read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ended before its first byte"),
        (b"rubbish " * 5000, "is not a video that can be read as it comes"),
        (b"YUV4MPEG2 W16 H16 F8:1 C420\n", "ended before its first picture"),
        (b"YUV4MPEG2 W16 H16 F8:1 C420\nrubbish", "ended before its first picture"),
    ],
)
def test_what_is_no_video_is_named(pipe, content, message):
    feed(pipe, content)
    with pytest.raises(VideoError, match=f"standard input: {message}"):
        read()


def test_damage_on_the_way_is_counted_and_passed_over(pipe, write_video, tmp_path):
    content = bytearray(write_video(tmp_path / "v.ts", num_frames=60).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    feed(pipe, bytes(content))
    taken, _ = read()
    assert 20 < len(taken) <= 60


def test_pictures_beyond_the_limit_are_refused(pipe):
    feed(pipe, b"YUV4MPEG2 W30000 H30000 F8:1 C420\nFRAME\n" + bytes(1000))
    with pytest.raises(VideoError, match="standard input"):
        read()


def test_standard_input_that_cannot_be_a_pipe(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigError, match="standard input is closed"):
        LiveFrames("-", SPACING, same_size, 1)
    _, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(ConfigError, match="standard input is a terminal; pipe a video into it"):
            LiveFrames("-", SPACING, same_size, 1)


# No machine that runs the tests has a camera for sure: what follows asks for those that are not there.
@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no devices of that kind here")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("973", r"^/dev/video973: no such camera"),
        ("/dev/video973", r"^/dev/video973: no such camera; (there are|this machine shows no camera)"),
        ("/dev/null", "/dev/null: is no camera$"),
        ("rtsp://host/door", "is an address, and vidcli opens none; pipe it in: ffmpeg -i rtsp://host/door"),
        ("a\0b", "no such camera"),
    ],
)
def test_a_camera_that_is_not_there(name, message):
    with pytest.raises(VideoError, match=message):
        read(name)


def test_a_file_is_no_camera(write_video, tmp_path):
    with pytest.raises(VideoError, match=r"is no camera; for a video file use `vidcli predict`"):
        read(str(write_video(tmp_path / "v.mp4")))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EACCES, "permission denied.*add yourself to its group"),
        (errno.EBUSY, "is used by another program"),
        (errno.ENODEV, "is gone; is it plugged in"),
        (errno.EIO, "cannot be opened as a camera"),
    ],
)
def test_what_a_system_says_of_a_camera(monkeypatch, code, message):
    def refuse(*args, **settings):
        raise av.error.FFmpegError(code, os.strerror(code), "/dev/null")

    monkeypatch.setattr(source_module.av, "open", refuse)
    with pytest.raises(VideoError, match=message):
        read("/dev/null")


class Device:
    """A video file that behaves as a camera: it hesitates, stumbles, and is pulled out at the end."""

    def __init__(self, path, faults):
        self._container, self._faults = av.open(str(path)), dict(faults)
        self._packets, self._number = None, 0
        self.streams, self.format = self._container.streams, self._container.format

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._container.close()

    def demux(self, stream):
        self._packets = self._packets or self._container.demux(stream)
        while True:
            fault = self._faults.pop(self._number, None)
            if fault is not None:
                raise fault
            packet = next(self._packets, None)
            if packet is None:
                return
            self._number += 1
            yield packet


def film(monkeypatch, path, faults, capacity=100):
    monkeypatch.setattr(live_decoder, "open_camera", lambda name, budget: Device(path, faults))
    frames = LiveFrames("0", SPACING, same_size, capacity)
    taken = []
    with frames:
        while (some := frames.take(10)) is not None:
            taken += some
            time.sleep(0.02)
    return taken, frames


def test_a_camera_that_has_no_picture_yet_or_a_bad_one_goes_on(monkeypatch, write_video, tmp_path):
    path = write_video(tmp_path / "v.mkv", num_frames=20)
    again = av.error.BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    bad = av.error.InvalidDataError(1, "Invalid data found")
    taken, frames = film(monkeypatch, path, {0: again, 7: bad, 9: again})
    assert len(taken) == 20
    assert (frames.num_damaged, frames.num_dropped) == (1, 0)


def test_a_camera_does_not_wait(monkeypatch, write_video, tmp_path):
    path = write_video(tmp_path / "v.mkv", num_frames=60)
    taken, frames = film(monkeypatch, path, {}, capacity=1)
    assert taken[-1].moment == 59
    assert frames.num_dropped > 0
    assert len(taken) + frames.num_dropped == 60


def test_a_camera_that_is_unplugged(monkeypatch, write_video, tmp_path):
    path = write_video(tmp_path / "v.mkv", num_frames=20)
    gone = av.error.OSError(errno.ENODEV, "No such device")
    with pytest.raises(VideoError, match=r"^0: is gone \(No such device\); is it plugged in\?"):
        film(monkeypatch, path, {9: gone})


def test_raw_formats():
    assert parse_raw("640x480@29.97") == RawFormat(640, 480, 29.97, "rgb24")
    assert parse_raw("8x6@1:yuv420p") == RawFormat(8, 6, 1, "yuv420p")
    for text in ("", "640x480", "640x480@", "640x480@30:h264", "0x4@1", "99999x99999@1", "4x4@0", "4x4@1@2"):
        with pytest.raises(ConfigError, match="--raw"):
            parse_raw(text)


def frame(number, due):
    return LiveFrame(np.zeros((1, 1, 3), np.uint8), float(number), number, due, due)


def test_a_mailbox_gives_a_recording_one_by_one_and_what_is_late_at_once():
    now = time.monotonic()
    for patience, due, expected in (
        (5.0, now, [1, 1]),
        (5.0, now - 3, [2]),
        (5.0, 0.0, [2]),
        (0.0, now, [2]),  # a camera
    ):
        mailbox = Mailbox(2, patience)
        for number in range(2):
            assert mailbox.put(frame(number, due))
        mailbox.end(None)
        counts = []
        while (taken := mailbox.take(1)) is not None:
            counts.append(len(taken))
        assert counts == expected


def test_a_clock_starts_anew_with_what_was_waited_for_or_jumps():
    clock = StreamClock()
    assert clock.due(0.0, 100.0, True) == 100.0
    assert clock.due(1.0, 100.1, False) == 101.0  # ahead: a recording
    assert clock.due(2.0, 105.0, False) == 102.0  # three seconds late
    assert clock.due(3.0, 106.0, True) == 106.0  # nothing had waited
    assert clock.due(5000.0, 107.0, False) == 107.0
