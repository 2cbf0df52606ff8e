"""What each `vidcli bench` command does."""

from __future__ import annotations

from pathlib import Path

from vidcli.bench.decode import bench_decode
from vidcli.bench.videos import make_bench_videos, make_length_pair
from vidcli.console import Terminal, print_json
from vidcli.console.bench import describe_decode_row, print_decode_bench
from vidcli.data.builtin import cache_folder
from vidcli.predict import collect_videos


def decode(terminal: Terminal, videos: list[Path], rounds: int, as_json: bool) -> int:
    """Run `vidcli bench decode`; return the exit code: 1 if a video failed or a frame differed."""
    short_and_long = None
    if not videos:
        terminal.say("no VIDEO given: measuring on videos made for this, which takes minutes at first")
        videos = make_bench_videos(cache_folder() / "bench")
        short_and_long = make_length_pair(cache_folder() / "bench")
    rows = []
    for row in bench_decode(collect_videos(videos), rounds, short_and_long=short_and_long):
        rows.append(row)
        if as_json:
            print_json(row)
        elif "video" in row:
            terminal.say(describe_decode_row(row))
    *measured, summary = rows
    if not as_json:
        print_decode_bench(terminal, measured, summary)
    has_failed = any("error" in row for row in measured)
    return 1 if has_failed or summary["exact"] is False else 0
