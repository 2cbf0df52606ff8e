"""The rules: reports on files, and labels, to problems.

error      training would leave the video out, stop, or give a score that is too good
warning    the video is usable, but probably not as meant
note       unusual but handled; other tools may fail
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from vidcli.config import Config
from vidcli.data.items import LABEL_SEPARATOR, VideoItem, class_names_of, labels_of
from vidcli.data.splits import assign_splits, of_split
from vidcli.doctor.file_report import FileReport, SpanReport
from vidcli.doctor.similarity import Similarity
from vidcli.errors import DataError
from vidcli.sampling import TIMESTAMP_TOLERANCE_SECONDS

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

ADVICE = {
    "missing": "Mend the paths in the manifest or bring the files back; --quarantine leaves the rows out.",
    "unreadable": "Copy or export the file again from its source; --quarantine leaves it out.",
    "damaged": "Copy the file again, or give its good part as start and end in a manifest.",
    "outside": "Mend start and end in the manifest: they count seconds from the first frame.",
    "label-conflict": "Compare them (--pictures DIR draws those that may be copies) and give copies one "
    "label; --quarantine drops all those of equal content.",
    "leak": "Keep copies in one split, or give them one group where splits are drawn; of equal content "
    "--quarantine keeps those of one split (test before val before train).",
    "torn-group": "Give all videos of a group one split; --quarantine keeps the split that has most of them.",
    "joined-labels": "If a video may have several classes, check and train with --set data.multi_label=true.",
    "missing-class": "Add training videos of the class, or leave it out; --quarantine leaves it out.",
    "splits": "Add videos or classes, or mend the split column, until `vidcli train --dry-run` accepts it.",
    "duplicate": "Delete all but one: each copy weighs like a video of its own.",
    "near-duplicate": "Look at them (--pictures DIR draws each pair). Delete all but one copy, or give "
    "them one group in a manifest so that they never part.",
    "shared-file": "Give all spans of a recording one split: they share scene, light and camera.",
    "header-duration": "Remux it (ffmpeg -i IN -c copy OUT) so that other tools find its end.",
    "too-short": "Lower clip.length or the stride (--set clip.length=8), or leave out what is this short.",
    "no-motion": "Look whether the recording froze; a class that is only still needs no video model.",
    "class-names": "Give one class one name; names that only look alike are different classes.",
    "unused": "Move videos into class folders; the rest can stay.",
    "header-frames": "Nothing to do: frames are chosen by time, never by count.",
    "variable-rate": "Nothing to do: frames are chosen by time, never by index.",
    "rotated": "Nothing to do: frames are turned upright.",
    "streams": "Nothing to do if that one is meant; else copy another out (ffmpeg -map 0:v:1 -c copy).",
    "pixel-aspect": "Nothing to do: frames are scaled to square pixels.",
}
"""What to do about each kind of problem, in the order of the report."""

# The split whose copy stays if another must go: test first, so that scores stay comparable.
_KEPT_FIRST = ("test", "val", "train")
_LIE_SECONDS = 0.2
_LIE_SHARE = 0.02
_ODD_INTERVALS_SHARE = 0.01


@dataclass(frozen=True)
class Pair:
    """Two items that may be copies of each other.

    Attributes:
        first: position of the first item.
        second: position of the second item.
        similarity: the similarity of the first to the second.
        shared_seconds: start and end of the span of the first that the second shows too.
    """

    first: int
    second: int
    similarity: Similarity
    shared_seconds: tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        severity: how grave the problem is.
        kind: a key of `ADVICE`.
        subject: short name of the video, or of a group, class or data set.
        detail: what was found and, if it helps, what was expected.
        video: path of the video; None if the problem concerns no single video.
        others: paths of the videos of which the video is a copy.
        items: positions of the items that a quarantine removes if this is an error.
        pair: the item and the surest of those of which it may be a copy; None if there is none.
        picture: the file that shows the pair side by side; None if none was drawn.
    """

    severity: Severity
    kind: str
    subject: str
    detail: str
    video: str | None = None
    others: tuple[str, ...] = ()
    items: tuple[int, ...] = ()
    pair: Pair | None = None
    picture: str | None = None


