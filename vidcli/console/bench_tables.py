"""What `vidcli bench` shows: a table of measurements for each kind, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from vidcli.console.tables import number_table, print_pairs
from vidcli.console.terminal import Terminal
from vidcli.console.text import count_noun, format_times, plain, shorten_path


def describe_decode_row(row: Mapping[str, Any]) -> str:
    """Return one measurement of `bench decode` as a line."""
    if "error" in row:
        return f"{row['video']}: {row['error']}"
    return f"{row['video']} {row['size']} {row['threads']} threads: {format_times(row['ratio'])}"


def print_decode_bench(
    terminal: Terminal, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench decode` measured: milliseconds for 16 frames, and how many times faster.

    Args:
        terminal: to print on.
        rows: the measurements, a mapping each, as `bench decode --json` prints them.
        summary: the object that `--json` prints last.
    """
    table = Table("video", "size", "threads", "vidcli ms", "fastest other", "ms", "ratio", "exact")
    for column in (*table.columns[2:4], *table.columns[5:7]):
        column.justify = "right"
    for row in rows:
        if "error" in row:
            table.add_row(plain(shorten_path(row["video"])), plain(row["error"], "red"))
            continue
        times, peer = row["milliseconds"], row["fastest_peer"]
        table.add_row(
            plain(Path(row["video"]).name),
            row["size"],
            str(row["threads"]),
            f"{times['vidcli']:.1f}",
            f"{peer}*" if peer in row["wrong"] else peer or "–",
            f"{times[peer]:.1f}" if peer else "–",
            format_times(row["ratio"]),
            "yes" if row["exact"] else Text("NO", "bold red"),
        )
    out = terminal.out
    out.print(table)
    _print_wrong_peers(terminal, rows)
    out.print("times faster than the fastest of: all others | those whose frames are right")
    for about, key in (
        ("short side 128, one thread", "geomean_ratio"),
        ("  of H.264 with B-frames", "geomean_h264_b"),
        ("full size, one thread", "geomean_full"),
        ("one long video, all cores", "geomean_parallel"),
        ("worst of one thread", "worst_ratio"),
    ):
        out.print(f"{about:28} {format_times(summary[key])} | {format_times(summary['right'][key])}")
    length = summary["length"]
    if length:
        out.print(
            f"16 frames of an hour         {length['long_ms']:.1f} ms, "
            f"of five minutes of the same kind {length['short_ms']:.1f} ms"
        )
    for name, why in summary["absent"].items():
        terminal.warn(f"{name} is not compared: {why}; pip install 'vidcli[bench]' brings the others")


def _print_wrong_peers(terminal: Terminal, rows: Sequence[Mapping[str, Any]]) -> None:
    """Name the peers that gave other frames than those asked for, and where."""
    found: dict[str, list[str]] = {}
    measured = [row for row in rows if "error" not in row]
    for row in measured:
        for peer, fault in row["wrong"].items():
            found.setdefault(peer, []).append(f"{Path(row['video']).name} {row['size']}: {fault}")
    for peer, faults in found.items():
        share = f"{len(faults)} of {count_noun(len(measured), 'row')}"
        terminal.out.print(plain(f"* {peer}: not the frames asked for in {share}, as in {faults[0]}"))


_PARTS = {
    "decode": "clips from the files",
    "load": "batches from the cache",
    "model": "updates, data at hand",
    "whole": "vidcli train, epochs 2 on",
    "reference": "plain loop, no cache",
}


