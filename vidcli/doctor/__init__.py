"""What is wrong with a data set, found before training is: `vidcli check`.

file_report      one file, decoded to its end
fingerprint      what of a video is kept to compare it with others
similarity       how surely two videos are near copies
near_duplicates  which pairs of videos may be
findings         the rules: reports and labels to a row a problem
duplicate_rules  the rules on videos that show the same
pictures         pairs of videos side by side
summary          the data set in numbers
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidcli.config import Config
from vidcli.data.items import VideoItem
from vidcli.data.manifest import read_data
from vidcli.doctor.duplicate_rules import find_copies
from vidcli.doctor.file_report import FileReport, SpanReport, digest_pictures, inspect_file
from vidcli.doctor.findings import Finding, Inspected, Pair, Severity, find_problems, keep_usable
from vidcli.doctor.summary import Spread, Summary, summarize
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.storage.sources import size_of
from vidcli.transforms import build_sampler


@dataclass(frozen=True)
class DataReport:
    """The result of checking a data set.

    Attributes:
        items: all items of the data set.
        findings: all problems, the gravest first.
        summary: the data set in numbers.
        multi_label: whether a video can have several classes.
    """

    items: Sequence[VideoItem]
    findings: list[Finding]
    summary: Summary
    multi_label: bool = False

    @property
    def usable(self) -> list[VideoItem]:
        """The items without errors, which a quarantine keeps."""
        return keep_usable(self.items, self.findings, self.multi_label)


def check_data(data: Path, config: Config, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Decode every file of a data set to its end, in parallel, and report all that is wrong.

    Args:
        data: a folder or manifest.
        config: settings of clips, which decide what is too short, and of data: splits and threads.
        progress: called with the number of files that are done and the number of all files.

    Raises:
        DataError: `data` is no data set.
    """
    listing = read_data(data, missing_ok=True, settings=config.data)
    items = listing.items
    inspected = _inspect(items, config, data if data.is_dir() else data.parent, progress)
    findings = find_problems(inspected, find_copies(inspected))
    unused = [
        Finding("warning", "class-names", "the classes", text)
        if text in listing.of_names
        else Finding("warning", "unused", "the folder" if data.is_dir() else data.name, text)
        for text in listing.notes
    ]
    # The findings are sorted by severity: warnings belong before the first note.
    position = next((at for at, found in enumerate(findings) if found.severity == "note"), len(findings))
    findings[position:position] = unused
    summary = summarize(inspected, findings, num_workers(config.data.workers))
    return DataReport(items, findings, summary, config.data.multi_label)


def find_pairs(
    items: Sequence[VideoItem], config: Config, root: Path, progress: Callable[[int, int], None]
) -> list[tuple[int, int]]:
    """Return the positions of items that show the same, or may, whatever their labels; a pair once.

    Args:
        items: labelled or not; every file is decoded to its end.
        config: settings of clips and of data.
        root: the folder to which names are relative.
        progress: called with the number of files that are done and of all; what it raises ends the work.
    """
    inspected = _inspect(items, config, root, progress)
    positions: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        positions.setdefault(str(item.path), []).append(position)
    pairs: set[tuple[int, int]] = set()
    for found in find_copies(inspected):
        if found.pair is not None:
            pairs.add((min(found.pair.first, found.pair.second), max(found.pair.first, found.pair.second)))
            continue
        for own in positions.get(found.video or "", []):
            pairs |= {(min(own, n), max(own, n)) for other in found.others for n in positions.get(other, [])}
    return sorted(pair for pair in pairs if pair[0] != pair[1])


def _inspect(
    items: Sequence[VideoItem],
    config: Config,
    root: Path,
    progress: Callable[[int, int], None] | None,
) -> Inspected:
    indices_of: dict[Path, list[int]] = {}
    for index, item in enumerate(items):
        indices_of.setdefault(item.path, []).append(index)
    # Only files of equal size can have equal content, so only these are read a second time.
    sizes = {path: _num_bytes(path) for path in indices_of}
    shared = Counter(sizes.values())
    sampler = replace(build_sampler(config.clip), neighbours=False)

    def inspect(path: Path) -> FileReport:
        used = [items[index] for index in indices_of[path]]
        return inspect_file(path, used, sampler, digest=shared[sizes[path]] > 1)

    workers = num_workers(config.data.workers)
    files: dict[Path, FileReport] = {}
    spans: list[SpanReport | None] = [None] * len(items)
    for done, report in enumerate(map_ahead(inspect, indices_of, workers, ahead=2 * workers), start=1):
        files[report.path] = report
        for index, span in zip(indices_of[report.path], report.spans, strict=True):
            spans[index] = span
        if progress is not None:
            progress(done, len(indices_of))
    return Inspected(root, items, files, spans, config, _find_equal_pictures(items, files, spans))


def _find_equal_pictures(
    items: Sequence[VideoItem], files: Mapping[Path, FileReport], spans: Sequence[SpanReport | None]
) -> dict[int, str]:
    """Return digests of all frames, by position, of items whose frames are equal but whose files differ.

    Only items whose small frames are all equal are decoded a second time, at full size.
    """
    indices_of: dict[str, list[int]] = {}
    for index, span in enumerate(spans):
        if span is not None:
            indices_of.setdefault(span.pictures, []).append(index)
    digests: dict[int, str] = {}
    known: dict[tuple[object, float, float | None], str | None] = {}
    for indices in indices_of.values():
        contents = {files[items[index].path].digest or items[index].path for index in indices}
        if len(contents) < 2:
            continue
        for index in indices:
            item = items[index]
            span_key = (files[item.path].digest or item.path, item.start_seconds, item.end_seconds)
            if span_key not in known:
                known[span_key] = digest_pictures(item.path, item.start_seconds, item.end_seconds)
            digest = known[span_key]
            if digest is not None:
                digests[index] = digest
    return digests


def _num_bytes(path: Path) -> int | None:
    try:
        return size_of(path)
    except OSError:
        return None


__all__ = ["DataReport", "Finding", "Pair", "Severity", "Spread", "Summary", "check_data", "find_pairs"]