@dataclass(frozen=True)
class Inspected:
    """A data set after every file was decoded.

    Attributes:
        root: the folder to which names are relative.
        items: all items of the data set.
        files: the report on each file.
        spans: the report on each item, in order; None if nothing of it could be decoded.
        config: the settings of clips and data.
        pictures: digests of all frames by position of an item, for items whose frames may be equal though
            their files differ.
    """

    root: Path
    items: Sequence[VideoItem]
    files: Mapping[Path, FileReport]
    spans: Sequence[SpanReport | None]
    config: Config
    pictures: Mapping[int, str] = field(default_factory=dict)

    def classes(self, item: VideoItem) -> tuple[str, ...]:
        """Return the classes of an item: one, or any number with `data.multi_label`."""
        return labels_of(item.label, self.config.data.multi_label)

    def name(self, index: int) -> str:
        """Return the short name of the item at `index`: its path below the root, its span and subject."""
        item = self.items[index]
        path = item.path.relative_to(self.root) if item.path.is_relative_to(self.root) else item.path
        who = "" if item.track is None else f", {item.track}"
        if item.start_seconds == 0 and item.end_seconds is None:
            return f"{path}{who}"
        end = "" if item.end_seconds is None else f"{item.end_seconds:g}"
        return f"{path} [{item.start_seconds:g}–{end} s]{who}"

    def finding(
        self, severity: Severity, kind: str, index: int, detail: str, others: Sequence[int] = ()
    ) -> Finding:
        """Return a finding on one item.

        Args:
            severity: how grave the problem is.
            kind: a key of `ADVICE`.
            index: position of the item.
            detail: what was found.
            others: positions of the items of which the item is a copy.
        """
        paths = tuple(str(self.items[other].path) for other in others)
        path = str(self.items[index].path)
        return Finding(severity, kind, self.name(index), detail, path, paths, (index,))

    def is_cut(self, index: int) -> bool:
        """Tell whether the item at `index` uses a damaged or missing part of its file."""
        end, report = self.items[index].end_seconds, self.files[self.items[index].path]
        beyond = end is None or end > report.decoded_seconds + report.usual_interval
        return report.error is not None and beyond

    def content(self, index: int) -> Hashable:
        """Return an identity of the file of an item: equal for files with equal content."""
        path = self.items[index].path
        return self.files[path].digest or path

    def key(self, index: int) -> Hashable:
        """Return an identity of the frames of an item: equal for items that show the same."""
        item = self.items[index]
        subject = item.track, item.box
        if index in self.pictures:
            return self.pictures[index], subject
        end = None if item.end_seconds is None else round(item.end_seconds, 2)
        return self.content(index), round(item.start_seconds, 2), end, subject


def find_problems(data: Inspected, copies: Iterable[Finding] = ()) -> list[Finding]:
    """Return every problem of a data set, the gravest first; `copies` are the findings on copies."""
    findings: list[Finding] = []
    items_of: dict[Path, list[int]] = defaultdict(list)
    for index, item in enumerate(data.items):
        items_of[item.path].append(index)
    for path, indices in items_of.items():
        findings += _of_file(data, data.files[path], indices)
    for index in range(len(data.items)):
        findings += _of_item(data, index)
    findings += copies
    findings += _of_spans(data)
    findings += _of_splits(data)
    order = {kind: position for position, kind in enumerate(ADVICE)}
    return sorted(findings, key=lambda found: (SEVERITIES.index(found.severity), order[found.kind]))


def keep_usable(
    items: Sequence[VideoItem], findings: Sequence[Finding], multi_label: bool = False
) -> list[VideoItem]:
    """Return the items without errors.

    If a class loses its last training video by that, its videos in val and test are left out as well.

    Args:
        items: all items.
        findings: the problems of the data set.
        multi_label: whether a video can have several classes.
    """
    dropped = {index for found in findings if found.severity == "error" for index in found.items}
    kept = [item for index, item in enumerate(items) if index not in dropped]
    learnt = set(class_names_of(of_split(kept, "train"), multi_label))
    return [item for item in kept if not learnt or learnt.issuperset(labels_of(item.label, multi_label))]


