"""A run ends with what is kept where, and how large that is."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.console.text import format_bytes
from vidcli.data.caches import measure_caches, measure_folder, take_cache


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KiB"),
        (8_387_975, "8.0 MiB"),
        (200 * 2**20, "200 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (5 * 2**50, "5120 TiB"),
    ],
)
def test_sizes_as_people_read_them(size, told):
    assert format_bytes(size) == told


def test_only_caches_of_ours_with_something_in_them_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path))
    assert measure_caches() == {}
    take_cache(tmp_path / "features")
    assert measure_caches() == {}
    digest = "0123456789" * 4
    (tmp_path / "features" / digest).mkdir()
    (tmp_path / "features" / digest / f"{digest}.npy").write_bytes(b"x" * 5000)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "theirs").write_bytes(b"x" * 5000)
    (told,) = measure_caches().items()
    assert told[0] == tmp_path / "features"
    assert told[1] == 5000


def test_the_size_of_a_folder_follows_no_link(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 100_000)
    (inside / "deep" / "file").write_bytes(b"x" * 1000)
    (inside / "link").symlink_to(outside)
    (inside / "file-link").symlink_to(outside / "large")
    assert 1000 <= measure_folder(inside) < 2000
    assert measure_folder(tmp_path / "nothing") == 0


def test_train_ends_with_what_is_kept(motion_data, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    settings = ["train.epochs=1", "clip.length=4", "clip.size=32", "data.cache=disk", "train.plots=false"]
    given = [part for setting in settings for part in ("--set", setting)]
    command = ["train", str(motion_data), "--out", str(tmp_path / "run"), "--device", "cpu", *given]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("kept: ")]
    assert re.search(r"run \d.* (KiB|MiB), of which \d.* (KiB|MiB) are resume\.pt", line)
    assert re.search(rf"made again if deleted: {tmp_path}/cache/frames \d", line)
    quiet = CliRunner().invoke(app, ["-q", *command[:3], str(tmp_path / "other"), *command[4:]])
    assert quiet.exit_code == 0
    assert "kept" not in quiet.stderr