def print_train_bench(
    terminal: Terminal, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench train` measured: clips a second of each part, and how they compare.

    Args:
        terminal: to print on.
        rows: the measurements, a mapping each, as `bench train --json` prints them.
        summary: the object that `--json` prints last.
    """
    table = number_table("part", "clips/s", "turns", "workers")
    table.add_column("what")
    for row in rows:
        turns = f"{min(row['turns']):.1f} to {max(row['turns']):.1f}"
        workers = str(row.get("workers", ""))
        table.add_row(row["part"], f"{row['clips_per_second']:.1f}", turns, workers, _PARTS[row["part"]])
    out = terminal.out
    out.print(table)
    out.print(
        f"{summary['num_clips']} clips an epoch, {summary['batch_size']} a batch, cache: {summary['cache']}"
    )
    out.print(f"whole, of the slower part ({summary['bound']})   {summary['share_of_bound']:.1%}")
    out.print(f"whole, of what the cores allow     {summary['share_of_cores']:.1%}")
    out.print(f"whole, beside the plain loop       {format_times(summary['times_reference'])}")


def print_infer_bench(
    terminal: Terminal, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench infer` measured: time and memory a clip, and how many times faster.

    Args:
        terminal: to print on.
        rows: the measurements, a mapping each, as `bench infer --json` prints them.
        summary: the object that `--json` prints last.
    """
    table = Table("network", "runtime", "ms a clip", "clips/s", "MiB", "against torch eager")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        if "error" in row:
            table.add_row(plain(shorten_path(row["model"])), row["runtime"], plain(row["error"], "red"))
            continue
        table.add_row(
            plain(row["network"]),
            row["runtime"],
            f"{row['milliseconds']:.1f}",
            f"{row['clips_per_second']:.2f}",
            f"{row['memory_mib']:.0f}",
            format_times(row["speedup"]),
        )
    out = terminal.out
    out.print(table)
    for network, speedups in summary["speedups"].items():
        fastest = ", ".join(f"{name} {format_times(ratio)}" for name, ratio in sorted(speedups.items()))
        out.print(Text(f"{network}: {fastest} as fast as torch eager"), soft_wrap=True)


def print_start_bench(terminal: Terminal, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show what `bench start` measured: seconds by the clock and of the processor, beside importing torch."""
    table = number_table("model", "imports torch", "seconds", "processor", "of importing torch")
    for row in rows:
        table.add_row(
            plain("import torch" if row["model"] is None else shorten_path(row["model"])),
            "yes" if row["imports_torch"] else "no",
            f"{row['seconds']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            "–" if row["of_torch"] is None else format_times(row["of_torch"]),
        )
    terminal.out.print(table)


def print_predict_bench(
    terminal: Terminal, model: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench predict` measured: clips a second of each phase, and the shares.

    Args:
        terminal: to print on.
        model: its path or name.
        rows: the measurements, a mapping each, as `bench predict --json` prints them.
        summary: the object that `--json` prints last.
    """
    columns = {
        "decode alone": "decode",
        "model alone": "model",
        "one thread": "one_thread",
        "whole": "whole",
    }
    medians = [summary[f"{name}_per_second"] for name in columns.values()]
    _print_rounds(terminal, "clips a second", columns, rows, medians)
    pairs = [
        ("model", f"{model} on {summary['device']}, {count_noun(summary['threads'], 'thread')}"),
        ("videos", str(summary["num_videos"])),
        ("whole, of the slower half", f"{summary['share_of_slower']:.0%}"),
        ("whole, of what the cores allow", f"{summary['share_of_bound']:.0%}"),
        ("whole, beside one thread", format_times(summary["times_one_thread"])),
        ("its processor time", f"{summary['cpu_of_one_thread']:.0%} of that of one thread"),
    ]
    print_pairs(terminal.out, pairs)
    if summary["num_failed"]:
        terminal.warn(f"{count_noun(summary['num_failed'], 'video')} cannot be decoded and did not count")


def print_serve_bench(
    terminal: Terminal, model: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench serve` measured: videos a second of prediction and of the server, and delays.

    Args:
        terminal: to print on.
        model: its path or name.
        rows: the measurements, a mapping each, as `bench serve --json` prints them.
        summary: the object that `--json` prints last.
    """
    columns = {"predict": "predict", "serve": "serve", "p50 ms": "p50_ms", "p99 ms": "p99_ms"}
    names = ("predict_per_second", "serve_per_second", "p50_ms", "p99_ms")
    _print_rounds(terminal, "videos a second", columns, rows, [summary[name] for name in names])
    memory = (summary["rss_mib"], summary["rss_mib_after"])
    pairs = [
        ("model", f"{model} on {summary['device']}"),
        ("videos, clients", f"{summary['num_videos']}, {summary['clients']}"),
        ("serve, of predict", f"{summary['ratio']:.0%}"),
        ("one client alone", f"{summary['alone_ms']:.1f} ms"),
        ("the bits of predict", "yes" if summary["same_bits"] else "no"),
        ("answers lost", str(summary["num_lost"])),
        ("bad uploads refused", str(summary["num_refused"])),
    ]
    if None not in memory:
        pairs.append(("memory before and after these", f"{memory[0]:.0f} and {memory[1]:.0f} MiB"))
    print_pairs(terminal.out, pairs)
    if summary["num_failed"]:
        terminal.warn(f"{count_noun(summary['num_failed'], 'video')} cannot be decoded and did not count")


def describe_gpu_row(row: Mapping[str, Any]) -> str:
    """Return one part of `bench gpu` as a line."""
    about = f"{row['part']} {row.get('network', '')}".strip()
    for failure in ("error", "skipped"):
        if failure in row:
            return f"{about}: {failure}: {row[failure]}"
    if "share" in row:
        return f"{about}: {row['per_second']:.1f} a second, {row['share']:.0%} of what the network allows"
    told = {name: value for name, value in row.items() if name != "part"}
    return f"{about}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())


def print_gpu_bench(
    terminal: Terminal, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Show what `bench gpu` measured of networks, and whether the goal is reached.

    Args:
        terminal: to print on.
        rows: the measurements, a mapping each, as `bench gpu --json` prints them.
        summary: the object that `--json` prints last.
    """
    table = number_table("part", "a second", "at hand", "share", "busy", "MiB", "fit")
    for row in rows:
        if "share" not in row:
            continue
        busy, memory = row.get("busy_share"), row["peak_memory_mib"]
        table.add_row(
            plain(f"{row['part']} {row['network']}"),
            f"{row['per_second']:.1f}",
            f"{row['resident_per_second']:.1f}",
            f"{row['share']:.0%}",
            "–" if busy is None else f"{busy:.0%}",
            "–" if memory is None else str(memory),
            str(row.get("largest_batch", "–")),
        )
    out = terminal.out
    out.print(table)
    out.print(
        f"goal: {summary['goal']:.0%} of the speed with data at hand on the device; {_reached(summary)}"
    )
    failed, skipped = summary["num_failed"], summary["num_skipped"]
    out.print(f"{count_noun(failed, 'part')} failed, {skipped} skipped, in {summary['seconds']:.0f} s")


def _reached(summary: Mapping[str, Any]) -> str:
    if summary["tiny"]:
        return "tiny shapes tell nothing of it"
    if summary["reaches_goal"] is None:
        return "nothing was measured"
    return f"{'reached' if summary['reaches_goal'] else 'missed'}, the worst is {summary['worst_share']:.0%}"


def _print_rounds(
    terminal: Terminal,
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    medians: Sequence[float],
) -> None:
    """Show a row of numbers a round, and their medians.

    Args:
        terminal: to print on.
        title: of the table.
        columns: the name in `rows` of what stands in each column.
        rows: the rounds.
        medians: one a column.
    """
    table = number_table("round", *columns, title=title)
    table.columns[0].justify = "right"
    for row in rows:
        table.add_row(str(row["round"]), *(f"{row[name]:.1f}" for name in columns.values()))
    table.add_section()
    table.add_row("median", *(f"{value:.1f}" for value in medians))
    terminal.out.print(table)