def _of_file(data: Inspected, report: FileReport, indices: Sequence[int]) -> Iterator[Finding]:
    """Yield the findings on a file as a whole; `indices` are the positions of the items that use it."""
    first = indices[0]
    path = data.items[first].path
    name = str(path.relative_to(data.root)) if path.is_relative_to(data.root) else str(path)

    def finding(severity: Severity, kind: str, detail: str) -> Finding:
        return Finding(severity, kind, name, detail, str(path), items=tuple(indices))

    info = report.info
    if info is None or report.num_frames == 0:
        gone = not path.exists()
        reason = report.error or "no frame of it can be decoded"
        yield finding("error", "missing" if gone else "unreadable", reason)
        return
    expected, found = info.duration_seconds, report.decoded_seconds
    if report.error is not None:
        share = f" ({found / expected:.0%})" if expected > 0 else ""
        left = f"{found:.2f} s of {expected:.2f} s{share} are left"
        cut = tuple(index for index in indices if data.is_cut(index))
        unhurt = "" if cut else "; what is used of it is sound"
        damaged = finding("error" if cut else "warning", "damaged", f"{report.error}; {left}{unhurt}")
        yield replace(damaged, items=cut)
    else:
        period = report.usual_interval
        stated = expected if info.stated_seconds is None else info.stated_seconds
        if abs(stated - found) > max(2 * period, _LIE_SECONDS, _LIE_SHARE * stated):
            yield finding(
                "warning", "header-duration", f"header says {stated:.2f} s, frames last {found:.2f} s"
            )
        if info.num_frames is not None and info.num_frames != report.num_frames:
            yield finding(
                "note",
                "header-frames",
                f"header says {info.num_frames} frames, there are {report.num_frames}",
            )
    if report.odd_intervals > _ODD_INTERVALS_SHARE and report.num_frames > 2:
        yield finding(
            "note",
            "variable-rate",
            f"{report.odd_intervals:.0%} of the frames come at an unusual time; usual "
            f"{1000 * report.usual_interval:.0f} ms, longest {1000 * report.longest_interval:.0f} ms",
        )
    if info.rotation or info.is_mirrored:
        mirrored = "mirrored" if info.is_mirrored else ""
        turned = f"turned by {info.rotation} degrees clockwise" if info.rotation else ""
        yield finding("note", "rotated", "to be " + " and ".join(filter(None, (mirrored, turned))))
    if info.num_video_streams > 1:
        used = f"the one that is used is {info.codec} of {info.width}x{info.height}"
        yield finding("note", "streams", f"{info.num_video_streams} video streams; {used}")
    if info.pixel_aspect != 1:
        height, width = info.upright_size
        ratio = f"{info.pixel_aspect.numerator}:{info.pixel_aspect.denominator}"
        yield finding("note", "pixel-aspect", f"pixels are {ratio}; shown as {width}x{height}")


def _of_item(data: Inspected, index: int) -> Iterator[Finding]:
    """Yield the findings on the span that the item at `index` uses."""
    item, span, report = data.items[index], data.spans[index], data.files[data.items[index].path]
    if report.num_frames == 0 or data.is_cut(index):
        return  # the finding on the file says so already
    if span is None:
        detail = f"starts at {item.start_seconds:g} s, but the video ends at {report.decoded_seconds:.2f} s"
        yield data.finding("error", "outside", index, detail)
        return
    if span.outside_seconds > 2 * report.usual_interval:
        detail = f"ends {span.outside_seconds:.2f} s after the video; what is there is used"
        yield data.finding("warning", "outside", index, detail)
    length = data.config.clip.length
    if span.num_distinct < length:
        detail = (
            f"{span.num_distinct} different frames in a clip of {length}; the span holds {span.num_frames}"
        )
        yield data.finding("warning", "too-short", index, detail)
    if span.is_still:
        yield data.finding("warning", "no-motion", index, f"nothing moves in {span.duration_seconds:.2f} s")


