"""Folders that look like people, days or cameras where classes were expected: told, never taken silently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidcli.data.folders import subfolders

_ENTITY = re.compile(
    r"(s|p|id|subj|subject|person|people|user|participant|patient|actor|child|student|mouse|rat|animal|"
    r"cam|camera|view|day|date|session|rec|recording|run|trial|take|site|room|cage|box|group|week|month)"
    r"[ ._-]*\d+[a-z]?",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(19|20)\d\d[ ._-]?[01]\d[ ._-]?[0-3]\d([ ._t-].*)?|[0-3]?\d[._-][01]?\d[._-](19|20)\d\d",
    re.IGNORECASE,
)
_SHARE = 0.75
"""Of the names that must look alike for all of them to be doubted."""


def looks_like_entities(names: Sequence[str]) -> bool:
    """Tell whether names are those of people, animals, cameras, recordings or days."""
    alike = sum(bool(_ENTITY.fullmatch(name.strip()) or _DATE.fullmatch(name.strip())) for name in names)
    return len(names) >= 2 and alike >= _SHARE * len(names)


def doubt_classes(class_folders: Sequence[Path]) -> str | None:
    """Return a sentence where folders that were taken for classes may be something else; else None.

    Args:
        class_folders: those that hold videos, directly or below.
    """
    names = [folder.name for folder in class_folders]
    shared = _shared_names(
        {folder.name: [path.name for path in subfolders(folder)] for folder in class_folders}
    )
    if not shared:
        if not looks_like_entities(names):
            return None
        return (
            f"the classes {', '.join(names[:4])} look like people, days or cameras: a model would learn to "
            "tell those apart. If they are no classes, write a manifest (path,label,group)"
        )
    told = f"folders of the same names ({', '.join(shared[:4])}) lie in most of {', '.join(names[:4])}"
    if looks_like_entities(shared):
        return (
            f"{told}: the inner ones look like people, days or cameras, which must not part between train "
            "and test; data.folders=class/group keeps each together"
        )
    if looks_like_entities(names):
        return (
            f"{told}: the outer ones look like people, days or cameras, and the inner ones may be the "
            "classes; data.folders=group/class reads them so"
        )
    return (
        f"{told}, and the outer ones are taken for classes; if the inner ones are, "
        "data.folders=group/class reads them so, and data.folders=class/group keeps what they hold together"
    )


def _shared_names(inner: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of inner folders that most of the outer ones have, if these are two or more."""
    counts = Counter(name for names in inner.values() for name in set(names))
    shared = sorted(name for name, count in counts.items() if count >= 2 and count > len(inner) / 2)
    return shared if len(shared) >= 2 else []
