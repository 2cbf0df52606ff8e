"""ELAN documents (`.eaf`, EAF 2.7 to 3.0): tiers of annotations between time slots, read and written.

TIME_ORDER    slots, in milliseconds from the start of the timeline; some may have no time of their own
TIER          annotations: ALIGNABLE ones from slot to slot, REF ones that inherit the time of another
TIME_ORIGIN   where in a medium the timeline begins
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, SubElement

from vidcli.data.annotations.documents import xml_text
from vidcli.data.annotations.spans import Annotations, Recording, Span

FORM = "ELAN document"
_DOCUMENT = {
    "AUTHOR": "vidcli",
    "DATE": "2000-01-01T00:00:00+00:00",
    "FORMAT": "3.0",
    "VERSION": "3.0",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}
"""What a document begins with; one date, for two exports of the same to be equal."""
_SOUND = (".wav", ".mp3", ".ogg", ".flac", ".aif", ".aiff", ".m4a")


def read_elan(root: Element, name: str) -> Annotations:
    """Return the spans of an ELAN document: the value of an annotation is its label, else its tier's name.

    Args:
        root: of the document.
        name: stem of its file, the name of the video where the document names none.

    Raises:
        ValueError: it is damaged.
    """
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise ValueError(f"has times in {units}; expected milliseconds, in which ELAN saves them today")
    descriptors = [] if header is None else header.findall("MEDIA_DESCRIPTOR")
    media = [one for one in descriptors if not _address(one).lower().endswith(_SOUND)] or descriptors
    origin = _milliseconds(media[0].get("TIME_ORIGIN", "0"), "TIME_ORIGIN") if media else 0.0
    slots = _slots(root)
    spans: list[Span] = []
    num_dependent = 0
    for tier in root.findall("TIER"):
        tier_name, subject = tier.get("TIER_ID", ""), tier.get("PARTICIPANT", "")
        num_dependent += len(tier.findall("ANNOTATION/REF_ANNOTATION"))
        for annotation in tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION"):
            start, end = (_time(slots, annotation.get(f"TIME_SLOT_REF{n}", ""), tier_name) for n in (1, 2))
            label = (annotation.findtext("ANNOTATION_VALUE") or "").strip() or tier_name
            spans.append(Span(label, round(start + origin, 6), round(end + origin, 6), subject))
    notes = []
    if num_dependent:
        notes.append(
            f"{num_dependent} annotations depend on others and have no time of their own; they are left out"
        )
    if len(media) > 1:
        notes.append(f"shows {len(media)} videos at once; only the first, {_address(media[0])}, is used")
    tiers = [tier.get("TIER_ID", "") for tier in root.findall("TIER") if tier.find("ANNOTATION") is not None]
    if len(tiers) > 1:
        notes.append(f"{len(tiers)} tiers are read: {', '.join(tiers[:8])}{', …' if len(tiers) > 8 else ''}")
    return Annotations(FORM, (Recording(_address(media[0]) if media else name, tuple(spans)),), notes)


def _address(descriptor: Element) -> str:
    return descriptor.get("MEDIA_URL") or descriptor.get("RELATIVE_MEDIA_URL") or ""


def _milliseconds(text: str, what: str) -> float:
    """Return milliseconds as seconds."""
    try:
        return int(text) / 1000
    except ValueError:
        raise ValueError(f"{what} is {text!r}; expected milliseconds") from None


def _slots(root: Element) -> dict[str, float]:
    """Return the seconds of each slot; those without a time share what lies between their neighbours."""
    slots = root.findall("TIME_ORDER/TIME_SLOT")
    known = [
        (number, _milliseconds(slot.get("TIME_VALUE", ""), f"slot {slot.get('TIME_SLOT_ID')}"))
        for number, slot in enumerate(slots)
        if slot.get("TIME_VALUE") is not None
    ]
    if not known:
        return {}
    times = [known[0][1]] * len(slots)
    for (first, start), (last, end) in zip(known, [*known[1:], (len(slots), known[-1][1])], strict=True):
        for number in range(first, last):
            times[number] = start + (end - start) * (number - first) / (last - first)
    return {slot.get("TIME_SLOT_ID", ""): time for slot, time in zip(slots, times, strict=True)}


def _time(slots: Mapping[str, float], slot: str, tier: str) -> float:
    if slot not in slots:
        raise ValueError(
            f"tier {tier!r} refers to slot {slot!r}, which has no time; save the file again in ELAN"
        )
    return slots[slot]


def elan_text(recording: Recording) -> str:
    """Return a recording as an ELAN document with a tier for each label, and subject if there are several.

    Times are rounded to milliseconds. A video's path is written as it is given.

    Args:
        recording: in seconds; every span has an end.

    Raises:
        ValueError: a span has no end, or two of a tier overlap.
    """
    root = Element("ANNOTATION_DOCUMENT", _DOCUMENT)
    header = SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    path = PurePosixPath(recording.media)
    address = path.as_uri() if path.is_absolute() else recording.media
    kind = "video/mp4" if path.suffix.lower() == ".mp4" else "video/*"
    SubElement(header, "MEDIA_DESCRIPTOR", {"MEDIA_URL": address, "MIME_TYPE": kind})
    order = SubElement(root, "TIME_ORDER")
    tiers: dict[tuple[str, str], list[Span]] = {}
    for span in sorted(recording.spans, key=lambda span: span.start):
        tiers.setdefault((span.label, span.subject), []).append(span)
    moments = [(time, span, edge) for span in recording.spans for edge, time in enumerate(_edges(span))]
    slot_of = {}
    for number, (time, span, edge) in enumerate(sorted(moments, key=lambda moment: moment[0]), 1):
        SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{number}", "TIME_VALUE": str(time)})
        slot_of[id(span), edge] = f"ts{number}"
    num_annotations = 0
    for (label, subject), spans in sorted(tiers.items()):
        name = f"{label} ({subject})" if subject else label
        participant = {"PARTICIPANT": subject} if subject else {}
        tier = SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": name, **participant})
        for before, span in zip([None, *spans], spans, strict=False):
            if before is not None and _edges(span)[0] < _edges(before)[1]:
                raise ValueError(f"two spans of {name!r} overlap at {span.start:g} s in one tier")
            num_annotations += 1
            slots = {f"TIME_SLOT_REF{edge + 1}": slot_of[id(span), edge] for edge in (0, 1)}
            holder = SubElement(tier, "ANNOTATION")
            attributes = {"ANNOTATION_ID": f"a{num_annotations}", **slots}
            annotation = SubElement(holder, "ALIGNABLE_ANNOTATION", attributes)
            SubElement(annotation, "ANNOTATION_VALUE").text = label
    kind_of_tier = {
        "LINGUISTIC_TYPE_ID": "default-lt",
        "TIME_ALIGNABLE": "true",
        "GRAPHIC_REFERENCES": "false",
    }
    SubElement(root, "LINGUISTIC_TYPE", kind_of_tier)
    return xml_text(root)


def _edges(span: Span) -> tuple[int, int]:
    """Return start and end in milliseconds.

    Raises:
        ValueError: an annotation of ELAN cannot be so.
    """
    if span.end is None or math.isinf(span.end) or round(span.end * 1000) <= round(span.start * 1000):
        raise ValueError(f"{span.label!r} at {span.start:g} s has no length, which ELAN needs")
    return round(span.start * 1000), round(span.end * 1000)