def rank_split(split: object) -> int:
    """Return the rank of a split when copies are removed: those in the split of lowest rank stay."""
    return _KEPT_FIRST.index(split) if split in _KEPT_FIRST else len(_KEPT_FIRST)


def _of_spans(data: Inspected) -> Iterator[Finding]:
    """Yield findings on spans of one recording in different splits: an error if they overlap."""
    items_of: dict[Hashable, list[int]] = defaultdict(list)
    for index, item in enumerate(data.items):
        if item.split is not None and data.spans[index] is not None:
            items_of[data.content(index)].append(index)
    for indices in items_of.values():
        if len({data.items[index].split for index in indices}) < 2:
            continue
        apart: list[int] = []
        for index in indices:
            rank = rank_split(data.items[index].split)
            others = [other for other in indices if rank_split(data.items[other].split) < rank]
            overlapping = [other for other in others if _overlap(data, index, other)]
            if any(data.key(other) == data.key(index) for other in others):
                continue  # there is a finding on the copy
            if overlapping:
                other = overlapping[0]
                detail = f"overlaps {data.name(other)} ({data.items[other].split})"
                detail += f"; is in {data.items[index].split}"
                yield data.finding("error", "leak", index, detail, overlapping)
            elif others:
                apart.append(index)
        if apart:
            counts = Counter(data.items[index].split or "" for index in indices)
            detail = f"spans of one recording: {_counted(counts)}"
            yield data.finding("warning", "shared-file", apart[0], detail)


def _overlap(data: Inspected, index: int, other: int) -> bool:
    a, b = data.items[index], data.items[other]
    end = min(float("inf") if item.end_seconds is None else item.end_seconds for item in (a, b))
    return end - max(a.start_seconds, b.start_seconds) > TIMESTAMP_TOLERANCE_SECONDS


def _of_splits(data: Inspected) -> Iterator[Finding]:
    """Yield the findings on labels, groups and splits, for which training refuses the data set."""
    items = data.items
    multi_label = data.config.data.multi_label
    labels = class_names_of(items, multi_label)
    if len(labels) < 2:
        found = f"one class ({labels[0]})" if labels else "no class"
        yield Finding("error", "splits", "the data set", f"{found}; a classifier needs two")
    joined = [item.label for item in items if LABEL_SEPARATOR in item.label]
    if joined and not multi_label:
        detail = f"{len(joined)} hold a {LABEL_SEPARATOR!r}, such as {joined[0]!r}; each counts as one class"
        yield Finding("warning", "joined-labels", "labels", detail)
    splits_of: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, item in enumerate(items):
        if item.group is not None and item.split is not None:
            splits_of[item.group][item.split].append(index)
    torn = {group: splits for group, splits in splits_of.items() if len(splits) > 1}
    for group, splits in torn.items():
        kept = max(splits, key=lambda split: (len(splits[split]), -rank_split(split)))
        moved = tuple(index for split, indices in splits.items() if split != kept for index in indices)
        counts = {split: len(indices) for split, indices in splits.items()}
        yield Finding("error", "torn-group", f"group {group}", f"has {_counted(counts)}", items=moved)
    learnt = set(class_names_of(of_split(items, "train"), multi_label))
    unlearnt: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        for name in data.classes(item):
            if learnt and item.split is not None and name not in learnt:
                unlearnt[name, item.split].append(index)
    for (label, split), indices in unlearnt.items():
        detail = f"{len(indices)} in {split}, none in train"
        yield Finding("error", "missing-class", f"class {label}", detail, items=tuple(indices))
    if not learnt and any(item.split is not None for item in items):
        yield Finding("warning", "splits", "the data set", "no train split: it can be evaluated on only")
    elif not torn and not unlearnt:
        try:
            assign_splits(items, data.config.data)
        except DataError as error:
            yield Finding("error", "splits", "the data set", str(error))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[split]} in {split}" for split in reversed(_KEPT_FIRST) if split in counts)
