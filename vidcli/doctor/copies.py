"""The rules on videos that show the same: what is proven is an error, what only seems so a warning.

Proven are files of equal bytes, and those all of whose decoded frames are equal. Two that are only much
alike may be copies, coded or cut anew, or two moments of one quiet scene: a person should look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from vidcli.data.items import VideoItem
from vidcli.doctor.duplicates import find_alike
from vidcli.doctor.findings import Finding, Inspected, Pair, Severity, rank_split
from vidcli.doctor.likeness import Likeness


def find_copies(data: Inspected) -> Iterator[Finding]:
    """Yield what concerns items that show the same, as far as they are sound."""
    items_of: dict[Hashable, list[int]] = defaultdict(list)
    for index, span in enumerate(data.spans):
        if span is not None and not data.is_cut(index):
            items_of[data.key(index)].append(index)
    groups = list(items_of.values())
    for group in groups:
        if len(group) > 1:
            yield from _of_equal(data, group)
    spans = [span for group in groups if (span := data.spans[group[0]]) is not None]
    matches = find_alike([span.fingerprint for span in spans], [data.content(group[0]) for group in groups])
    alike: dict[int, dict[int, Likeness]] = defaultdict(dict)
    for match in matches:
        for first in groups[match.first]:
            for second in groups[match.second]:
                alike[first][second] = match.likeness
                alike[second][first] = match.likeness.reversed()
    yield from _of_alike(data, alike)


def _of_equal(data: Inspected, group: Sequence[int]) -> Iterator[Finding]:
    """Yield a row for each item of equal content that should not stay beside the others."""
    items = data.items
    classes = {index: set(data.classes(items[index])) for index in group}
    if any(classes[index] != classes[group[0]] for index in group):
        for index in group:
            others = [other for other in group if classes[other] != classes[index]]
            detail = f"is {_label_and_split(items[index])}; {_name_copies(data, others, True)}"
            yield data.finding("error", "label-conflict", index, detail, others)
        return
    sides = {index: _side(items[index]) for index in group}
    if len(set(sides.values())) > 1:
        kept_side = min(sides.values(), key=lambda side: rank_split(side[1]))
        if kept_side[0] != "split":
            kept_side = sides[group[0]]
        kept = [index for index in group if sides[index] == kept_side]
        for index in group:
            if sides[index] != kept_side:
                detail = f"{_name_copies(data, kept)}; {_tell_place(items[index])}"
                yield data.finding("error", "leak", index, detail, kept)
        return
    for index in group[1:]:
        yield data.finding("warning", "duplicate", index, _name_copies(data, group[:1]), group[:1])


def _of_alike(data: Inspected, alike: dict[int, dict[int, Likeness]]) -> Iterator[Finding]:
    """Yield a row for each item that may be a copy of others, gravest first: label, split, or only twice."""
    items = data.items
    order = {index: (rank_split(items[index].split), index) for index in alike}
    classes = {index: set(data.classes(items[index])) for index in alike}
    for index in sorted(alike):
        others = sorted(
            (other for other in alike[index] if order[other] < order[index]),
            key=lambda other: (-alike[index][other].sureness, other),
        )
        conflicting = [other for other in others if classes[other] != classes[index]]
        parted = [other for other in others if _side(items[other]) != _side(items[index])]
        severity: Severity = "warning"
        if conflicting:
            kind, told = "label-conflict", conflicting
            detail = f"is {_label_and_split(items[index])}; {_name_alike(data, told, alike[index], True)}"
        elif parted:
            kind, told = "leak", parted
            detail = f"{_name_alike(data, told, alike[index])}; {_tell_place(items[index])}"
        elif others:
            kind, told = "near-duplicate", others
            detail = _name_alike(data, told, alike[index])
            if items[index].group is not None and items[index].group == items[told[0]].group:
                severity = "note"
        else:
            continue
        likeness = alike[index][told[0]]
        pair = Pair(index, told[0], likeness, _shared_seconds(data, index, told[0], likeness.lag_seconds))
        yield replace(data.finding(severity, kind, index, detail, told), pair=pair)


def _shared_seconds(data: Inspected, index: int, other: int, lag_seconds: float) -> tuple[float, float]:
    """Return from when to when an item shows what another does `lag_seconds` before."""
    own, others = (span.duration_seconds if (span := data.spans[at]) else 0.0 for at in (index, other))
    start = max(0.0, lag_seconds)
    return start, max(start, min(own, others + lag_seconds))


def _name_copies(data: Inspected, others: Sequence[int], with_label: bool = False) -> str:
    return f"same content as {_name_first(data, others, with_label)}"


def _name_alike(
    data: Inspected, others: Sequence[int], likeness_of: dict[int, Likeness], with_label: bool = False
) -> str:
    """Return what the first of some videos has in common with the one it is told of."""
    likeness = likeness_of[others[0]]
    named = f"may show the same as {_name_first(data, others, with_label)}"
    remarks = []
    if likeness.is_mirrored:
        remarks.append("mirrored")
    if abs(likeness.lag_seconds) >= 0.2 and not likeness.is_still:
        remarks.append(
            f"{abs(likeness.lag_seconds):.1f} s {'later' if likeness.lag_seconds > 0 else 'earlier'}"
        )
    if likeness.is_still:
        remarks.append("nothing moves in either")
    return f"{named}: {', '.join(remarks)}" if remarks else named


def _name_first(data: Inspected, others: Sequence[int], with_label: bool) -> str:
    chosen = data.items[others[0]]
    aside = _label_and_split(chosen) if with_label else chosen.split
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"{data.name(others[0])}{f' ({aside})' if aside else ''}{more}"


def _label_and_split(item: VideoItem) -> str:
    return ", ".join(filter(None, (item.label, item.split)))


def _tell_place(item: VideoItem) -> str:
    return f"is in {item.split}" if item.split else "drawn splits may part them"


def _side(item: VideoItem) -> tuple[str, object]:
    """Return what keeps items together: their split, or while it is to be drawn their group or file."""
    if item.split is not None:
        return "split", item.split
    return ("group", item.group) if item.group is not None else ("file", item.path)
